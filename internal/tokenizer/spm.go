package tokenizer

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/peftconv/peftconv/internal/tokenizer/pattern"
)

// spaceMark is what a space looks like inside a SentencePiece token.
const spaceMark = "▁"

// spm merges by score: of all neighbours that make a token, those that make the one with the best score come first.
type spm struct {
	vocab *vocab
	rank  []int32 // of each token: how many better scores there are
	bytes [256]int32
}

func newSPM(v *vocab, scores []float32) *spm {
	s := &spm{vocab: v, rank: make([]int32, len(scores)), bytes: v.byteTokens()}
	order := make([]int32, len(scores))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int { return cmp.Compare(scores[b], scores[a]) })
	for i := 1; i < len(order); i++ {
		s.rank[order[i]] = s.rank[order[i-1]]
		if scores[order[i]] != scores[order[i-1]] {
			s.rank[order[i]]++
		}
	}
	return s
}

func (s *spm) pair(word []byte, left, right *symbol) (rank, id int32, ok bool) {
	if int(right.end-left.start) > s.vocab.maxLen {
		return 0, 0, false
	}
	if id, ok = s.vocab.ids[string(word[left.start:right.end])]; !ok {
		return 0, 0, false
	}
	return s.rank[id], id, true
}

func (s *spm) encode(dst []int32, word []byte, m *merger) []int32 {
	return encodeRunes(dst, word, m, s, s.vocab, &s.bytes)
}

// encodeRunes merges the runes of a word; what is no token at the end is spelled in byte tokens, or is the unknown
// token where the vocabulary lacks one of them.
func encodeRunes(dst []int32, word []byte, m *merger, p pairer, v *vocab, bytes *[256]int32) []int32 {
	m.symbols = m.symbols[:0]
	for at := 0; at < len(word); {
		_, n := utf8.DecodeRune(word[at:])
		id, ok := v.ids[string(word[at:at+n])]
		if !ok {
			id = none
		}
		at += n
		m.add(id, at)
	}
	m.run(word, p)
	return m.spell(dst, word, v, bytes)
}

// spell appends the tokens of what is left after merging, and byte tokens where there is none.
func (m *merger) spell(dst []int32, word []byte, v *vocab, bytes *[256]int32) []int32 {
	for i := int32(0); i >= 0 && len(m.symbols) > 0; i = m.symbols[i].next {
		s := &m.symbols[i]
		if s.id != none {
			dst = append(dst, s.id)
			continue
		}
		dst = appendBytes(dst, word[s.start:s.end], v, bytes)
	}
	return dst
}

func appendBytes(dst []int32, text []byte, v *vocab, bytes *[256]int32) []int32 {
	from := len(dst)
	for _, b := range text {
		if bytes[b] == none {
			if v.dropsBytes {
				continue
			}
			dst = dst[:from]
			if fused := v.fuseUnk && from > 0 && dst[from-1] == v.unk; v.unk != none && !fused {
				dst = append(dst, v.unk)
			}
			return dst
		}
		dst = append(dst, bytes[b])
	}
	return dst
}

// pairCutter cuts wherever that cannot change the result: a merge across the cut would have to make a token in which
// the two runes there stand side by side, and no token has them so. It looks between ASCII runes, and before spaces.
type pairCutter struct {
	ascii    [utf8.RuneSelf][2]uint64 // of an ASCII rune: those that follow it in some token; ▁ counts as a space
	unspaced map[rune]bool            // runes beyond ASCII that stand before ▁ in some token
}

func newPairCutter(v *vocab) *pairCutter {
	c := &pairCutter{unspaced: map[rune]bool{}}
	for _, s := range v.text {
		last := rune(-1)
		for _, r := range s {
			switch r {
			case ' ':
				r = -1 // never in an escaped text
			case '▁':
				r = ' '
			}
			if last >= 0 && r >= 0 {
				c.join(last, r)
			}
			last = r
		}
	}
	return c
}

// join records that a comes before b in a token.
func (c *pairCutter) join(a, b rune) {
	switch {
	case a < utf8.RuneSelf && b < utf8.RuneSelf:
		c.ascii[a][b>>6] |= 1 << (b & 63)
	case b == ' ':
		c.unspaced[a] = true
	}
}

// joined says whether the text may merge across byte at.
func (c *pairCutter) joined(text string, at int) bool {
	a, b := text[at-1], text[at]
	switch {
	case a < utf8.RuneSelf && b < utf8.RuneSelf:
		return c.ascii[a][b>>6&1]>>(b&63)&1 != 0
	case b == ' ':
		r, _ := utf8.DecodeLastRuneInString(text[:at])
		return c.unspaced[r] || r == '▁'
	}
	return true
}

func (c *pairCutter) cut(text string, _ place, _ *pattern.Scratch, yield func(word string)) {
	start := 0
	for i := 1; i < len(text); i++ {
		if !c.joined(text, i) {
			yield(text[start:i])
			start = i
		}
	}
	if start < len(text) {
		yield(text[start:])
	}
}

// everySpace cuts before every space.
type everySpace struct{}

func (everySpace) cut(text string, _ place, _ *pattern.Scratch, yield func(word string)) {
	start := 0
	for i := 1; i < len(text); i++ {
		if text[i] == ' ' || strings.HasPrefix(text[i:], spaceMark) {
			yield(text[start:i])
			start = i
		}
	}
	if start < len(text) {
		yield(text[start:])
	}
}
