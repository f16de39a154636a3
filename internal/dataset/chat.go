package dataset

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/chat"
	"github.com/peftconv/peftconv/internal/jinja"
	"github.com/peftconv/peftconv/internal/records"
)

// format is the form of a record, and its fields where it is a conversation.
func (c *converter) format(r *records.Object) (chat.Format, *jinja.Dict, error) {
	format := c.opt.Format
	if format == "" && c.opt.PromptField != "" {
		format = chat.Completion
		if !c.opt.Chat.Pairs {
			return format, nil, nil
		}
	}
	if format == "" {
		var err error
		if format, err = chat.Find(r, c.opt.Chat.Fields); err != nil {
			return "", nil, err
		}
	}
	if format == "" {
		return "", nil, fmt.Errorf(`want "messages", "conversations", "instruction" and "output", "text", "prompt" and `+
			`"completion", "question" and "answer", or "input_ids"; the fields are %s (--format and --prompt-field and the `+
			`like say which are meant)`, r.List())
	}
	if c.opt.Chat.Takes(format) {
		return format, chat.FromRecord(r), nil
	}
	return format, nil, nil
}

// chatRecord adds the examples of a conversation.
func (m *made) chatRecord(c *converter, fields *jinja.Dict, format chat.Format) error {
	if err := c.needTokenizer(); err != nil {
		return err
	}
	m.counts.Conversations++
	examples, notes, err := c.opt.Chat.Texts(fields, format)
	if err != nil {
		if !c.opt.SkipRefused {
			return fmt.Errorf("%w (--skip-refused leaves such records out)", err)
		}
		m.counts.Refused++
		m.counts.note("left out: "+err.Error(), m.number)
		return nil
	}
	for _, note := range notes {
		m.counts.note(note, m.number)
	}
	for _, e := range examples {
		ids, loss := c.opt.Chat.Tokens(e)
		if err := m.ready(c, ids, loss); err != nil {
			return err
		}
	}
	return nil
}

// filled is a template with the fields of a record in the place of their names in braces.
func filled(template string, field func(name string) (string, error)) (string, error) {
	var b strings.Builder
	for {
		text, rest, found := strings.Cut(template, "{")
		b.WriteString(text)
		if !found {
			return b.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", errors.New("the prompt template has a { without }")
		}
		value, err := field(name)
		if err != nil {
			return "", err
		}
		b.WriteString(value)
		template = after
	}
}

// answerFields are where a record has the answer to a prompt that is made of its fields.
var answerFields = []string{"completion", "output", "answer", "response"}

// filledRecord adds a record with a prompt that is made of its fields.
func (m *made) filledRecord(c *converter, r *records.Object) error {
	template, name := c.opt.PromptTemplate, c.opt.CompletionField
	if name == "" {
		if i := slices.IndexFunc(answerFields, func(n string) bool {
			return r.Has(n) && !strings.Contains(template, "{"+n+"}")
		}); i >= 0 {
			name = answerFields[i]
		} else if at := strings.LastIndexByte(template, '{'); at >= 0 && strings.HasSuffix(template, "}") {
			template, name = template[:at], template[at+1:len(template)-1]
		} else {
			return fmt.Errorf("no field with the answer, such as %s; the fields are %s (--completion-field names another)",
				records.List(answerFields), r.List())
		}
	}
	prompt, err := filled(template, func(name string) (string, error) {
		if v, ok := r.Value(name); ok && v == nil {
			return "", nil
		}
		return r.Text(name)
	})
	if err != nil {
		return err
	}
	answer, err := r.Text(name)
	if err != nil || answer == "" {
		return err
	}
	if err := c.needTokenizer(); err != nil {
		return err
	}
	special := c.opt.Special.or(true)
	return m.prompted(c, c.tok.Encode(prompt, special), append(c.tok.EncodeContinuation(answer, special), c.eos...))
}
