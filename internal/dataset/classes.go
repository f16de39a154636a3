package dataset

import (
	"errors"
	"fmt"
	"slices"

	"github.com/peftconv/peftconv/internal/records"
)

// Classes configures the classification of records.
type Classes struct {
	Labels []string `json:"labels"`          // the possible labels of a record
	Field  string   `json:"field,omitempty"` // the field that holds it; "": label
	// Words predicts the label itself, as words after the text; otherwise the class is the target of the last token.
	Words bool `json:"words"`
}

func (c *Classes) check() error {
	if len(c.Labels) < 2 {
		return fmt.Errorf("%d labels, want at least two", len(c.Labels))
	}
	for i, label := range c.Labels {
		if label == "" || slices.Contains(c.Labels[:i], label) {
			return fmt.Errorf("label %d is empty or occurs twice: %q", i+1, label)
		}
	}
	return nil
}

func (c *Classes) field() string {
	if c.Field == "" {
		return "label"
	}
	return c.Field
}

// classes prepares the answers.
func (c *converter) classes() error {
	o := c.opt.Classes
	if err := o.check(); err != nil {
		return err
	}
	if !o.Words {
		return nil
	}
	if err := c.needTokenizer(); err != nil {
		return err
	}
	for i, label := range o.Labels {
		c.answers = append(c.answers, c.tok.EncodeContinuation(label, true))
		for j, other := range c.answers[:i] {
			if slices.Equal(other, c.answers[i]) {
				return fmt.Errorf("the labels %q and %q are the same tokens", o.Labels[j], label)
			}
		}
	}
	return nil
}

// classRecord adds a record with a class.
func (m *made) classRecord(c *converter, r *records.Object) error {
	if err := c.needTokenizer(); err != nil {
		return err
	}
	o := c.opt.Classes
	label, err := r.Text(o.field())
	if err != nil {
		return err
	}
	class := slices.Index(o.Labels, label)
	if class < 0 {
		return fmt.Errorf("field %q is %q, want one of %s", o.field(), label, records.List(o.Labels))
	}
	prompt, err := c.classPrompt(r)
	if err != nil || len(prompt) == 0 {
		return err
	}
	before := len(m.examples)
	if o.Words {
		err = m.prompted(c, prompt, c.answers[class])
	} else {
		err = m.classified(c, prompt)
	}
	for i := before; i < len(m.examples); i++ {
		m.examples[i].Class = class + 1
	}
	return err
}

// classified adds a text whose last token predicts the class.
func (m *made) classified(c *converter, prompt []int32) error {
	if left, err := m.overflows(c, len(c.bos)+len(prompt)); left || err != nil {
		return err
	}
	if room := c.opt.SeqLen - len(c.bos); len(prompt) > room {
		m.counts.CutPrompts++
		prompt = cutPrompt(prompt, len(prompt)-room)
	}
	m.examples = append(m.examples, Example{IDs: concat(c.bos, prompt)})
	return nil
}

// classPrompt is the ids of the text to classify: the template up to its last field, or the text and a new line.
func (c *converter) classPrompt(r *records.Object) ([]int32, error) {
	special := c.opt.Special.or(true)
	if t := c.opt.Template; t != nil {
		if fields := t.Fields(); fields[len(fields)-1] != c.opt.Classes.field() {
			return nil, fmt.Errorf("the template ends with {%s}, want it to end with the label, {%s}",
				fields[len(fields)-1], c.opt.Classes.field())
		}
		return t.Prompt(c.tok, special, r.Text)
	}
	field := c.opt.TextField
	switch {
	case field != "":
	case r.Has("text"):
		field = "text"
	case r.Has("prompt"):
		field = "prompt"
	case r.Has("question"):
		field = "question"
	default:
		return nil, errors.New(`want a text to classify in "text", "prompt" or "question"; the fields are ` + r.List())
	}
	text, err := r.Text(field)
	if err != nil || text == "" {
		return nil, err
	}
	if c.opt.Separator != nil {
		text += *c.opt.Separator
	} else if c.opt.Classes.Words {
		text += "\n"
	}
	return c.tok.Encode(text, special), nil
}
