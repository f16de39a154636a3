package template

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Discrete describes how the fields of a record become a prompt: "{sentence} It was [slot][slot] {answer}" is a field,
// fixed words, two slots for words to find, and a last field, whose text answers the prompt. [slot*3] is three slots;
// [slot: truly great] is slots that have words already. {{ is a brace.
type Discrete struct{ parts []part }

// part is fixed words, a field or a slot.
type part struct {
	kind  kind
	text  string // the words, the field's name, the word in the slot
	count int    // empty slots in one part; 1 after Fill
}

type kind uint8

const (
	fixed kind = iota
	field
	slot
)

// MaxSlots is the most slots of a template.
const MaxSlots = 256

const slotStart = "[slot"

// ParseDiscrete reads a template. Errors: brackets that are not closed, a field without a name, a template that does
// not end with a field or has nothing before it.
func ParseDiscrete(text string) (*Discrete, error) {
	t := &Discrete{}
	for rest := text; rest != ""; {
		p, n, err := nextPart(rest)
		if err != nil {
			return nil, fmt.Errorf("template %q, byte %d: %w", text, len(text)-len(rest)+1, err)
		}
		t.add(p)
		rest = rest[n:]
	}
	t.spaceSlots()
	switch n := len(t.parts); {
	case n == 0 || t.parts[n-1].kind != field:
		return nil, fmt.Errorf("template %q: expected it to end with the field that answers it, as in {answer}", text)
	case n == 1:
		return nil, fmt.Errorf("template %q: nothing stands before {%s}, which is to be predicted", text, t.parts[0].text)
	case t.Slots() > MaxSlots:
		return nil, fmt.Errorf("template %q: %d slots, expected at most %d", text, t.Slots(), MaxSlots)
	}
	return t, nil
}

// nextPart reads the part that text begins with and its length.
func nextPart(text string) (part, int, error) {
	switch {
	case strings.HasPrefix(text, "{{"):
		return part{kind: fixed, text: "{"}, 2, nil
	case text[0] == '{':
		name, _, ok := strings.Cut(text[1:], "}")
		if !ok || name == "" || strings.ContainsAny(name, "{\n") {
			return part{}, 0, errors.New("expected { to go on with the name of a field and }; {{ is a brace")
		}
		return part{kind: field, text: name}, len(name) + 2, nil
	case strings.HasPrefix(text, slotStart):
		return slotPart(text)
	}
	end := 1
	for end < len(text) && text[end] != '{' && !strings.HasPrefix(text[end:], slotStart) {
		end++
	}
	return part{kind: fixed, text: text[:end]}, end, nil
}

// slotPart reads [slot], [slot*3] or [slot: words].
func slotPart(text string) (part, int, error) {
	inside, _, closed := strings.Cut(text[len(slotStart):], "]")
	if !closed || strings.Contains(inside, "[") {
		return part{}, 0, errors.New("[slot is not closed, expected [slot], [slot*3] or [slot: words]")
	}
	length := len(slotStart) + len(inside) + 1
	if inside == "" {
		return part{kind: slot, count: 1}, length, nil
	}
	if words, ok := strings.CutPrefix(inside, ":"); ok && strings.TrimSpace(words) != "" {
		return part{kind: slot, text: words, count: 1}, length, nil
	}
	number, many := strings.CutPrefix(inside, "*")
	n, err := strconv.Atoi(strings.TrimSpace(number))
	if !many || err != nil || n < 1 || n > MaxSlots {
		return part{}, 0, fmt.Errorf("[slot%s], expected [slot], [slot*3] (of at most %d) or [slot: words]", inside, MaxSlots)
	}
	return part{kind: slot, count: n}, length, nil
}

// add appends a part; fixed words side by side are one.
func (t *Discrete) add(p part) {
	if n := len(t.parts); p.kind == fixed && n > 0 && t.parts[n-1].kind == fixed {
		t.parts[n-1].text += p.text
		return
	}
	t.parts = append(t.parts, p)
}

// spaceSlots moves the blanks before a slot into its words; a slot without words gets its own.
func (t *Discrete) spaceSlots() {
	for i := 1; i < len(t.parts); i++ {
		before, p := &t.parts[i-1], &t.parts[i]
		if p.kind != slot || before.kind != fixed {
			continue
		}
		trimmed := strings.TrimRight(before.text, " ")
		if p.text != "" && trimmed != before.text {
			p.text = " " + strings.TrimLeft(p.text, " ")
		}
		before.text = trimmed
	}
	t.parts = slices.DeleteFunc(t.parts, func(p part) bool { return p.kind == fixed && p.text == "" })
}

