package template

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/peftconv/peftconv/internal/tokenizer"
)

// Virtual describes how the fields of a record become a text with virtual tokens. "[P*3] {question} [P*5] Answer:
// {answer}" is three virtual tokens, a field, five more, words and a last field, which is predicted. [P] is one
// virtual token; blanks beside [P…] are dropped. Virtual token i of a template, from 0, has the id -1-i.
type Virtual struct {
	text  string
	parts []virtualPart
}

// virtualPart is one of a run of virtual tokens, a field, and words.
type virtualPart struct {
	virtual     int
	field, text string
}

// maxVirtual is the most virtual tokens of a template.
const maxVirtual = 1 << 16

// ParseVirtual reads a template. Errors: brackets that are not closed, a template without virtual tokens or one that
// does not end with a field.
func ParseVirtual(text string) (*Virtual, error) {
	t := &Virtual{text: text}
	for rest := text; rest != ""; {
		part, n, err := nextVirtualPart(rest)
		if err != nil {
			return nil, fmt.Errorf("template %q: %w", text, err)
		}
		t.parts = append(t.parts, part)
		rest = rest[n:]
	}
	t.trim()
	if n := t.Virtual(); n < 1 || n > maxVirtual {
		return nil, fmt.Errorf("template %q has %d virtual tokens, expected 1 or more, as in [P] or [P*3]", text, n)
	}
	if len(t.parts) == 0 || t.parts[len(t.parts)-1].field == "" {
		return nil, fmt.Errorf("template %q: expected it to end with the field that is to be learned, as in {answer}", text)
	}
	return t, nil
}

// nextVirtualPart reads the part that text begins with and its length.
func nextVirtualPart(text string) (virtualPart, int, error) {
	switch {
	case text[0] == '{':
		name, _, ok := strings.Cut(text[1:], "}")
		if !ok || name == "" {
			return virtualPart{}, 0, errors.New("a { without the name of a field and }")
		}
		return virtualPart{field: name}, len(name) + 2, nil
	case virtualStart(text):
		inside, _, ok := strings.Cut(text[2:], "]")
		count, many := strings.CutPrefix(inside, "*")
		n, err := strconv.Atoi(strings.TrimSpace(count))
		if !many {
			n, err = 1, nil
		}
		if !ok || err != nil || n < 1 || n > maxVirtual || !many && inside != "" {
			return virtualPart{}, 0, errors.New("[P must go on as [P] or, for more virtual tokens than one, [P*3]")
		}
		return virtualPart{virtual: n}, len(inside) + 3, nil
	}
	end := 1
	for end < len(text) && text[end] != '{' && !virtualStart(text[end:]) {
		end++
	}
	return virtualPart{text: text[:end]}, end, nil
}

func virtualStart(text string) bool {
	return strings.HasPrefix(text, "[P]") || strings.HasPrefix(text, "[P*")
}

// trim drops blanks beside virtual tokens.
func (t *Virtual) trim() {
	for i := range t.parts {
		if i > 0 && t.parts[i-1].virtual > 0 {
			t.parts[i].text = strings.TrimLeft(t.parts[i].text, " ")
		}
		if i+1 < len(t.parts) && t.parts[i+1].virtual > 0 {
			t.parts[i].text = strings.TrimRight(t.parts[i].text, " ")
		}
	}
	t.parts = slices.DeleteFunc(t.parts, func(p virtualPart) bool { return p == virtualPart{} })
}

func (t *Virtual) String() string { return t.text }

// Virtual is the number of virtual tokens.
func (t *Virtual) Virtual() int {
	n := 0
	for _, p := range t.parts {
		n += p.virtual
	}
	return n
}

// Fields are the names of the fields in order; the last one is predicted.
func (t *Virtual) Fields() []string {
	var names []string
	for _, p := range t.parts {
		if p.field != "" {
			names = append(names, p.field)
		}
	}
	return names
}

// Render writes the template up to its last field, virtual token i as virtual(i) gives it and fields as field does.
func (t *Virtual) Render(virtual func(i int) string, field func(name string) string) string {
	var b strings.Builder
	next := 0
	for _, p := range t.parts[:len(t.parts)-1] {
		for range p.virtual {
			b.WriteString(virtual(next))
			next++
		}
		b.WriteString(p.text)
		if p.field != "" {
			b.WriteString(field(p.field))
		}
	}
	return b.String()
}

// Prompt is the ids of everything before the last field; value gives the text of a field. Words after virtual tokens
// are tokenized as words after a control token are.
func (t *Virtual) Prompt(tok *tokenizer.Tokenizer, special bool,
	value func(name string) (string, error)) ([]int32, error) {
	var ids []int32
	var words strings.Builder
	next := int32(-1)
	flush := func() {
		ids = append(ids, tok.Encode(words.String(), special)...)
		words.Reset()
	}
	for _, p := range t.parts[:len(t.parts)-1] {
		if p.virtual > 0 {
			flush()
		}
		for range p.virtual {
			ids = append(ids, next)
			next--
		}
		words.WriteString(p.text)
		if p.field != "" {
			text, err := value(p.field)
			if err != nil {
				return nil, err
			}
			words.WriteString(text)
		}
	}
	flush()
	return ids, nil
}

// Continues says whether the predicted text continues words.
func (t *Virtual) Continues(prompt []int32) bool {
	return len(prompt) > 0 && prompt[len(prompt)-1] >= 0
}
