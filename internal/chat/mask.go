package chat

import (
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/jinja"
)

// How says how the prompt of a turn and the stored turn were brought together.
type How string

// The ways.
const (
	Prefix How = "prefix" // F begins with P
	// Tail: F has lost something at its beginning that P has, or the other way round, but from the text of the last
	// input message on they agree. The example is P and O.
	Tail How = "tail"
	// Echo: the template stores an answer without something that P ends with, such as an empty thought, and stores P's
	// end and the answer as the same text. The example is P and O.
	Echo    How = "echo"
	Endless How = "endless" // no text that ends a turn follows the answer, not even before a next message
	Error   How = "error"   // the prompt and the stored turn contradict each other
)

// TrainOn says which turns are learned.
type TrainOn string

// The choices.
const (
	Assistant TrainOn = "assistant" // all of the assistant
	Last      TrainOn = "last"      // the last of the assistant
	All       TrainOn = "all"       // the whole text, prompts too
)

// Segment is a stretch of a text.
type Segment struct {
	Text  string
	Learn bool
	// Literal are stretches that spell control tokens and are text all the same, because they are of a message's content.
	Literal []jinja.Span
}

// Turn is what was found of a message of the assistant.
type Turn struct {
	Message int // its index
	How     How
	Example int // in which it is learned; -1: in none
	// PromptRest and TurnRest are what follows the common beginning of P and F, where F does not begin with P.
	PromptRest, TurnRest string
	// Lost are names of tool calls, contents and reasoning of the message that the template does not write.
	Lost []string

	prompt, output string       // P and O
	full           string       // F, which is the text of a turn whose How is Prefix
	learned        []jinja.Span // of O
}

// Masked is a conversation as texts.
type Masked struct {
	Examples [][]Segment
	Turns    []Turn // those of the assistant
	Whole    string // the rendering of all messages

	stops []string
}

// Mask makes the examples of a conversation, as the package comment says. Errors are those of the template; whether the
// turns can be learned, the turns say: see [Masked.Err].
func (t *Template) Mask(c *Conversation, on TrainOn) (*Masked, error) {
	m := &Masked{stops: t.Stops}
	var err error
	if m.Whole, _, err = t.Render(c, c.Messages, false); err != nil {
		return nil, err
	}
	if on == All {
		m.Examples = [][]Segment{{{Text: m.Whole, Learn: true}}}
		return m, nil
	}
	for i, message := range c.Messages {
		if role(message) != "assistant" || untrained(message) {
			continue
		}
		turn, err := t.turn(c, i)
		if err != nil {
			return nil, err
		}
		m.Turns = append(m.Turns, turn)
	}
	if on == Last && len(m.Turns) > 1 {
		m.Turns = m.Turns[len(m.Turns)-1:]
	}
	if len(m.Turns) == 0 {
		return nil, errNoAnswer
	}
	m.examples()
	return m, nil
}

// untrained says whether a message asks not to be learned, as data for OpenAI's fine-tuning does with a weight of 0 and
// other data with "train": false.
func untrained(m *jinja.Dict) bool {
	weight, _ := m.Get("weight")
	train, _ := m.Get("train")
	return weight == int64(0) || weight == 0.0 || train == false
}

// turn finds what the model has to produce for the message i.
func (t *Template) turn(c *Conversation, i int) (turn Turn, err error) {
	turn = Turn{Message: i, Example: -1}
	if turn.prompt, _, err = t.Render(c, c.Messages[:i], true); err != nil {
		return turn, err
	}
	full, spans, err := t.Render(c, c.Messages[:i+1], false)
	if err != nil {
		return turn, err
	}
	turn.full = full
	start := -1 // where O begins in F
	if strings.HasPrefix(full, turn.prompt) {
		turn.How, start = Prefix, len(turn.prompt)
	} else {
		at := commonSpecial(turn.prompt, full)
		turn.PromptRest, turn.TurnRest = turn.prompt[at:], full[at:]
		if k := tail(turn.prompt, full, c.Messages[:i]); k >= 0 {
			turn.How, start = Tail, k
		} else if t.echoes(c, i, &turn) {
			turn.How, start = Echo, at
		} else {
			turn.How = Error
			return turn, nil
		}
	}
	end := t.stop(full, start)
	if end < 0 {
		if full, end = t.stopBefore(c, i, full, start); end < 0 {
			turn.How = Endless
			return turn, nil
		}
		turn.full = full[:end]
	}
	turn.output = full[start:end]
	turn.learned = t.within(spans, start, end)
	turn.Lost = lost(c.Messages[i], turn.output)
	return turn, nil
}