// Slots is the number of slots; [slot: words] counts as one until Fill has split it.
func (t *Discrete) Slots() int {
	n := 0
	for _, p := range t.parts {
		n += p.count
	}
	return n
}

// Fields are the names of the fields in order, each once; the last one is the answer.
func (t *Discrete) Fields() []string {
	var names []string
	for _, p := range t.parts[:len(t.parts)-1] {
		if p.kind == field && !slices.Contains(names, p.text) {
			names = append(names, p.text)
		}
	}
	return append(names, t.Answer())
}

// Inputs are the names of the fields of the prompt, each once.
func (t *Discrete) Inputs() []string { f := t.Fields(); return f[:len(f)-1] }

// Answer is the name of the field that answers the prompt.
func (t *Discrete) Answer() string { return t.parts[len(t.parts)-1].text }

// Fill gives every slot a word of its own: split cuts the words in a slot, and an empty one has the word "".
func (t *Discrete) Fill(split func(words string) ([]string, error)) (*Discrete, error) {
	out := &Discrete{}
	for _, p := range t.parts {
		words := make([]string, p.count)
		if p.kind == slot && p.text != "" {
			var err error
			if words, err = split(p.text); err != nil {
				return nil, err
			}
		}
		if p.kind != slot {
			out.parts = append(out.parts, p)
			continue
		}
		for _, w := range words {
			out.parts = append(out.parts, part{kind: slot, text: w, count: 1})
		}
	}
	return out, nil
}

// Words are the words in the slots of a filled template, in order.
func (t *Discrete) Words() []string {
	var words []string
	for _, p := range t.parts {
		if p.kind == slot {
			words = append(words, p.text)
		}
	}
	return words
}

// With is a filled template with other words in its slots; nil removes the slots.
func (t *Discrete) With(words []string) *Discrete {
	out, next := &Discrete{}, 0
	for _, p := range t.parts {
		if p.kind != slot {
			out.parts = append(out.parts, p)
			continue
		}
		if words != nil {
			p.text = words[next]
			out.parts = append(out.parts, p)
		}
		next++
	}
	return out
}

// Literal is the template with the words of its slots as fixed words.
func (t *Discrete) Literal() *Discrete {
	out := &Discrete{}
	for i, p := range t.parts {
		if p.kind == slot {
			p = part{kind: fixed, text: t.slotText(i, p.text)}
		}
		if p.kind == field || p.text != "" {
			out.add(p)
		}
	}
	return out
}

// slotText is the word of slot part i as it stands in a text: without a blank of its own at the beginning and on a new
// line.
func (t *Discrete) slotText(i int, word string) string {
	if i > 0 && (t.parts[i-1].kind != fixed || !strings.HasSuffix(t.parts[i-1].text, "\n")) {
		return word
	}
	return strings.TrimLeft(word, " ")
}

// String is the template as ParseDiscrete reads it.
func (t *Discrete) String() string {
	var b strings.Builder
	for _, p := range t.parts {
		switch {
		case p.kind == field:
			b.WriteString("{" + p.text + "}")
		case p.kind == fixed:
			b.WriteString(strings.ReplaceAll(p.text, "{", "{{"))
		case p.text != "":
			b.WriteString(slotStart + ":" + p.text + "]")
		case p.count > 1:
			b.WriteString(slotStart + "*" + strconv.Itoa(p.count) + "]")
		default:
			b.WriteString(slotStart + "]")
		}
	}
	return b.String()
}

// IsWord says whether a search may put a single token into a slot: a word after a blank, or a punctuation mark.
// Single letters are mostly beginnings of words.
func IsWord(token string) bool {
	if len(token) == 1 {
		return strings.Contains(",.:;!?-\"'()", token)
	}
	word, ok := strings.CutPrefix(token, " ")
	if !ok || strings.ContainsFunc(word, func(r rune) bool { return !unicode.IsLetter(r) }) {
		return false
	}
	return len(word) > 1 || word == "a" || word == "I"
}

// WithoutEmpty is the template without the slots that have no word.
func (t *Discrete) WithoutEmpty() *Discrete {
	out := &Discrete{}
	for _, p := range t.parts {
		if p.kind != slot || p.text != "" {
			out.parts = append(out.parts, p)
		}
	}
	return out
}
