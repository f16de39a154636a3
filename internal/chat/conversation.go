package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/jinja"
	"github.com/peftconv/peftconv/internal/records"
)

// Format is a form of records.
type Format string

// The forms.
const (
	Messages   Format = "messages"          // {"messages": [{"role", "content", "tool_calls"}], "tools"} of OpenAI
	ShareGPT   Format = "sharegpt"          // {"conversations": [{"from", "value"}], "system", "tools"}
	Alpaca     Format = "alpaca"            // {"instruction", "input", "output"}
	Completion Format = "prompt-completion" // {"prompt", "completion"}
	Question   Format = "question-answer"   // {"question", "answer"}
	Text       Format = "text"              // {"text"}
	IDs        Format = "input-ids"         // {"input_ids", "labels"}
)

// Formats are all forms, for help and errors.
func Formats() []string {
	return []string{string(Messages), string(ShareGPT), string(Alpaca), string(Completion), string(Question), string(Text),
		string(IDs)}
}

// Fields are names of the fields of records; "": the usual ones.
type Fields struct {
	Messages, Prompt, Completion, System, Tools string
}

// usual are the names under which messages stand.
var usual = []string{"messages", "conversations", "conversation", "dialog", "dialogue", "chat"}

// FromRecord is a record as values of templates.
func FromRecord(r *records.Object) *jinja.Dict { return value(r).(*jinja.Dict) }

func value(v any) any {
	switch v := v.(type) {
	case *records.Object:
		d := jinja.NewDict()
		for _, f := range v.Fields() {
			d.Set(f.Name, value(f.Value))
		}
		return d
	case []any:
		l := &jinja.List{Items: make([]any, len(v))}
		for i, item := range v {
			l.Items[i] = value(item)
		}
		return l
	case json.Number:
		return jinja.Number(string(v))
	}
	return v
}

// has says whether an object has all of some fields.
func has(r *jinja.Dict, names ...string) bool {
	return !slices.ContainsFunc(names, func(n string) bool { _, ok := r.Get(n); return !ok })
}

// Find is the form of a record, by its fields; "" where it is none that is known. Pairs of a preferred and a refused
// answer are an error: they are for another kind of training.
func Find(r *records.Object, f Fields) (Format, error) {
	if r.Has("chosen", "rejected") {
		return "", errors.New(`"chosen" and "rejected" are preference pairs, which DPO and its like train on; peftconv ` +
			`trains on answers to be learned: give the chosen ones as "messages", or as "prompt" and "completion"`)
	}
	if label, ok := r.Value("label"); ok && r.Has("prompt", "completion") {
		if _, is := label.(bool); is {
			return "", errors.New(`"prompt", "completion" and a true or false "label" are judged answers, which KTO trains on; ` +
				`give those that are to be learned as "prompt" and "completion"`)
		}
	}
	if r.Has("input_ids") {
		return IDs, nil
	}
	for _, name := range or(f.Messages, usual...) {
		v, _ := r.Value(name)
		list := listed(value(v))
		if list == nil {
			continue
		}
		for _, item := range list.Items {
			if m, ok := item.(*jinja.Dict); ok && has(m, "from", "value") {
				return ShareGPT, nil
			}
		}
		return Messages, nil
	}
	switch {
	case r.Has("text"):
		return Text, nil
	case r.Has("prompt", "completion"):
		if v, _ := r.Value("prompt"); isList(v) {
			return Messages, nil
		}
		return Completion, nil
	case r.Has("question", "answer"):
		return Question, nil
	case r.Has("instruction") && (r.Has("output") || r.Has("response")):
		return Alpaca, nil
	}
	return "", nil
}

func isList(v any) bool { _, ok := v.([]any); return ok }

// listed is a list of messages, which may be JSON text in a column of a table; nil where a value is none.
func listed(v any) *jinja.List {
	if s, ok := v.(string); ok && strings.HasPrefix(strings.TrimSpace(s), "[") {
		v, _ = jinja.FromJSON([]byte(s))
	}
	list, _ := v.(*jinja.List)
	return list
}

// list is the messages of a record, or nil.
func (f Fields) list(r *jinja.Dict) *jinja.List {
	for _, name := range or(f.Messages, usual...) {
		v, _ := r.Get(name)
		if list := listed(v); list != nil {
			return list
		}
	}
	return nil
}

