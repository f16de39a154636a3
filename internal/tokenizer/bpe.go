package tokenizer

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/peftconv/peftconv/internal/tokenizer/pattern"
)

// Byte-level vocabularies spell each byte as a printable rune: itself where it is printable Latin-1, otherwise the
// next rune from U+0100 on.
var (
	runeOfByte [256]rune
	byteOfRune = map[rune]byte{}
)

func init() {
	next := rune(0x100)
	for b := range 256 {
		r := rune(b)
		if printable := r > ' ' && r < 0x7f || r > 0xa0 && r != 0xad; !printable {
			r = next
			next++
		}
		runeOfByte[b] = r
		byteOfRune[r] = byte(b)
	}
}

// merge is the result of merging a pair of tokens.
type merge struct {
	rank, id int32
}

// bpe merges by rank: the position of the pair in the list of merges.
type bpe struct {
	vocab        *vocab
	merges       map[uint64]merge // by left<<32 | right
	bytes        [256]int32       // the token of each byte, or none, which drops it
	raw          bool             // works on the runes of the text; otherwise on its bytes, spelled as runes
	ignoreMerges bool

	prefix string // stands before the runes of a word but the first, and before tokens that go on with a word
	suffix string // stands behind the last rune of a word, and behind tokens that end one
}

// newBPE reads merges of the form "left right". A token may begin with a space, so the space that divides them is
// the first one after the first byte.
func newBPE(v *vocab, merges []string) (*bpe, error) {
	b := &bpe{vocab: v, merges: make(map[uint64]merge, len(merges))}
	for c := range b.bytes {
		b.bytes[c] = v.id(string(runeOfByte[c]))
	}
	if len(merges) > math.MaxInt32 {
		return nil, fmt.Errorf("%d merges are too many", len(merges))
	}
	for i, m := range merges {
		left, right, ok := cutMerge(m)
		if !ok {
			return nil, fmt.Errorf("merge %d is %q, want two tokens with a space between", i, m)
		}
		if err := b.add(i, left, right); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func cutMerge(m string) (left, right string, ok bool) {
	if m == "" {
		return "", "", false
	}
	at := strings.IndexByte(m[1:], ' ')
	if at < 0 {
		return "", "", false
	}
	return m[:at+1], m[at+2:], true
}

// add enters merge number i. Of equal pairs the first counts.
func (b *bpe) add(i int, left, right string) error {
	var joined [256]byte
	both := append(append(joined[:0], left...), strings.TrimPrefix(right, b.prefix)...)
	l, okLeft := b.vocab.ids[left]
	r, okRight := b.vocab.ids[right]
	id, okBoth := b.vocab.ids[string(both)]
	if !okLeft || !okRight || !okBoth {
		lacks := left
		switch {
		case okLeft && okRight:
			lacks = left + right
		case okLeft:
			lacks = right
		}
		return fmt.Errorf("merge %d (%q and %q) needs the token %q, which the vocabulary lacks", i, left, right, lacks)
	}
	key := uint64(l)<<32 | uint64(r)
	if _, twice := b.merges[key]; !twice {
		b.merges[key] = merge{int32(i), id}
	}
	return nil
}

func (b *bpe) pair(_ []byte, left, right *symbol) (rank, id int32, ok bool) {
	m, ok := b.merges[uint64(uint32(left.id))<<32|uint64(uint32(right.id))]
	return m.rank, m.id, ok
}

func (b *bpe) encode(dst []int32, word []byte, m *merger) []int32 {
	if b.raw {
		return b.encodeRaw(dst, word, m)
	}
	if b.ignoreMerges {
		if id := b.whole(word); id != none {
			return append(dst, id)
		}
	}
	m.symbols = m.symbols[:0]
	for i, c := range word {
		m.add(b.bytes[c], i+1)
	}
	m.run(word, b)
	for i := int32(0); i >= 0; i = m.symbols[i].next {
		if id := m.symbols[i].id; id != none {
			dst = append(dst, id)
		}
	}
	return dst
}

func (b *bpe) encodeRaw(dst []int32, word []byte, m *merger) []int32 {
	if b.ignoreMerges {
		if id, ok := b.vocab.ids[string(word)]; ok {
			return append(dst, id)
		}
	}
	if b.prefix == "" && b.suffix == "" {
		return encodeRunes(dst, word, m, b, b.vocab, &b.bytes)
	}
	m.symbols = m.symbols[:0]
	for at := 0; at < len(word); {
		_, n := utf8.DecodeRune(word[at:])
		m.key = m.key[:0]
		if at > 0 {
			m.key = append(m.key, b.prefix...)
		}
		m.key = append(m.key, word[at:at+n]...)
		if at += n; at == len(word) {
			m.key = append(m.key, b.suffix...)
		}
		id, ok := b.vocab.ids[string(m.key)]
		if !ok {
			id = none
		}
		m.add(id, at)
	}
	m.run(word, b)
	return m.spell(dst, word, b.vocab, &b.bytes)
}

// whole is the token of a whole word, or none.
func (b *bpe) whole(word []byte) int32 {
	if len(word) > b.vocab.maxLen {
		return none
	}
	var spelled [256]byte
	text := spelled[:0]
	for _, c := range word {
		text = utf8.AppendRune(text, runeOfByte[c])
	}
	if id, ok := b.vocab.ids[string(text)]; ok {
		return id
	}
	return none
}

// readable is the text that a byte-level token spells; one that uses other runes reads as it is written.
func readable(token string) string {
	out := make([]byte, 0, len(token))
	for _, r := range token {
		c, ok := byteOfRune[r]
		if !ok {
			return token
		}
		out = append(out, c)
	}
	return string(out)
}

// stageCutter cuts by expressions, one after the other.
type stageCutter []stage

func newStageCutter(stages []string) (stageCutter, error) {
	var c stageCutter
	for _, expr := range stages {
		p, err := compile(expr)
		if err != nil {
			return nil, err
		}
		c = append(c, p)
	}
	return c, nil
}

func (c stageCutter) cut(text string, _ place, s *pattern.Scratch, yield func(word string)) {
	if len(c) == 0 {
		yield(text)
		return
	}
	c[0].Split(text, s, func(piece string, _ bool) bool {
		c[1:].cut(piece, afterToken, s, yield)
		return true
	})
}
