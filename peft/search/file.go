package search

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/template"
)

// promptFormat marks a file of a prompt.
const promptFormat = "peftconv discrete-prompt 1"

// Prompt is a prompt made of words: what Run finds, and what is written by hand.
type Prompt struct {
	Format   string `json:"format"`
	Template string `json:"template"` // fixed words and {fields}, that of the answers last
	// the same with the words that were found as [slot: word], to search on from
	Slots      string     `json:"slots,omitempty"`
	Verbalizer Verbalizer `json:"verbalizer,omitempty"` // the answer words of each label; nil: the answers are texts
	Base       string     `json:"base,omitempty"`       // the model it was found for
	BaseSHA256 string     `json:"base_sha256,omitempty"`
}

// Load reads a prompt: the JSON that a search wrote, or a text file with a template written by hand.
func Load(path string) (*Prompt, error) {
	data, err := infile.ReadStream(path, infile.Text)
	if err != nil {
		return nil, fmt.Errorf("load a prompt: %w", err)
	}
	p, err := parsePrompt(data)
	if err != nil {
		return nil, fmt.Errorf("load a prompt: %s: %w", path, err)
	}
	return p, nil
}

func parsePrompt(data []byte) (*Prompt, error) {
	text := strings.TrimSuffix(string(bytes.TrimPrefix(data, []byte("\ufeff"))), "\n")
	p := &Prompt{Format: promptFormat, Template: text}
	if strings.HasPrefix(text, "{") && json.Valid(data) {
		*p = Prompt{}
		if err := json.Unmarshal(data, p); err != nil {
			return nil, err
		}
		if p.Format != promptFormat {
			return nil, fmt.Errorf("format %q, expected %q", p.Format, promptFormat)
		}
	}
	if _, err := template.ParseDiscrete(p.Template); err != nil {
		return nil, err
	}
	if p.Slots != "" {
		if _, err := template.ParseDiscrete(p.Slots); err != nil {
			return nil, fmt.Errorf("slots: %w", err)
		}
	}
	if p.Verbalizer != nil {
		return p, p.Verbalizer.Check()
	}
	return p, nil
}

// Fields are the names of the fields of the template, that of the answers last.
func (p *Prompt) Fields() ([]string, error) {
	t, err := template.ParseDiscrete(p.Template)
	if err != nil {
		return nil, err
	}
	return t.Fields(), nil
}

// Save writes what was found as JSON, in the form that Load reads.
func (r *Result) Save(path string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("save a prompt: %w", err)
	}
	err := atomicfile.WriteBytes(path, b.Bytes())
	if err != nil {
		return fmt.Errorf("save a prompt: %w", err)
	}
	return nil
}

// Forms of a prompt.
const (
	PromptText      = "text"      // the template
	PromptSystem    = "system"    // a system prompt for a chat
	PromptModelfile = "modelfile" // an Ollama Modelfile
)

// Form is the prompt as another program uses it: PromptText, PromptSystem or PromptModelfile, which names the model.
func (p *Prompt) Form(form, model string) (string, error) {
	t, err := template.ParseDiscrete(p.Template)
	if err != nil {
		return "", err
	}
	switch form {
	case PromptText:
		return p.Template + "\n", nil
	case PromptSystem:
		return t.System(p.Verbalizer.Words()), nil
	case PromptModelfile:
		return t.Modelfile(p.Verbalizer.Words(), model), nil
	}
	return "", fmt.Errorf("the form %q of a prompt is not known, expected %s, %s or %s", form, PromptText,
		PromptSystem, PromptModelfile)
}

// Fill is the prompt for one input: the text of its one field, or a JSON object of the texts of several.
func (p *Prompt) Fill(input string) (string, error) {
	t, err := template.ParseDiscrete(p.Template)
	if err != nil {
		return "", err
	}
	values := map[string]string{}
	switch inputs := t.Inputs(); len(inputs) {
	case 0:
	case 1:
		values[inputs[0]] = input
	default:
		if err := json.Unmarshal([]byte(input), &values); err != nil {
			return "", fmt.Errorf("the template has the fields %s: give the prompt as a JSON object of texts: %w",
				strings.Join(inputs, ", "), err)
		}
		for _, name := range inputs {
			if _, ok := values[name]; !ok {
				return "", fmt.Errorf("the prompt has no field %q", name)
			}
		}
	}
	r := t.Literal().Render(func(name string) string { return values[name] })
	if r.Prompt == "" {
		return "", errors.New("the prompt is empty")
	}
	return r.Prompt, nil
}