// Read makes a conversation of a record of some form. Errors name the field or the message, from 1.
func Read(r *jinja.Dict, format Format, f Fields) (*Conversation, error) {
	c := &Conversation{}
	var err error
	switch format {
	case Messages, ShareGPT:
		err = c.readMessages(r, f)
	case Alpaca:
		err = c.readPair(r, or(f.Prompt, "instruction"), or(f.Completion, "output", "response"))
	case Completion:
		err = c.readPair(r, or(f.Prompt, "prompt"), or(f.Completion, "completion"))
	case Question:
		err = c.readPair(r, or(f.Prompt, "question"), or(f.Completion, "answer"))
	default:
		err = fmt.Errorf("records of the form %s are no conversations", format)
	}
	if err != nil {
		return nil, err
	}
	if err := c.readSystem(r, or(f.System, "system", "system_prompt")); err != nil {
		return nil, err
	}
	if err := c.readTools(r, or(f.Tools, "tools", "functions")); err != nil {
		return nil, err
	}
	if v, ok := r.Get("chat_template_kwargs"); ok {
		c.Arguments, _ = v.(*jinja.Dict)
	}
	return c, c.check()
}

// or is a chosen name, or else the usual ones.
func or(chosen string, names ...string) []string {
	if chosen != "" {
		return []string{chosen}
	}
	return names
}

// text is the text in the first of some fields that is there.
func text(r *jinja.Dict, names []string) (string, error) {
	for _, name := range names {
		v, ok := r.Get(name)
		if !ok {
			continue
		}
		s, ok := v.(string)
		if !ok {
			return "", fmt.Errorf("field %q is %s, want a string", name, describe(v))
		}
		return s, nil
	}
	return "", fmt.Errorf("no field %q; the fields are %s", names[0], strings.Join(r.Keys(), ", "))
}

// describe names the kind of a value of JSON.
func describe(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case string:
		return "a string"
	case bool:
		return "a truth value"
	case *jinja.List:
		return "an array"
	case *jinja.Dict:
		return "an object"
	}
	return "a number"
}

func message(role, content string) *jinja.Dict {
	m := jinja.NewDict()
	m.Set("role", role)
	m.Set("content", content)
	return m
}

// readPair reads a prompt and its answer as two turns. An "input" belongs to the prompt.
func (c *Conversation) readPair(r *jinja.Dict, prompt, completion []string) error {
	asked, err := text(r, prompt)
	if err != nil {
		return err
	}
	if v, ok := r.Get("input"); ok && v != nil && prompt[0] == "instruction" {
		input, err := text(r, []string{"input"})
		if err != nil {
			return err
		}
		if input != "" {
			asked += "\n" + input
		}
	}
	answer, err := text(r, completion)
	if err != nil {
		return err
	}
	c.Messages = []*jinja.Dict{message("user", asked), message("assistant", answer)}
	return nil
}

// roles are what other data calls the roles of OpenAI's form.
var roles = map[string]string{
	"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant",
	"ai":   "assistant",
	"bing": "assistant", "bard": "assistant", "function": "tool", "observation": "tool", "function_response": "tool",
	"tool_response": "tool", "function_call": "assistant", "tool_call": "assistant",
	"system": "system", "developer": "developer", "user": "user", "assistant": "assistant", "tool": "tool",
	"ipython": "ipython", "documents": "documents",
}

// readMessages reads a list of messages; prompt and completion may be lists, too.
func (c *Conversation) readMessages(r *jinja.Dict, f Fields) error {
	list := f.list(r)
	if list == nil {
		list = &jinja.List{}
		for _, name := range []string{"prompt", "completion"} {
			v, _ := r.Get(name)
			part, ok := v.(*jinja.List)
			if !ok {
				return fmt.Errorf("no array of messages in %s; the fields are %s", strings.Join(or(f.Messages, usual...), ", "),
					strings.Join(r.Keys(), ", "))
			}
			list.Items = append(list.Items, part.Items...)
		}
	}
	for i, item := range list.Items {
		m, ok := item.(*jinja.Dict)
		if !ok {
			return fmt.Errorf("message %d is %s, want an object with role and content", i+1, describe(item))
		}
		read, err := readMessage(m)
		if err != nil {
			return fmt.Errorf("message %d: %w", i+1, err)
		}
		c.Messages = append(c.Messages, read)
	}
	return nil
}

