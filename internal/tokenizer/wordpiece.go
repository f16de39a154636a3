package tokenizer

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/tokenizer/pattern"
)

// wordPiece divides a word into tokens from the left, the longest first. A word where that fails is the unknown token.
type wordPiece struct {
	vocab    *vocab
	begin    string // stands before a word
	inside   string // stands before the rest of a word, after each token
	maxRunes int    // a longer word is unknown; 0: no limit
	whole    bool   // a word is one token or unknown

	ids map[string]int32 // the tokens that may be parts of words
}

func (w *wordPiece) encode(dst []int32, word []byte, m *merger) []int32 {
	from := len(dst)
	unknown := func() []int32 {
		if w.vocab.unk == none {
			return dst[:from]
		}
		return append(dst[:from], w.vocab.unk)
	}
	if w.whole {
		if id, ok := w.ids[string(word)]; ok {
			return append(dst, id)
		}
		return unknown()
	}
	if w.maxRunes > 0 && utf8.RuneCount(word) > w.maxRunes {
		return unknown()
	}
	m.spelled = append(append(m.spelled[:0], w.begin...), word...)
	word = m.spelled
	for at := 0; at < len(word); {
		prefix := w.inside
		if at == 0 {
			prefix = ""
		}
		id, end := none, min(len(word), at+w.vocab.maxLen-len(prefix))
		for ; end > at; end-- {
			if end < len(word) && !utf8.RuneStart(word[end]) {
				continue
			}
			m.key = append(append(m.key[:0], prefix...), word[at:end]...)
			if known, ok := w.ids[string(m.key)]; ok {
				id = known
				break
			}
		}
		if id == none {
			return unknown()
		}
		dst = append(dst, id)
		at = end
	}
	return dst
}

// buildWordPiece sets up a WordPiece vocabulary of a GGUF file.
func buildWordPiece(t *Tokenizer, meta *gguf.Metadata) error {
	v := t.vocab
	sep := int32(102)
	for id, at := range map[int32]*int32{101: &v.bos, 100: &v.unk} {
		if int(id) < len(v.text) {
			*at = id
		}
	}
	if id, ok := meta.Int(keySep); ok {
		sep = int32(max(min(id, maxTokens), -1))
	}
	if err := readSpecials(meta, v); err != nil {
		return err
	}
	b := bertWords{lower: true}
	var err error
	if b.lower, err = readFlag(meta, keyLower, true); err != nil {
		return err
	}
	if b.strip, err = readFlag(meta, keyStrip, b.lower); err != nil {
		return err
	}
	t.model, t.cut = &wordPiece{vocab: v, ids: v.ids, begin: spaceMark}, b
	t.escapeSpaces, t.addSpacePrefix, t.cutsPrefix = true, true, true
	t.addBOS = v.bos != none
	if sep >= 0 && int(sep) < len(v.text) {
		t.after = []int32{sep}
	}
	return nil
}

// bertWords cuts a text into words as llama.cpp does it for BERT: at white space, which is dropped, and around
// punctuation and ideographs.
type bertWords struct {
	lower, strip bool // letters become lower case; accents go
}

func (b bertWords) cut(text string, _ place, _ *pattern.Scratch, yield func(word string)) {
	var word strings.Builder
	flush := func() {
		if word.Len() > 0 {
			yield(word.String())
			word.Reset()
		}
	}
	for _, r := range text {
		if b.strip {
			r = firstOfNFD(r)
		}
		switch {
		case unicode.IsSpace(r):
			flush()
			continue
		case r == 0 || r == utf8.RuneError || unicode.Is(unicode.C, r) || b.strip && unicode.Is(unicode.M, r):
			continue
		}
		out := r
		if b.lower {
			out = unicode.ToLower(r)
		}
		if unicode.IsPunct(r) || r < 0x7f && unicode.IsSymbol(r) || isIdeograph(r) {
			flush()
			word.WriteRune(out)
			flush()
			continue
		}
		word.WriteRune(out)
	}
	flush()
}

// firstOfNFD is the first rune of the canonical decomposition. llama.cpp keeps only that, of Hangul too.
func firstOfNFD(r rune) rune {
	switch {
	case r < 0xc0:
		return r
	case 0xac00 <= r && r <= 0xd7a3: // a Hangul syllable: the first of 19 consonants, with 588 syllables each
		return 0x1100 + (r-0xac00)/588
	}
	var buf [utf8.UTFMax]byte
	n := utf8.EncodeRune(buf[:], r)
	if d := norm.NFD.Properties(buf[:n]).Decomposition(); d != nil {
		r, _ = utf8.DecodeRune(d)
	}
	return r
}

// isIdeograph says whether BERT keeps a rune apart as a Chinese character.
func isIdeograph(r rune) bool {
	return 0x4e00 <= r && r <= 0x9fff || 0x3400 <= r && r <= 0x4dbf || 0x20000 <= r && r <= 0x2a6df ||
		0x2a700 <= r && r <= 0x2b81f || 0x2b920 <= r && r <= 0x2ceaf || 0xf900 <= r && r <= 0xfaff ||
		0x2f800 <= r && r <= 0x2fa1f
}
