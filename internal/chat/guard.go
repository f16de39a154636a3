package chat

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/peftconv/peftconv/internal/jinja"
)

// guardMark stands behind the first character of what a content spells like a control token, while it is rendered. It
// is a code point that Unicode keeps free for such uses, and that texts do not have.
const guardMark = "\ufdd0"

// Guarded is [Template.Mask] of a conversation whose contents may spell control tokens: segments say where they do, so
// that they can be read as text. Where a template looks at such a content itself, and renders it otherwise with the
// marks, it is left as it is.
func (t *Template) Guarded(c *Conversation, on TrainOn) (*Masked, error) {
	spelled := t.spelled(c)
	if len(spelled) == 0 {
		return t.Mask(c, on)
	}
	whole, _, err := t.Render(c, c.Messages, false)
	if err != nil {
		return nil, err
	}
	works := func(texts []string) bool {
		marked := guarded(c, texts)
		text, _, err := t.Render(marked, marked.Messages, false)
		return err == nil && strings.ReplaceAll(text, guardMark, "") == whole
	}
	if !works(spelled) {
		spelled = slices.DeleteFunc(spelled, func(s string) bool { return !works([]string{s}) })
		if !works(spelled) {
			spelled = nil
		}
	}
	m, err := t.Mask(guarded(c, spelled), on)
	if err != nil {
		return nil, err
	}
	for _, example := range m.Examples {
		for i := range example {
			example[i].unmark()
		}
	}
	for i := range m.Turns {
		turn := &m.Turns[i]
		turn.PromptRest = strings.ReplaceAll(turn.PromptRest, guardMark, "")
		turn.TurnRest = strings.ReplaceAll(turn.TurnRest, guardMark, "")
	}
	return m, nil
}

// unmark removes the marks from a segment and remembers where they were.
func (s *Segment) unmark() {
	if !strings.Contains(s.Text, guardMark) {
		return
	}
	var b strings.Builder
	for i, part := range strings.Split(s.Text, guardMark) {
		if i > 0 {
			_, before := utf8.DecodeLastRuneInString(b.String())
			_, after := utf8.DecodeRuneInString(part)
			s.Literal = append(s.Literal, jinja.Span{Start: b.Len() - before, End: b.Len() + after})
		}
		b.WriteString(part)
	}
	s.Text = b.String()
}

// controls are the places where a text spells control tokens.
func (t *Template) controls(text string) []jinja.Span {
	if t.Controls != nil {
		return t.Controls(text)
	}
	var out []jinja.Span
	for _, s := range t.Stops {
		for at := 0; ; {
			n := strings.Index(text[at:], s)
			if n < 0 {
				break
			}
			out = append(out, jinja.Span{Start: at + n, End: at + n + len(s)})
			at += n + len(s)
		}
	}
	return out
}

// spelled are the texts of control tokens that contents, reasoning, tool calls and tools of a conversation spell.
func (t *Template) spelled(c *Conversation) (texts []string) {
	look := func(s string) string {
		if strings.Contains(s, guardMark) {
			return s
		}
		for _, span := range t.controls(s) {
			if text := s[span.Start:span.End]; !slices.Contains(texts, text) && utf8.RuneCountInString(text) > 1 {
				texts = append(texts, text)
			}
		}
		return s
	}
	each(c, look)
	return texts
}

// guarded is a conversation with marks in all places that spell some texts.
func guarded(c *Conversation, texts []string) *Conversation {
	var pairs []string
	slices.SortFunc(texts, func(a, b string) int { return len(b) - len(a) }) // of two that begin alike the longer one
	for _, s := range texts {
		_, n := utf8.DecodeRuneInString(s)
		pairs = append(pairs, s, s[:n]+guardMark+s[n:])
	}
	return each(c, strings.NewReplacer(pairs...).Replace)
}

// each is a conversation with all texts in it changed but roles and names.
func each(c *Conversation, change func(string) string) *Conversation {
	out := &Conversation{Arguments: c.Arguments}
	for _, m := range c.Messages {
		out.Messages = append(out.Messages, changed(m, change).(*jinja.Dict))
	}
	if c.Tools != nil {
		out.Tools = changed(c.Tools, change).(*jinja.List)
	}
	return out
}

func changed(v any, change func(string) string) any {
	switch v := v.(type) {
	case string:
		return change(v)
	case *jinja.List:
		out := &jinja.List{}
		for _, item := range v.Items {
			out.Items = append(out.Items, changed(item, change))
		}
		return out
	case *jinja.Dict:
		out := jinja.NewDict()
		for _, key := range v.Keys() {
			value, _ := v.Get(key)
			if key != "role" && key != "type" && key != "name" {
				value = changed(value, change)
			}
			out.Set(key, value)
		}
		return out
	}
	return v
}

// Prompt is a conversation with the prompt for an answer. Control tokens that contents spell are literal where that can
// be, as in [Template.Guarded].
func (t *Template) Prompt(c *Conversation) (Segment, error) {
	text, _, err := t.Render(c, c.Messages, true)
	if err != nil {
		return Segment{}, err
	}
	if spelled := t.spelled(c); len(spelled) > 0 {
		marked := guarded(c, spelled)
		s := Segment{}
		if s.Text, _, err = t.Render(marked, marked.Messages, true); err == nil {
			if s.unmark(); s.Text == text {
				return s, nil
			}
		}
	}
	return Segment{Text: text}, nil
}
