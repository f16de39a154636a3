package tokenizer

import (
	"slices"
	"strings"
)

// fragment is a stretch of a text: a special token, or text between such (id none).
type fragment struct {
	start, end int
	id         int32
}

// fragments finds the special tokens of a text. The longest token goes first and takes all its places, then the next
// has what is left: that is llama.cpp's order, which is not the order of the text. Without parseSpecial only the
// tokens that a user defined count, and they alone count where they overlap a literal place.
func (t *Tokenizer) fragments(text string, parseSpecial bool, literal []Place) []fragment {
	if text == "" {
		return nil
	}
	out := []fragment{{0, len(text), none}}
	var seen [256]bool
	for i := range len(text) {
		seen[text[i]] = true
	}
	for _, id := range t.special {
		if !parseSpecial && t.vocab.types[id] != typeUser {
			continue
		}
		s := t.vocab.text[id]
		if possible(s, &seen) && strings.Contains(text, s) {
			if t.vocab.types[id] == typeUser {
				out = t.divide(out, text, id, nil)
			} else {
				out = t.divide(out, text, id, literal)
			}
		}
	}
	return out
}

// possible is false where s has a byte that was not seen.
func possible(s string, seen *[256]bool) bool {
	for i := range len(s) {
		if !seen[s[i]] {
			return false
		}
	}
	return true
}

// find is the first place of s in text[start:end] that overlaps no literal one, from start, or -1.
func find(text, s string, start, end int, literal []Place) int {
	for from := start; ; {
		at := strings.Index(text[from:end], s)
		if at < 0 {
			return -1
		}
		at += from
		if !overlaps(literal, at, at+len(s)) {
			return at - start
		}
		from = at + 1
	}
}

// overlaps says whether a stretch overlaps one of some places.
func overlaps(places []Place, start, end int) bool {
	return slices.ContainsFunc(places, func(p Place) bool { return p.Start < end && start < p.End })
}

// divide cuts the text fragments at each place of token id that overlaps no literal one.
func (t *Tokenizer) divide(in []fragment, text string, id int32, literal []Place) []fragment {
	s := t.vocab.text[id]
	var out []fragment
	for _, f := range in {
		for f.id == none {
			at := find(text, s, f.start, f.end, literal)
			if at < 0 {
				break
			}
			left := fragment{f.start, f.start + at, none}
			if t.lstrip[id] {
				left.end = left.start + len(strings.TrimRight(text[left.start:left.end], whiteSpace))
			}
			if left.end > left.start {
				out = append(out, left)
			}
			end := f.start + at + len(s)
			out = append(out, fragment{f.start + at, end, id})
			f.start = end
			if t.rstrip[id] {
				f.start = f.end - len(strings.TrimLeft(text[f.start:f.end], whiteSpace))
			}
		}
		if f.end > f.start {
			out = append(out, f)
		}
	}
	return out
}

// whiteSpace is what C's isspace takes for it.
const whiteSpace = " \t\n\v\f\r"
