package chat

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/peftconv/peftconv/internal/jinja"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

// Encoder makes examples of records.
type Encoder struct {
	Template  *Template
	Err       error                // why there is no template; of a model that has none
	Tokenizer *tokenizer.Tokenizer // nil: there are texts only
	TrainOn   TrainOn              // "": Assistant
	Fields    Fields
	// Pairs says that prompts with their completions, and questions with their answers, are turns of a conversation.
	Pairs bool
}

// Use gives a template what a vocabulary says: its tokens, which of them end a turn, and what texts spell such tokens.
func (t *Template) Use(tok *tokenizer.Tokenizer) {
	if id, ok := tok.BOS(); ok {
		t.BOS = tok.Piece(id)
	}
	if id, ok := tok.EOS(); ok {
		t.EOS = tok.Piece(id)
	}
	t.Stops = tok.EndTexts()
	t.Controls = func(text string) (out []jinja.Span) {
		for _, p := range tok.Controls(text) {
			out = append(out, jinja.Span{Start: p.Start, End: p.End})
		}
		return out
	}
}

// Takes says whether records of a form are conversations, which Texts takes.
func (e *Encoder) Takes(format Format) bool {
	switch format {
	case Messages, ShareGPT, Alpaca:
		return true
	case Completion, Question:
		return e.Pairs
	}
	return false
}

// Key says all that examples depend on but the vocabulary, for caches.
func (e *Encoder) Key() string {
	key := fmt.Sprintf("%q %v %+v", e.TrainOn, e.Pairs, e.Fields)
	if t := e.Template; t != nil {
		key += fmt.Sprintf(" %q", t.source)
		if t.Arguments != nil {
			key += jinja.ToJSON(t.Arguments)
		}
		if strings.Contains(t.source, "strftime_now") {
			key += t.Now.Format(time.DateOnly)
		}
	}
	return key
}

// Texts are the examples of a record of a form that Takes says is a conversation. notes are sentences about what the
// template does not write. Errors name the message.
func (e *Encoder) Texts(r *jinja.Dict, format Format) (examples [][]Segment, notes []string, err error) {
	if e.Template == nil {
		return nil, nil, e.missing(format)
	}
	c, err := Read(r, format, e.Fields)
	if err != nil {
		return nil, nil, err
	}
	if c, err = e.Template.fitted(c); err != nil {
		return nil, nil, err
	}
	on := e.TrainOn
	if on == "" {
		on = Assistant
	}
	m, err := e.Template.Guarded(c, on)
	if err != nil {
		return nil, nil, err
	}
	if err := m.Err(); err != nil {
		return nil, nil, err
	}
	return m.Examples, m.notes(c), nil
}

// missing is the error of conversations without a template.
func (e *Encoder) missing(format Format) error {
	if e.Err != nil {
		return e.Err
	}
	if format == Messages || format == ShareGPT {
		return errors.New("conversations need a chat template, and the base model has none; give one with --chat-template")
	}
	return errors.New("the base model has no chat template; give one with --chat-template, or say how fields become a " +
		`prompt, with --prompt-template "{instruction}\n{input}"`)
}

// notes are what the template does not write of a conversation that can be learned.
func (m *Masked) notes(c *Conversation) (out []string) {
	for _, t := range m.Turns {
		for _, what := range t.Lost {
			out = append(out, fmt.Sprintf("the chat template does not write %s of an answer", what))
		}
	}
	whole := strings.ReplaceAll(m.Whole, guardMark, "")
	for _, message := range c.Messages {
		if r := role(message); r != "assistant" {
			if s := strings.TrimSpace(content(message)); s != "" && !holds(whole, s) && !strings.Contains(whole, quoted(s)) {
				out = append(out, fmt.Sprintf("the chat template does not write a message of the role %s", r))
			}
		}
	}
	return out
}

// quoted is the inside of a text as a string of JSON.
func quoted(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`, "\r", `\r`).Replace(s)
}

// fitted is a conversation in the form that the template takes. Some fail where a content is null, or print None; some
// where arguments of tool calls are objects, or print them as Python does: these get empty texts, and JSON text.
func (t *Template) fitted(c *Conversation) (*Conversation, error) {
	null, calls := false, false
	for _, m := range c.Messages {
		v, _ := m.Get("content")
		null = null || v == nil
		calls = calls || has(m, "tool_calls")
	}
	if !null && !calls {
		return c, nil
	}
	candidates := []*Conversation{c}
	if null {
		candidates = append(candidates, c.with(true, false))
	}
	if calls {
		candidates = append(candidates, c.with(false, true), c.with(true, true))
	}
	var best *Conversation
	var first error
	fewest := 0
	for _, candidate := range candidates {
		text, _, err := t.Render(candidate, candidate.Messages, false)
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		// What only Python writes.
		if n := strings.Count(text, "None") + strings.Count(text, "{'"); best == nil || n < fewest {
			best, fewest = candidate, n
		}
	}
	if best == nil {
		return nil, first
	}
	return best, nil
}

// with is a conversation with empty contents in place of null, and with arguments as JSON text.
func (c *Conversation) with(empty, argumentsAsText bool) *Conversation {
	out := &Conversation{Tools: c.Tools, Arguments: c.Arguments}
	for _, m := range c.Messages {
		m = m.Clone()
		if v, _ := m.Get("content"); v == nil && empty {
			m.Set("content", "")
		}
		if v, ok := m.Get("tool_calls"); ok && argumentsAsText {
			m.Set("tool_calls", withArguments(v.(*jinja.List), func(v any) any {
				if _, isText := v.(string); isText {
					return v
				}
				return jinja.ToJSON(v)
			}))
		}
		out.Messages = append(out.Messages, m)
	}
	return out
}

// Tokens are the ids of an example, and which of them are predicted. The text is cut in front of each learned segment,
// because the model is given a prompt that is tokenized alone. Control tokens that the template writes count as such.
// BOS is put in front where the vocabulary says so and the template has not written it.
func (e *Encoder) Tokens(example []Segment) (ids []int32, loss []bool) {
	for i, s := range example {
		literal := make([]tokenizer.Place, len(s.Literal))
		for j, span := range s.Literal {
			literal[j] = tokenizer.Place{Start: span.Start, End: span.End}
		}
		part := e.Tokenizer.EncodeLiteral(s.Text, literal, i > 0)
		if bos, ok := e.Tokenizer.BOS(); ok && i == 0 && e.Tokenizer.AddBOS() && (len(part) == 0 || part[0] != bos) {
			part = append([]int32{bos}, part...)
		}
		for _, id := range part {
			ids, loss = append(ids, id), append(loss, s.Learn)
		}
	}
	return ids, loss
}
