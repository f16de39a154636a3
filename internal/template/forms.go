package template

import (
	"fmt"
	"strings"
)

// System is a system prompt for a chat with any model: the words of the template and the allowed answers,
// nil where any text may be one.
func (t *Discrete) System(answers []string) string {
	lead, rest := t.cutLead()
	var b strings.Builder
	if lead != "" {
		b.WriteString(lead + "\n\n")
	}
	answer := "with what comes next"
	if answers != nil {
		answer = "with the one of these words that comes next: " + strings.Join(answers, ", ")
	}
	if len(t.Inputs()) == 0 {
		return strings.TrimRight(b.String(), "\n") + "\n"
	}
	names := "{" + strings.Join(t.Inputs(), "}, {") + "}"
	fmt.Fprintf(&b, "The user gives %s. Read it as the text between "+
		"the lines, and answer %s. Write nothing else.\n---\n%s\n---\n", names, answer, rest)
	return b.String()
}

// cutLead is the whole lines of fixed words before the first field, and the template from there to the answer.
func (t *Discrete) cutLead() (lead, rest string) {
	plain := t.Literal()
	parts := plain.parts[:len(plain.parts)-1]
	if len(parts) > 0 && parts[0].kind == fixed {
		end := strings.LastIndexByte(parts[0].text, '\n') + 1
		lead = strings.TrimSpace(parts[0].text[:end])
		parts = append([]part{{kind: fixed, text: parts[0].text[end:]}}, parts[1:]...)
	}
	var b strings.Builder
	for _, p := range parts {
		if p.kind == field {
			b.WriteString("{" + p.text + "}")
		} else {
			b.WriteString(p.text)
		}
	}
	return lead, strings.TrimRight(b.String(), " ")
}

// Modelfile is an Ollama Modelfile: the model, and the template around the user's input. The first field is the user's
// message; if there are more fields, the message is the whole prompt.
func (t *Discrete) Modelfile(answers []string, model string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "FROM %s\nTEMPLATE \"\"\"", model)
	inputs := t.Inputs()
	if len(inputs) > 1 {
		b.WriteString("{{ .Prompt }}")
	} else {
		r := t.Literal().render(func(string) string { return "{{ .Prompt }}" }, escapeGo)
		b.WriteString(r.Prompt)
	}
	b.WriteString("\"\"\"\nPARAMETER temperature 0\n")
	longest := 0
	for _, w := range answers {
		longest = max(longest, len(w))
	}
	if longest > 0 {
		// A token is at least a byte; nothing after the word is wanted.
		fmt.Fprintf(&b, "PARAMETER num_predict %d\nPARAMETER stop \"\\n\"\n", longest)
	}
	if len(inputs) > 1 {
		fmt.Fprintf(&b, "# Write the whole prompt: %s\n",
			strings.ReplaceAll(strings.TrimSuffix(t.Literal().String(), "{"+t.Answer()+"}"), "\n", `\n`))
	}
	return b.String()
}

// escapeGo escapes fixed words for Go's templates and the triple quotes around them.
func escapeGo(text string) string {
	return strings.NewReplacer("{{", `{{ "{{" }}`, `"`, `{{ "\"" }}`).Replace(text)
}
