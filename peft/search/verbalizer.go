package search

import (
	"fmt"
	"slices"
	"strings"
)

// Label is one of the labels of a classification and the words that stand for it.
type Label struct {
	Label string   `json:"label"`
	Words []string `json:"words"`
}

// Verbalizer says which words answer for which label.
type Verbalizer []Label

// ParseVerbalizer reads items such as "positive=great|good". A label without an item is its own word. Errors: fewer
// than two labels, items of other labels, words that are empty or stand for two labels.
func ParseVerbalizer(labels, items []string) (Verbalizer, error) {
	var v Verbalizer
	for _, label := range labels {
		v = append(v, Label{Label: strings.TrimSpace(label)})
	}
	for _, item := range items {
		name, words, ok := strings.Cut(item, "=")
		i := slices.IndexFunc(v, func(l Label) bool { return l.Label == strings.TrimSpace(name) })
		switch {
		case !ok:
			return nil, fmt.Errorf("verbalizer: %q, expected LABEL=WORD|WORD", item)
		case i < 0:
			return nil, fmt.Errorf("verbalizer: %q is none of the labels %q", strings.TrimSpace(name), labels)
		case v[i].Words != nil:
			return nil, fmt.Errorf("verbalizer: two items for the label %q", v[i].Label)
		}
		for _, w := range strings.Split(words, "|") {
			v[i].Words = append(v[i].Words, strings.TrimSpace(w))
		}
	}
	for i := range v {
		if v[i].Words == nil {
			v[i].Words = []string{v[i].Label}
		}
	}
	return v, v.Check()
}

// Check reports errors of a verbalizer.
func (v Verbalizer) Check() error {
	if len(v) < 2 {
		return fmt.Errorf("verbalizer: %d labels, expected two or more", len(v))
	}
	labels, words := map[string]bool{}, map[string]string{}
	for _, l := range v {
		if l.Label == "" || labels[l.Label] {
			return fmt.Errorf("verbalizer: the label %q is empty or occurs twice", l.Label)
		}
		labels[l.Label] = true
		if len(l.Words) == 0 {
			return fmt.Errorf("verbalizer: no word stands for %q", l.Label)
		}
		for _, w := range l.Words {
			if other, ok := words[w]; ok || w == "" {
				return fmt.Errorf("verbalizer: the word %q of %q is empty or stands for %q too", w, l.Label, other)
			}
			words[w] = l.Label
		}
	}
	return nil
}

// Index is the number of a label, which may stand between blanks; -1 where it is none.
func (v Verbalizer) Index(label string) int {
	return slices.IndexFunc(v, func(l Label) bool { return l.Label == strings.TrimSpace(label) })
}

// Words are all words, those of the first label first.
func (v Verbalizer) Words() []string {
	var all []string
	for _, l := range v {
		all = append(all, l.Words...)
	}
	return all
}