// stop is the end of the first text from start on that ends a turn, or -1.
func (t *Template) stop(text string, start int) int {
	end, first := -1, len(text)
	for _, s := range t.Stops {
		if at := strings.Index(text[start:], s); at >= 0 && (at < first || at == first && start+at+len(s) > end) {
			first, end = at, start+at+len(s)
		}
	}
	return end
}

// stopBefore looks for the end of a turn in the rendering with a next message, because some templates write it only in
// front of that. It gives that rendering; end is -1 where there is no end, or the rendering does not go on from full.
func (t *Template) stopBefore(c *Conversation, i int, full string, start int) (text string, end int) {
	next := c.Messages[:min(i+2, len(c.Messages))]
	if i+1 == len(c.Messages) {
		m := jinja.NewDict()
		m.Set("role", "user")
		m.Set("content", "…")
		next = append(slices.Clip(c.Messages), m)
	}
	text, _, err := t.Render(c, next, false)
	if err != nil || !strings.HasPrefix(text, full) {
		return full, -1
	}
	return text, t.stop(text, start)
}

// within are the parts of spans between start and end, from start; everything where there are no generation blocks.
func (t *Template) within(spans []jinja.Span, start, end int) []jinja.Span {
	if !t.compiled.HasGeneration() {
		return []jinja.Span{{End: end - start}}
	}
	var out []jinja.Span
	for _, s := range spans {
		if from, to := max(s.Start, start), min(s.End, end); from < to {
			out = append(out, jinja.Span{Start: from - start, End: to - start})
		}
	}
	return out
}

// commonSpecial is the length of the common beginning of two texts, cut back to the start of a special token that it
// ends in.
func commonSpecial(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	for _, pair := range []string{"<>", "[]"} {
		open := strings.LastIndexByte(a[:n], pair[0])
		if open < 0 || strings.IndexByte(a[open:n], pair[1]) >= 0 {
			continue
		}
		for _, text := range []string{a, b} {
			end := strings.IndexByte(text[open:], pair[1])
			if end >= 0 && open+end >= n && !strings.ContainsAny(text[open:open+end], " \n") {
				return open
			}
		}
	}
	for n > 0 && n < len(a) && a[n]&0xc0 == 0x80 { // a part of a character
		n--
	}
	return n
}

// tail is where O begins in F, if P and F agree from the text of the last input message to the end of P, or -1.
func tail(prompt, full string, before []*jinja.Dict) int {
	if len(before) == 0 {
		return -1
	}
	text := strings.TrimSpace(content(before[len(before)-1]))
	if text == "" {
		return -1
	}
	best, at := 0, -1
	for k := len(full); k > best; k-- {
		n := 0
		for n < k && n < len(prompt) && full[k-1-n] == prompt[len(prompt)-1-n] {
			n++
		}
		if n > best {
			best, at = n, k
		}
	}
	if !strings.Contains(prompt[len(prompt)-best:], text) {
		return -1
	}
	return at
}

// echoes says whether the template stores the end of the prompt and an answer as it stores the answer alone.
func (t *Template) echoes(c *Conversation, i int, turn *Turn) bool {
	message := c.Messages[i].Without(reasoningFields...)
	for _, text := range []string{content(message), turn.PromptRest + content(message)} {
		m := message.Clone()
		m.Set("content", text)
		stored, _, err := t.Render(c, append(slices.Clip(c.Messages[:i]), m), false)
		if err != nil || stored != turn.full {
			return false
		}
	}
	return true
}

// reasoningFields are the names under which messages hold reasoning.
var reasoningFields = []string{"reasoning_content", "reasoning", "thinking"}

// lost are the parts of a message that its output does not have.
func lost(m *jinja.Dict, output string) (out []string) {
	for _, name := range callNames(m) {
		if !strings.Contains(output, name) {
			out = append(out, fmt.Sprintf("the tool call %q", name))
		}
	}
	if text := strings.TrimSpace(content(m)); text != "" && !holds(output, text) {
		out = append(out, "the content")
	}
	for _, field := range reasoningFields {
		v, _ := m.Get(field)
		if text, _ := v.(string); strings.TrimSpace(text) != "" && !holds(output, strings.TrimSpace(text)) {
			return append(out, "the reasoning ("+field+")")
		}
	}
	return out
}

// holds says whether a text has all words of another, in their order: templates may change the white space between.
func holds(text, part string) bool {
	if strings.Contains(text, part) {
		return true
	}
	for _, word := range strings.Fields(part) {
		at := strings.Index(text, word)
		if at < 0 {
			return false
		}
		text = text[at+len(word):]
	}
	return true
}

