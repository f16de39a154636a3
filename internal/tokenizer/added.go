package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedTokens finds the added tokens of a tokenizer.json as the tokenizers library does: from left to right, the
// longest where several begin, first those that stand in the text as it is, then, in what is left and normalized,
// those whose text is normalized too.
type addedTokens struct {
	plain, normalized *trie // values are places in tokens
	tokens            []addedToken
}

type addedToken struct {
	id                           int32
	lstrip, rstrip, word, hidden bool // hidden: a control token, which a text may not hold
}

// newAddedTokens takes the tokens as the file lists them.
func newAddedTokens(list []hfAdded, normalize func(string) string) *addedTokens {
	a := &addedTokens{}
	var texts [2][]string
	var places [2][]int32
	for _, t := range list {
		if t.Content == "" {
			continue
		}
		which, text := 0, t.Content
		if t.Normalized && normalize != nil {
			which, text = 1, normalize(t.Content)
		}
		texts[which] = append(texts[which], text)
		places[which] = append(places[which], int32(len(a.tokens)))
		a.tokens = append(a.tokens, addedToken{int32(t.ID), t.LStrip, t.RStrip, t.SingleWord, t.Special})
	}
	a.plain, a.normalized = newTrie(texts[0], places[0]), newTrie(texts[1], places[1])
	return a
}

// anyNormalized says whether there are tokens whose text is normalized.
func (a *addedTokens) anyNormalized() bool { return len(a.normalized.nodes) > 1 }

// find calls text for the stretches between tokens of a trie and token for the tokens, with their places, in order.
// Control tokens are none where they overlap a literal place.
func (a *addedTokens) find(in *trie, s string, special bool, literal []Place, text func(string),
	token func(t *addedToken, start, end int)) {
	done := 0 // what was passed on
	want := func(place int32) bool { return special || !a.tokens[place].hidden }
	for at := 0; at < len(s); {
		if in.root[s[at]] == 0 {
			at++
			continue
		}
		place, n := in.longest(s[at:], want)
		if n == 0 {
			at++
			continue
		}
		t, start, end := &a.tokens[place], at, at+n
		at = end
		if t.word && (wordEnds(s[:start]) || wordBegins(s[end:])) {
			continue
		}
		if t.hidden && overlaps(literal, start, end) {
			at = start + 1
			continue
		}
		if t.lstrip {
			start = len(strings.TrimRightFunc(s[:start], unicode.IsSpace))
		}
		if t.rstrip {
			end = len(s) - len(strings.TrimLeftFunc(s[end:], unicode.IsSpace))
		}
		if start > done {
			text(s[done:start])
		}
		token(t, at-n, at)
		done = max(done, end)
	}
	if done < len(s) {
		text(s[done:])
	}
}

// isWord is the \w of expressions.
func isWord(r rune) bool {
	return r == '_' || unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic,
		unicode.Join_Control)
}

func wordBegins(s string) bool {
	r, n := utf8.DecodeRuneInString(s)
	return n > 0 && isWord(r)
}

func wordEnds(s string) bool {
	r, n := utf8.DecodeLastRuneInString(s)
	return n > 0 && isWord(r)
}

// encodeAdded encodes a text that may hold added tokens.
func (t *Tokenizer) encodeAdded(ids []int32, text string, special bool, literal []Place, at place,
	e *encoder) []int32 {
	token := func(a *addedToken, _, _ int) {
		ids = append(ids, a.id)
		at = afterToken
	}
	t.added.find(t.added.plain, text, special, literal, func(text string) {
		t.added.find(t.added.normalized, t.normalized(text, at), special, nil, func(text string) {
			ids = t.encodeText(ids, text, at, e)
			at = afterToken
		}, token)
		at = afterToken
	}, token)
	return ids
}