// readMessage brings a message into OpenAI's form.
func readMessage(m *jinja.Dict) (*jinja.Dict, error) {
	names := []string{"role", "content"}
	if has(m, "from") && !has(m, "role") {
		names = []string{"from", "value"}
	}
	given, err := text(m, names[:1])
	if err != nil {
		return nil, err
	}
	role, ok := roles[strings.ToLower(given)]
	if !ok {
		return nil, fmt.Errorf("the role %q is not known, want system, developer, user, assistant or tool", given)
	}
	out := jinja.NewDict()
	out.Set("role", role)
	out.Set("content", nil)
	for _, key := range m.Keys() {
		v, _ := m.Get(key)
		switch {
		case key == names[0]:
		case key == names[1]:
			if v, err = readContent(v); err != nil {
				return nil, err
			}
			out.Set("content", v)
		case v == nil: // a column that other messages have
		case key == "function_call":
			out.Set("tool_calls", &jinja.List{Items: []any{v}})
		default:
			out.Set(key, v)
		}
	}
	if given == "function_call" || given == "tool_call" {
		return callOfText(out)
	}
	return out, readCalls(out)
}

// readContent checks a content. Parts that are texts become one text.
func readContent(v any) (any, error) {
	list, ok := v.(*jinja.List)
	if !ok {
		if _, isText := v.(string); v != nil && !isText {
			return nil, fmt.Errorf("the content is %s, want a string, null or an array of parts", describe(v))
		}
		return v, nil
	}
	var b strings.Builder
	for i, item := range list.Items {
		part, ok := item.(*jinja.Dict)
		if !ok {
			return nil, fmt.Errorf("part %d of the content is %s, want an object", i+1, describe(item))
		}
		s, err := text(part, []string{"text"})
		if kind, _ := part.Get("type"); err != nil && kind != nil && kind != "text" {
			return nil, fmt.Errorf("part %d of the content is of type %v, and only text can be trained on", i+1, kind)
		} else if err != nil {
			return nil, fmt.Errorf("part %d of the content: %w", i+1, err)
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

// callOfText makes a tool call of a message whose content is one, as ShareGPT data has it.
func callOfText(m *jinja.Dict) (*jinja.Dict, error) {
	v, err := jinja.FromJSON([]byte(content(m)))
	call, ok := v.(*jinja.Dict)
	if err != nil || !ok || !has(call, "name") {
		return nil, errors.New(`a function call whose value is no JSON object with "name" and "arguments"`)
	}
	m.Set("tool_calls", &jinja.List{Items: []any{call}})
	m.Set("content", "")
	return m, readCalls(m)
}

// readCalls brings the tool calls of a message into OpenAI's form, with arguments that are objects.
func readCalls(m *jinja.Dict) error {
	v, ok := m.Get("tool_calls")
	if !ok {
		return nil
	}
	if s, isText := v.(string); isText {
		parsed, err := jinja.FromJSON([]byte(s))
		if err != nil {
			return fmt.Errorf("tool_calls: not JSON: %w", err)
		}
		v = parsed
	}
	list, ok := v.(*jinja.List)
	if !ok {
		return fmt.Errorf("tool_calls is %s, want an array", describe(v))
	}
	out := &jinja.List{}
	for i, item := range list.Items {
		call, ok := item.(*jinja.Dict)
		if !ok {
			return fmt.Errorf("tool call %d is %s, want an object", i+1, describe(item))
		}
		call = wrapped(call)
		inner, _ := call.Get("function")
		f, ok := inner.(*jinja.Dict)
		if !ok {
			return fmt.Errorf("tool call %d: its function is %s, want an object", i+1, describe(inner))
		}
		if _, err := text(f, []string{"name"}); err != nil {
			return fmt.Errorf("tool call %d: %w", i+1, err)
		}
		out.Items = append(out.Items, call)
	}
	if len(out.Items) == 0 {
		return nil
	}
	m.Set("tool_calls", withArguments(out, parsedArguments))
	return nil
}

// wrapped is {"type": "function", "function": f} of a function that is not wrapped yet.
func wrapped(f *jinja.Dict) *jinja.Dict {
	if has(f, "function") {
		return f
	}
	out := jinja.NewDict()
	out.Set("type", "function")
	out.Set("function", f)
	return out
}

// withArguments is tool calls with their arguments changed.
func withArguments(calls *jinja.List, change func(any) any) *jinja.List {
	out := &jinja.List{}
	for _, item := range calls.Items {
		call := item.(*jinja.Dict).Clone()
		v, _ := call.Get("function")
		f := v.(*jinja.Dict).Clone()
		if a, ok := f.Get("arguments"); ok {
			f.Set("arguments", change(a))
		}
		call.Set("function", f)
		out.Items = append(out.Items, call)
	}
	return out
}

// parsedArguments is arguments that are JSON text as what they say; what is no JSON stays a text.
func parsedArguments(v any) any {
	if s, ok := v.(string); ok {
		if strings.TrimSpace(s) == "" {
			return jinja.NewDict()
		}
		if parsed, err := jinja.FromJSON([]byte(s)); err == nil {
			return parsed
		}
	}
	return v
}

// readSystem puts the text of a field in front as the system prompt.
func (c *Conversation) readSystem(r *jinja.Dict, names []string) error {
	if i := slices.IndexFunc(names, func(n string) bool { v, ok := r.Get(n); return ok && v != nil }); i >= 0 {
		s, err := text(r, names[i:i+1])
		if err != nil {
			return err
		}
		if s != "" && (len(c.Messages) == 0 || role(c.Messages[0]) != "system") {
			c.Messages = append([]*jinja.Dict{message("system", s)}, c.Messages...)
		}
	}
	return nil
}

// readTools reads the tools of a record: an array, or JSON text of one.
func (c *Conversation) readTools(r *jinja.Dict, names []string) error {
	for _, name := range names {
		v, ok := r.Get(name)
		if !ok || v == nil || v == "" {
			continue
		}
		if s, isText := v.(string); isText {
			parsed, err := jinja.FromJSON([]byte(s))
			if err != nil {
				return fmt.Errorf("field %q: not JSON: %w", name, err)
			}
			v = parsed
		}
		list, ok := v.(*jinja.List)
		if !ok {
			return fmt.Errorf("field %q is %s, want an array of tools", name, describe(v))
		}
		tools := &jinja.List{}
		for i, item := range list.Items {
			tool, ok := item.(*jinja.Dict)
			if !ok {
				return fmt.Errorf("field %q: tool %d is %s, want an object", name, i+1, describe(item))
			}
			tools.Items = append(tools.Items, wrapped(tool))
		}
		if len(tools.Items) > 0 {
			c.Tools = tools
		}
		return nil
	}
	return nil
}

// check refuses orders of messages that no conversation has; most templates render them without a word.
func (c *Conversation) check() error {
	if len(c.Messages) == 0 {
		return errors.New("a conversation without messages")
	}
	called := false
	for i, m := range c.Messages {
		switch role(m) {
		case "tool":
			if !called {
				return fmt.Errorf("message %d: the result of a tool, but no message of the assistant before it calls one", i+1)
			}
		case "assistant":
			called = called || has(m, "tool_calls")
			if content(m) == "" && !has(m, "tool_calls") && !slices.ContainsFunc(reasoningFields, func(f string) bool {
				return has(m, f)
			}) {
				if v, _ := m.Get("content"); v == nil {
					return fmt.Errorf("message %d: of the assistant, without content and without tool calls", i+1)
				}
			}
		}
	}
	return nil
}

// Add adds a message.
func (c *Conversation) Add(role, content string) {
	c.Messages = append(c.Messages, message(role, content))
}

// ReadJSON reads a conversation: an array of messages, or an object as records have them.
func ReadJSON(data []byte) (*Conversation, error) {
	v, err := jinja.FromJSON(data)
	if err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	r, ok := v.(*jinja.Dict)
	if !ok {
		r = jinja.NewDict()
		r.Set("messages", v)
	}
	return Read(r, Messages, Fields{})
}

// JSON is the conversation as records have it, in one line.
func (c *Conversation) JSON() string {
	messages := &jinja.List{}
	for _, m := range c.Messages {
		messages.Items = append(messages.Items, m)
	}
	r := jinja.NewDict()
	r.Set("messages", messages)
	if c.Tools != nil {
		r.Set("tools", c.Tools)
	}
	return jinja.ToJSON(r)
}