// callNames are the names of the functions that a message calls.
func callNames(m *jinja.Dict) (out []string) {
	calls, _ := m.Get("tool_calls")
	list, _ := calls.(*jinja.List)
	if list == nil {
		return nil
	}
	for _, item := range list.Items {
		call, _ := item.(*jinja.Dict)
		if call == nil {
			continue
		}
		if f, ok := call.Get("function"); ok {
			if inner, ok := f.(*jinja.Dict); ok {
				call = inner
			}
		}
		if name, _ := call.Get("name"); name != nil {
			if s, ok := name.(string); ok {
				out = append(out, s)
			}
		}
	}
	return out
}

// examples makes the examples, from the last turn back: the last turn that is in none yet gives a text, and takes every
// turn that is in place in it.
func (m *Masked) examples() {
	type example struct {
		text  string
		turns []int
	}
	var made []example
	for i := len(m.Turns) - 1; i >= 0; i-- {
		t := &m.Turns[i]
		if t.Example >= 0 || t.How == Error || t.How == Endless {
			continue
		}
		e := example{text: t.text()}
		if i == len(m.Turns)-1 && t.in(m.Whole) {
			e.text = m.Whole
		}
		for j := i; j >= 0; j-- {
			u := &m.Turns[j]
			if j == i || t.How == Prefix && u.Example < 0 && u.How != Error && u.How != Endless && u.in(e.text) {
				u.Example = len(made)
				e.turns = append(e.turns, j)
			}
		}
		made = append(made, e)
	}
	for i := range m.Turns {
		if t := &m.Turns[i]; t.Example >= 0 {
			t.Example = len(made) - 1 - t.Example // in the order of the conversation
		}
	}
	slices.Reverse(made)
	for _, e := range made {
		slices.Reverse(e.turns)
		var learned []jinja.Span
		for _, i := range e.turns {
			t := &m.Turns[i]
			for _, s := range t.learned {
				learned = append(learned, jinja.Span{Start: len(t.prompt) + s.Start, End: len(t.prompt) + s.End})
			}
		}
		m.Examples = append(m.Examples, segments(e.text, learned))
	}
}

// text is that of an example for a turn alone.
func (t *Turn) text() string {
	if t.How == Prefix {
		return t.full
	}
	return t.prompt + t.output
}

// in says whether the turn is in place in a text.
func (t *Turn) in(text string) bool {
	rest, ok := strings.CutPrefix(text, t.prompt)
	return ok && strings.HasPrefix(rest, t.output)
}

// segments cuts a text at the ends of the spans that are learned.
func segments(text string, learned []jinja.Span) (out []Segment) {
	at := 0
	add := func(end int, learn bool) {
		if end > at {
			out = append(out, Segment{Text: text[at:end], Learn: learn})
			at = end
		}
	}
	for i, s := range learned {
		if s.Start == s.End {
			continue
		}
		if i > 0 && s.Start == at && len(out) > 0 && out[len(out)-1].Learn {
			out[len(out)-1].Text += text[s.Start:s.End]
			at = s.End
			continue
		}
		add(s.Start, false)
		add(s.End, true)
	}
	add(len(text), false)
	return out
}

// Err is why the conversation cannot be learned as a whole, or nil. It names the turn.
func (m *Masked) Err() error {
	for _, t := range m.Turns {
		switch {
		case t.How == Error:
			return fmt.Errorf("message %d: the chat template's prompt for an answer and the answer as it stores it "+
				"contradict each other: where the prompt has %s the stored turn has %s; often an argument of the template "+
				"mends that (--template-args enable_thinking=true), else another template does (--chat-template)", t.Message+1,
				excerpt(t.PromptRest), excerpt(t.TurnRest))
		case t.How == Endless:
			return fmt.Errorf("message %d: the chat template writes nothing behind the answer that ends a turn of this model "+
				"(%s), which would not learn to stop; give a template that does (--chat-template)", t.Message+1,
				strings.Join(m.stops, ", "))
		}
		for _, what := range t.Lost {
			if strings.HasPrefix(what, "the tool call") {
				return fmt.Errorf("message %d: the chat template drops %s, and the model would learn an answer without it; "+
					"give a template that writes tool calls (--chat-template)", t.Message+1, what)
			}
		}
	}
	return nil
}

// excerpt is the beginning of a text, in quotes.
func excerpt(s string) string {
	const most = 60
	if runes := []rune(s); len(runes) > most {
		return fmt.Sprintf("%q…", string(runes[:most]))
	}
	return fmt.Sprintf("%q", s)
}
