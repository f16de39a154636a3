package hfvocab

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

// readSentencePiece reads tokenizer.model and the tokens that other files add.
func (v *Vocabulary) readSentencePiece(f *files) error {
	data, err := infile.ReadIn(f.FS, sentencePieceFile, infile.Index)
	if err != nil {
		return err
	}
	m, err := tokenizer.ParseSentencePiece(data)
	if err != nil {
		return fmt.Errorf("%s: no SentencePiece model: %w", sentencePieceFile, err)
	}
	size := cmp.Or(v.size, len(m.Pieces))
	v.fill(size)
	for i, p := range m.Pieces {
		if i >= size {
			v.note("%s has %d pieces, vocab_size in config.json is %d: the others were left out", sentencePieceFile,
				len(m.Pieces), size)
			break
		}
		v.tokens[i], v.scores[i], v.types[i] = p.Text, p.Score, typeOf(p.Type)
	}
	if err := v.addNamed(f); err != nil {
		return err
	}
	more, err := f.decoderTokens()
	if err != nil {
		return err
	}
	if v.source == arch.SentencePieceAdded && f.tokenizer != nil {
		more = append(more, f.tokenizer.Added...)
	}
	for _, t := range more {
		if !v.within(t.ID, t.Content) {
			continue
		}
		text, kind := t.Content, int32(typeUser)
		switch {
		case v.source == arch.SentencePiece:
			text, kind = markup(text, t.Special)
		case t.Special:
			kind = typeControl
		}
		v.tokens[t.ID], v.scores[t.ID], v.types[t.ID] = text, addedScore, kind
	}
	return nil
}

// fill makes unused tokens.
func (v *Vocabulary) fill(size int) {
	v.tokens, v.scores, v.types = make([]string, size), make([]float32, size), make([]int32, size)
	for i := range size {
		v.tokens[i], v.scores[i], v.types[i] = fmt.Sprintf("[PAD%d]", i), unusedScore, typeUnused
	}
}

// typeOf is the type of a token that SentencePiece gives it, but for those that a user defined: they stay normal unless
// other files name them.
func typeOf(piece int) int32 {
	switch piece {
	case tokenizer.PieceUnknown:
		return typeUnknown
	case tokenizer.PieceControl:
		return typeControl
	case tokenizer.PieceUnused:
		return typeUnused
	case tokenizer.PieceByte:
		return typeByte
	}
	return typeNormal
}

// within reports whether an id is one of the vocabulary, and notes it where it is not.
func (v *Vocabulary) within(id int64, text string) bool {
	if id >= 0 && id < int64(len(v.tokens)) {
		return true
	}
	v.note("the added token %q has the id %d and was left out: the vocabulary has %d tokens", text, id, len(v.tokens))
	return false
}

// addNamed enters the tokens of added_tokens.json.
func (v *Vocabulary) addNamed(f *files) error {
	ids, err := f.addedIDs()
	for _, t := range ids {
		if v.within(t.ID, t.Content) {
			v.tokens[t.ID], v.scores[t.ID], v.types[t.ID] = t.Content, addedScore, typeUser
		}
	}
	return err
}

// addedIDs are the tokens of added_tokens.json by id.
func (f *files) addedIDs() ([]addedToken, error) {
	var ids map[string]int64
	if _, err := f.readJSON(addedFile, &ids); err != nil {
		return nil, err
	}
	var all []addedToken
	for text, id := range ids {
		all = append(all, addedToken{ID: id, Content: text})
	}
	slices.SortFunc(all, byID)
	return all, nil
}

// readCharacterBPE reads a tokenizer.json whose tokens are of characters: all scores are the same, so without merges
// texts are cut otherwise than by the original.
func (v *Vocabulary) readCharacterBPE(f *files) error {
	texts, added, err := f.tokenizer.table(0)
	if err != nil {
		return err
	}
	special, err := f.specialTexts()
	if err != nil {
		return err
	}
	base := len(f.tokenizer.Model.Vocab)
	v.tokens, v.types, v.scores = texts, make([]int32, len(texts)), make([]float32, len(texts))
	for i, text := range texts {
		v.scores[i] = addedScore
		switch {
		case text == "":
			return fmt.Errorf("%s: no token has the id %d, expected one for each below %d", tokenizerFile, i, len(texts))
		case slices.Contains(v.rules.Shown, text):
			v.types[i] = typeUser
		case i < base && isByte(text):
			v.types[i] = typeByte
		case slices.Contains(special, text):
			v.types[i] = typeControl
		case i >= base && added[i] != nil:
			v.types[i] = typeUser
		default:
			v.types[i] = typeNormal
		}
	}
	return nil
}

// isByte reports whether a text is that of a byte token.
func isByte(text string) bool {
	if len(text) != 6 || text[:3] != "<0x" || text[5] != '>' {
		return false
	}
	return strings.Trim(text[3:5], "0123456789abcdefABCDEF") == ""
}
