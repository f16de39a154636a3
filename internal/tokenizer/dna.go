package tokenizer

import (
	"strings"
	"unicode"

	"github.com/peftconv/peftconv/internal/tokenizer/pattern"
)

// dna writes what stands between <dna> and </dna> in tokens of six letters.
type dna struct {
	vocab           *vocab
	begin, end, oov int32
}

// kmerMark ends the tokens of letters, which keeps CCCCCC the word apart from CCCCCC the sequence.
const (
	kmerMark = "\ue000"
	kmer     = 6
)

// newDNA is nil where the vocabulary lacks the tokens for it: then the text is all ordinary.
func newDNA(v *vocab) *dna {
	d := &dna{v, v.id("<dna>"), v.id("</dna>"), v.id("<oov>")}
	if d.begin == none || d.end == none || d.oov == none {
		return nil
	}
	return d
}

// encode encodes a text; plain does so for what is outside of sequences.
func (d *dna) encode(ids []int32, text string, plain func(ids []int32, text string) []int32) []int32 {
	for text != "" {
		before, rest, found := strings.Cut(text, "<dna>")
		if before != "" {
			ids = plain(ids, before)
		}
		if !found {
			break
		}
		var sequence string
		sequence, text, found = strings.Cut(rest, "</dna>")
		ids = d.appendKmers(append(ids, d.begin), sequence)
		if found {
			ids = append(ids, d.end)
		}
	}
	return ids
}

// appendKmers appends the tokens of a sequence, the last one filled up with A.
func (d *dna) appendKmers(ids []int32, sequence string) []int32 {
	upper := []byte(sequence)
	for i, c := range upper {
		if 'a' <= c && c <= 'z' {
			upper[i] = c - 'a' + 'A'
		}
	}
	for len(upper)%kmer != 0 {
		upper = append(upper, 'A')
	}
	for at := 0; at < len(upper); at += kmer {
		id := d.vocab.id(string(upper[at:at+kmer]) + kmerMark)
		if id == none {
			id = d.oov
		}
		ids = append(ids, id)
	}
	return ids
}

// fields cuts a text at white space, which is dropped, and the rest by another cutter.
type fields struct {
	inner cutter
	lower bool
}

func (f fields) cut(text string, _ place, s *pattern.Scratch, yield func(word string)) {
	for word := range strings.FieldsFuncSeq(text, unicode.IsSpace) {
		if f.lower {
			word = strings.Map(unicode.ToLower, word)
		}
		f.inner.cut(word, afterToken, s, yield)
	}
}
