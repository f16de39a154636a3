package dataset

import (
	"errors"
	"fmt"
	"slices"
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
func (l *loader) classes() error {
	c := l.opt.Classes
	if err := c.check(); err != nil {
		return err
	}
	l.set.Classes = len(c.Labels)
	if !c.Words {
		return nil
	}
	if err := l.needTokenizer(); err != nil {
		return err
	}
	for i, label := range c.Labels {
		l.set.Answers = append(l.set.Answers, l.tok.EncodeContinuation(label, true))
		for j, other := range l.set.Answers[:i] {
			if slices.Equal(other, l.set.Answers[i]) {
				return fmt.Errorf("the labels %q and %q are the same tokens", c.Labels[j], label)
			}
		}
	}
	return nil
}

// classRecord adds a record with a class.
func (l *loader) classRecord(r record) error {
	if err := l.needTokenizer(); err != nil {
		return err
	}
	c := l.opt.Classes
	label, err := r.text(c.field())
	if err != nil {
		return err
	}
	class := slices.Index(c.Labels, label)
	if class < 0 {
		return fmt.Errorf("field %q is %q, want one of %s", c.field(), label, list(c.Labels))
	}
	prompt, err := l.classPrompt(r)
	if err != nil || len(prompt) == 0 {
		return err
	}
	before := len(l.set.Examples)
	if c.Words {
		l.prompted(prompt, l.set.Answers[class])
	} else if room := l.opt.SeqLen - len(l.bos); len(prompt) > 0 {
		if len(prompt) > room {
			l.set.Counts.CutPrompts++
			prompt = cutPrompt(prompt, len(prompt)-room)
		}
		l.set.Examples = append(l.set.Examples, Example{IDs: l.memory.ids(l.bos, prompt)})
	}
	for i := before; i < len(l.set.Examples); i++ {
		l.set.Examples[i].Class = class + 1
	}
	return nil
}

// classPrompt is the ids of the text to classify: the template up to its last field, or the text and a new line.
func (l *loader) classPrompt(r record) ([]int32, error) {
	special := l.opt.Special.or(true)
	if t := l.opt.Template; t != nil {
		if fields := t.Fields(); fields[len(fields)-1] != l.opt.Classes.field() {
			return nil, fmt.Errorf("the template ends with {%s}, want it to end with the label, {%s}",
				fields[len(fields)-1], l.opt.Classes.field())
		}
		return t.Prompt(l.tok, special, r.text)
	}
	field := l.opt.TextField
	switch {
	case field != "":
	case r.has("text"):
		field = "text"
	case r.has("prompt"):
		field = "prompt"
	case r.has("question"):
		field = "question"
	default:
		return nil, errors.New(`want a text to classify in "text", "prompt" or "question"; the fields are ` + r.fields())
	}
	text, err := r.text(field)
	if err != nil || text == "" {
		return nil, err
	}
	if l.opt.Separator != nil {
		text += *l.opt.Separator
	} else if l.opt.Classes.Words {
		text += "\n"
	}
	return l.tok.Encode(text, special), nil
}
