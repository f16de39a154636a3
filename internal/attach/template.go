package attach

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/template"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

// PromptIDs are the tokens of a prompt.
func PromptIDs(tok *tokenizer.Tokenizer, prompt string) []int32 {
	var ids []int32
	if bos, ok := tok.BOS(); ok && tok.AddBOS() {
		ids = append(ids, bos)
	}
	return append(ids, tok.Encode(prompt, true)...)
}

// Template says where virtual tokens stand among the fields of a record.
type Template = template.Virtual

// ParseTemplate reads a template such as "[P*3] {question} [P*5] Answer: {answer}": three virtual tokens, a field, five
// more, words, and the field that is predicted.
func ParseTemplate(text string) (*Template, error) { return template.ParseVirtual(text) }

// Template is where the adapter's virtual tokens stand among the fields of a record; nil where they stand before a
// text.
func (a *Adapter) Template() (*Template, error) {
	if a.Config.Template == "" {
		return nil, nil
	}
	t, err := ParseTemplate(a.Config.Template)
	if err == nil && t.Virtual() != a.VirtualTokens() {
		err = fmt.Errorf("template %q has %d virtual tokens, the adapter %d", a.Config.Template, t.Virtual(),
			a.VirtualTokens())
	}
	return t, err
}

// Templated are the tokens of a prompt in the adapter's template: the text of its one field, or a JSON object of the
// fields where there are several, up to the field that is to be generated.
func (a *Adapter) Templated(b *Base, prompt string) ([]int32, error) {
	t, err := a.Template()
	if err != nil {
		return nil, err
	}
	fields := t.Fields()
	value := func(string) (string, error) { return prompt, nil }
	if inputs := fields[:len(fields)-1]; len(inputs) > 1 {
		var object map[string]string
		if err := json.Unmarshal([]byte(prompt), &object); err != nil {
			return nil, fmt.Errorf("the adapter's template has the fields %s: give the prompt as a JSON object of texts: %w",
				strings.Join(inputs, ", "), err)
		}
		value = func(name string) (string, error) {
			text, ok := object[name]
			if !ok {
				return "", fmt.Errorf("the prompt has no field %q, which the adapter's template has", name)
			}
			return text, nil
		}
	}
	ids, err := t.Prompt(b.Tokenizer, true, value)
	if err != nil {
		return nil, err
	}
	if len(fields) == 1 {
		ids = append(ids, b.Tokenizer.Encode(prompt, true)...)
	}
	if bos, ok := b.Tokenizer.BOS(); ok && b.Tokenizer.AddBOS() {
		ids = slices.Insert(ids, 0, bos)
	}
	return ids, nil
}
