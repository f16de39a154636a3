// Package chat turns conversations into texts with the chat template of a model, and says which part of them a model
// has to learn.
//
// A turn of the assistant is learned in the context in which the model would have produced it. For the message i,
//
//	P = the messages before it, rendered with the prompt for an answer     what the model is given
//	F = the messages up to it, rendered without                            the turn as it is stored
//	O = what follows P in F, up to the end of the turn                     what the model has to produce
//
// and loss falls on O and on nothing else: on contents, tool calls and thinking as the template writes them, and on the
// token that ends the turn, which the model has to produce to stop. The turn is in place in a text that begins with P
// and O. The whole rendering is an example with all turns that are in place in it; a turn that is not, because the
// template drops earlier thinking, say, becomes an example of its own, F. So each turn is learned once.
//
// [How] says how P and F were brought together, and when that fails. Where a template marks what the model writes with
// generation blocks, only what they hold of O is learned.
package chat

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/peftconv/peftconv/internal/jinja"
)

// Template is a chat template with what the model's vocabulary adds to it. Fields must not be changed while it is used.
type Template struct {
	BOS, EOS string                         // texts of the tokens; "": the vocabulary has none
	Stops    []string                       // texts that end a turn of the model
	Controls func(text string) []jinja.Span // where a text spells control tokens; nil: the stops are looked for
	// Arguments are more variables of the template, such as enable_thinking; nil: none
	Arguments *jinja.Dict
	Now       time.Time // of strftime_now

	source   string
	compiled *jinja.Template
}

// New compiles a chat template.
func New(source string) (*Template, error) {
	compiled, err := jinja.Compile(source)
	if err != nil {
		return nil, fmt.Errorf("chat template: %w", err)
	}
	return &Template{source: source, compiled: compiled, Now: time.Now()}, nil
}

// knownStops are texts of tokens that end a turn in well-known templates.
var knownStops = []string{"<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<|return|>", "<|call|>",
	"<end_of_turn>",
	"<turn|>", "<|tool_response>", "<|endoftext|>", "<|end_of_text|>", "<|END_OF_TURN_TOKEN|>", "<｜end▁of▁sentence｜>",
	"<|assistant_end|>", "<|eot|>", "<|role_end|>", "<|message_sep|>", "<|end_of_msg|>", "<end_of_sentence>",
	"<SPECIAL_12>", "<sep>", "</assistant>", "</s>", "<eos>", "[e~[", "<seed:eos>", "<|user|>", "<|observation|>"}

// StopsOf are the texts by which a template ends turns, where no vocabulary says so: well-known ones that it spells.
func StopsOf(source string) []string {
	var out []string
	for _, s := range knownStops {
		if strings.Contains(source, s) {
			out = append(out, s)
		}
	}
	if slices.Contains(out, "<|return|>") { // there <|end|> ends one message of several
		out = slices.DeleteFunc(out, func(s string) bool { return s == "<|end|>" })
	}
	return out
}

// Conversation is messages with the tools that the model may call.
type Conversation struct {
	Messages []*jinja.Dict // each with a role
	Tools    *jinja.List   // in OpenAI's form; nil: none
	// Arguments are more variables of the template for this conversation; nil: none
	Arguments *jinja.Dict
}

// Render is messages as a text, with the prompt for an answer of the assistant or without. spans are what the
// template's generation blocks hold.
func (t *Template) Render(c *Conversation, messages []*jinja.Dict, prompt bool) (text string, spans []jinja.Span,
	err error) {
	v := jinja.NewDict()
	list := &jinja.List{}
	for _, m := range messages {
		list.Items = append(list.Items, m)
	}
	v.Set("messages", list)
	v.Set("tools", nil)
	if c.Tools != nil {
		v.Set("tools", c.Tools)
	}
	v.Set("documents", nil)
	v.Set("add_generation_prompt", prompt)
	if t.BOS != "" {
		v.Set("bos_token", t.BOS)
	}
	if t.EOS != "" {
		v.Set("eos_token", t.EOS)
	}
	for _, more := range []*jinja.Dict{t.Arguments, c.Arguments} {
		if more == nil {
			continue
		}
		for _, name := range more.Keys() {
			value, _ := more.Get(name)
			v.Set(name, value)
		}
	}
	return t.compiled.Render(v, t.Now)
}

// role is who a message is of.
func role(m *jinja.Dict) string {
	r, _ := m.Get("role")
	s, _ := r.(string)
	return s
}

// content is the text of a message; the texts of its parts, where it has parts.
func content(m *jinja.Dict) string {
	v, _ := m.Get("content")
	switch v := v.(type) {
	case string:
		return v
	case *jinja.List:
		var b strings.Builder
		for _, item := range v.Items {
			if part, ok := item.(*jinja.Dict); ok {
				text, _ := part.Get("text")
				s, _ := text.(string)
				b.WriteString(s)
			}
		}
		return b.String()
	}
	return ""
}

// errNoAnswer is of conversations that teach nothing.
var errNoAnswer = errors.New(`no message has the role "assistant", so that there is nothing to learn`)

// Arguments are variables of a template, given as JSON; what is no JSON is a text. No arguments are nil.
func Arguments(given map[string]string) *jinja.Dict {
	if len(given) == 0 {
		return nil
	}
	out := jinja.NewDict()
	for _, name := range slices.Sorted(maps.Keys(given)) {
		v, err := jinja.FromJSON([]byte(given[name]))
		if err != nil {
			v = given[name]
		}
		out.Set(name, v)
	}
	return out
}

// Standalone compiles a chat template that is used without a vocabulary: turns end with well-known texts that it
// spells, and what it writes of bos_token and eos_token is <s> and </s>.
func Standalone(source string) (*Template, error) {
	t, err := New(source)
	if err != nil {
		return nil, err
	}
	t.BOS, t.EOS = "<s>", "</s>"
	t.Stops = StopsOf(source)
	if strings.Contains(source, "eos_token") && !slices.Contains(t.Stops, t.EOS) {
		t.Stops = append(t.Stops, t.EOS)
	}
	return t, nil
}

// Stored is the content of an answer that was generated: as it is, or without the white space around it, which the
// template may write itself. text is the prompt with the answer.
func (t *Template) Stored(c *Conversation, text, answer string) string {
	full, _, err := t.Render(c, append(slices.Clip(c.Messages), message("assistant", answer)), false)
	if err == nil && strings.HasPrefix(full, text) {
		return answer
	}
	return strings.TrimSpace(answer)
}
