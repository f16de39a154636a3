package template

import "strings"

// Rendered is a template with the fields of a record filled in.
type Rendered struct {
	Prompt string // what stands before the answer, without blanks at its end
	Lead   string // those blanks, which the answer begins with
	Slots  []Span // where the words of the slots are in Prompt
	Words  []Span // where words of the template are from the first slot on, including those of slots
}

// Span is the bytes From to To-1 of a text.
type Span struct{ From, To int }

// Render fills in fields as value gives them.
func (t *Discrete) Render(value func(name string) string) Rendered {
	return t.render(value, func(words string) string { return words })
}

// render is Render with fixed words written by spell.
func (t *Discrete) render(value, spell func(string) string) Rendered {
	var r Rendered
	var b strings.Builder
	inputs := t.parts[:len(t.parts)-1]
	for i, p := range inputs {
		from, text := b.Len(), p.text
		switch p.kind {
		case field:
			text = value(p.text)
		case slot:
			text = t.slotText(i, p.text)
		}
		if i == len(inputs)-1 && p.kind == fixed {
			text = strings.TrimRight(text, " ")
			r.Lead = p.text[len(text):]
		}
		if p.kind == fixed {
			text = spell(text)
		}
		b.WriteString(text)
		span := Span{from, b.Len()}
		if p.kind == slot {
			r.Slots = append(r.Slots, span)
		}
		if p.kind != field && r.Slots != nil && span.From < span.To {
			r.Words = append(r.Words, span)
		}
	}
	r.Prompt = b.String()
	return r
}

// Completion is an answer as it stands after the prompt.
func (r *Rendered) Completion(answer string) string {
	if r.Lead != "" {
		answer = strings.TrimLeft(answer, " ")
	}
	return r.Lead + answer
}
