package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// setPieces computes the text of each token. All pieces share one string.
func (t *Tokenizer) setPieces() {
	var b strings.Builder
	ends := make([]int, len(t.vocab.text))
	for i, text := range t.vocab.text {
		b.WriteString(t.reads(int32(i), text))
		ends[i] = b.Len()
	}
	all, from := b.String(), 0
	t.pieces = make([]string, len(ends))
	for i, end := range ends {
		t.pieces[i] = all[from:end]
		from = end
	}
}

// reads is the text of one token.
func (t *Tokenizer) reads(id int32, text string) string {
	switch t.vocab.types[id] {
	case typeControl, typeUser, typeUnknown:
		return text
	case typeByte:
		if b, ok := byteOf(text); ok {
			return string([]byte{b})
		}
	}
	switch t.reading {
	case readMarks:
		return strings.ReplaceAll(text, spaceMark, " ")
	case readWords:
		if rest, ok := strings.CutPrefix(text, t.continuing); ok {
			return rest
		}
		return " " + text
	case readSuffixed:
		if rest, ok := strings.CutSuffix(text, t.continuing); ok {
			return readable(rest) + " "
		}
	}
	if t.dna != nil {
		text = strings.TrimSuffix(text, kmerMark)
	}
	return readable(text)
}

// reading says how the text of a token reads.
type reading uint8

const (
	readBytes    reading = iota // its runes stand for bytes
	readMarks                   // ▁ is a space
	readWords                   // a word, unless a prefix says that it goes on with one
	readSuffixed                // bytes, with a space in place of a suffix
)

// Piece is the text of one token: bytes that may be part of a character only, and the name of a control token. An id
// beyond the vocabulary has none.
func (t *Tokenizer) Piece(id int32) string {
	if id < 0 || int(id) >= len(t.pieces) {
		return ""
	}
	return t.pieces[id]
}

// hidden says whether a token is left out of decoded text.
func (t *Tokenizer) hidden(id int32) bool {
	return id < 0 || int(id) >= len(t.pieces) || t.vocab.types[id] == typeControl || t.vocab.types[id] == typeUnknown
}

// Decode is the text of ids. Control tokens, the unknown token and ids beyond the vocabulary are left out, and so are
// the spaces that Encode puts before a text and after special tokens where the vocabulary asks for that.
func (t *Tokenizer) Decode(ids []int32) string {
	var b strings.Builder
	strip := t.addSpacePrefix
	for _, id := range ids {
		if t.hidden(id) {
			strip = strip || t.addSpacePrefix && !t.firstOnly
			continue
		}
		piece := t.pieces[id]
		if strip {
			piece = strings.TrimPrefix(piece, " ")
		}
		strip = t.addSpacePrefix && !t.firstOnly && t.vocab.types[id] == typeUser
		b.WriteString(piece)
	}
	return b.String()
}

// Stream decodes ids as they come, in whole characters. It goes on after another text, so it keeps a space at its
// beginning.
type Stream struct {
	t    *Tokenizer
	held []byte // the beginning of a character
}

// NewStream begins a stream.
func (t *Tokenizer) NewStream() *Stream { return &Stream{t: t} }

// Next takes one more id and returns the text that it completes. Bytes that cannot be UTF-8 come out as they are, but
// never the beginning of a character without its end.
func (s *Stream) Next(id int32) string {
	if s.t.hidden(id) {
		return ""
	}
	s.held = append(s.held, s.t.pieces[id]...)
	n := len(s.held) - partial(s.held)
	out := string(s.held[:n])
	s.held = append(s.held[:0], s.held[n:]...)
	return out
}

// Flush returns the rest of an incomplete character.
func (s *Stream) Flush() string {
	out := string(s.held)
	s.held = s.held[:0]
	return out
}

// partial is how many bytes at the end of b begin a character that more bytes can complete.
func partial(b []byte) int {
	for n := 1; n <= min(len(b), utf8.UTFMax-1); n++ {
		if tail := b[len(b)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}
