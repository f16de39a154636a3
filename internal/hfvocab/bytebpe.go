package hfvocab

import (
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"
)

// merges are the merges of the tokenizer, or those of merges.txt.
func (f *files) merges() []string {
	var all []string
	for _, m := range f.tokenizer.Model.Merges {
		all = append(all, string(m))
	}
	if all == nil {
		all, _ = f.mergesText() // the file need not be there
	}
	return all
}

// mergesText reads merges.txt: a line a merge. A first line with # is a heading; lines that are not two tokens are left
// out.
func (f *files) mergesText() ([]string, error) {
	text, err := f.readText(mergesFile)
	if err != nil {
		return nil, err
	}
	var all []string
	for i, line := range strings.Split(text, "\n") {
		if parts := strings.Fields(line); len(parts) == 2 && !(i == 0 && strings.HasPrefix(line, "#")) {
			all = append(all, parts[0]+" "+parts[1])
		}
	}
	return all, nil
}

// table is the tokens of a model by their ids, and the added ones. It has size places, or as many as ids need where
// size is 0.
func (p *pipeline) table(size int) (texts []string, added []*addedToken, err error) {
	last, lastText := int64(-1), ""
	see := func(id int64, text string) {
		if id > last {
			last, lastText = id, text
		}
	}
	for text, id := range p.Model.Vocab {
		if id < 0 {
			return nil, nil, fmt.Errorf("%s: the token %q has the id %d", tokenizerFile, text, id)
		}
		see(id, text)
	}
	var more []*addedToken
	for i := range p.Added {
		a := &p.Added[i]
		if id, ok := p.Model.Vocab[a.Content]; ok && id != a.ID {
			continue // the tokenizer takes the model's id
		}
		if a.ID < 0 {
			return nil, nil, fmt.Errorf("%s: the added token %q has the id %d", tokenizerFile, a.Content, a.ID)
		}
		more = append(more, a)
		see(a.ID, a.Content)
	}
	switch {
	case last >= maxTokens:
		return nil, nil, fmt.Errorf("%s: the token %q has the id %d, expected less than %d", tokenizerFile, lastText, last,
			maxTokens)
	case size == 0:
		size = int(last) + 1
	case last >= int64(size):
		return nil, nil, fmt.Errorf("%s: the token %q has the id %d, but vocab_size in config.json is %d", tokenizerFile,
			lastText, last, size)
	}
	texts, added = make([]string, size), make([]*addedToken, size)
	for text, id := range p.Model.Vocab {
		texts[id] = text
	}
	for _, a := range more {
		texts[a.ID], added[a.ID] = a.Content, a
	}
	return texts, added, nil
}

// readByteBPE reads a byte-level vocabulary.
func (v *Vocabulary) readByteBPE(f *files) error {
	texts, added, err := f.tokenizer.table(v.size)
	if err != nil {
		return err
	}
	v.tokens, v.types = texts, make([]int32, len(texts))
	for i, text := range texts {
		switch a := added[i]; {
		case text == "":
			v.tokens[i], v.types[i] = fmt.Sprintf("[PAD%d]", i), typeUnused
		case a == nil:
			v.types[i] = typeNormal
		default:
			if !a.Normalized {
				text = f.tokenizer.Decoder.decode(text)
			}
			v.tokens[i], v.types[i] = markup(text, a.Special)
		}
	}
	return nil
}

// markup is the type of an added token, and how it is written.
func markup(text string, special bool) (string, int32) {
	if special || looksSpecial(text) {
		return text, typeControl
	}
	return strings.ReplaceAll(text, spaceMark, " "), typeUser
}

// looksSpecial reports texts that are markup, though some files do not say so.
func looksSpecial(text string) bool {
	switch text {
	case "<pad>", "<mask>", "<2mass>", "[@BOS@]":
		return true
	}
	for _, ends := range [][2]string{{"<|", "|>"}, {"<｜", "｜>"}, {"<unused", ">"}} {
		if strings.HasPrefix(text, ends[0]) && strings.HasSuffix(text, ends[1]) {
			return true
		}
	}
	return false
}

// decode is the text that a decoder makes of a single token.
func (s *step) decode(text string) string {
	if s == nil {
		return text
	}
	switch s.Type {
	case "Sequence":
		for _, inner := range s.Decoders {
			text = inner.decode(text)
		}
	case "ByteLevel":
		return decodeBytes(text)
	case "Replace":
		if s.Pattern.String != "" {
			return strings.ReplaceAll(text, s.Pattern.String, s.Content)
		}
	case "Metaspace":
		return strings.TrimPrefix(strings.ReplaceAll(text, s.Replacement, " "), " ")
	case "ByteFallback":
		if isByte(text) {
			b, _ := hex.DecodeString(text[3:5])
			return strings.ToValidUTF8(string(b), "\uFFFD")
		}
	case "Strip":
		for i := 0; i < s.Start && s.Content != ""; i++ {
			text = strings.TrimPrefix(text, s.Content)
		}
	}
	return text
}

// decodeBytes writes a byte for each letter of byte-level BPE; a text with other letters stays.
func decodeBytes(text string) string {
	var b []byte
	for _, r := range text {
		c, ok := byteOfRune(r)
		if !ok {
			return text
		}
		b = append(b, c)
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}

// byteRunes are the letters that byte-level BPE has for bytes: those that can be seen stand for themselves, the others
// for U+0100 and what follows.
var byteRunes = func() (runes [256]rune) {
	next := rune(0x100)
	for b := range runes {
		if '!' <= b && b <= '~' || 0xA1 <= b && b <= 0xAC || 0xAE <= b && b <= 0xFF {
			runes[b] = rune(b)
			continue
		}
		runes[b] = next
		next++
	}
	return runes
}()

// byteOfRune is the byte that a letter stands for.
func byteOfRune(r rune) (byte, bool) {
	for b, of := range byteRunes {
		if of == r {
			return byte(b), true
		}
	}
	return 0, false
}

// encodeBytes writes a letter for each byte.
func encodeBytes(text string) string {
	b := make([]byte, 0, 2*len(text))
	for i := range len(text) {
		b = utf8.AppendRune(b, byteRunes[text[i]])
	}
	return string(b)
}
