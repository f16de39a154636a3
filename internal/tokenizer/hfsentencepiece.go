package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/peftconv/peftconv/internal/infile"
)

// fromSentencePiece makes the tokenizer of a directory that has a tokenizer.model, with the tokens that
// added_tokens.json and tokenizer_config.json add.
func fromSentencePiece(files fs.FS) (*Tokenizer, error) {
	data, err := infile.ReadIn(files, modelFile, infile.Index)
	if err != nil {
		return nil, err
	}
	m, err := ParseSentencePiece(data)
	if err != nil {
		return nil, fmt.Errorf("%s: no SentencePiece model: %w", modelFile, err)
	}
	config, err := readHFConfig(files)
	if err != nil {
		return nil, err
	}
	added, err := config.added(files)
	if err != nil {
		return nil, err
	}
	t, err := m.tokenizer(config, added)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", modelFile, err)
	}
	return t, nil
}

const modelFile = "tokenizer.model"

// added is the tokens that the files beside a tokenizer.model add to it, by id.
func (c *hfConfig) added(files fs.FS) ([]hfAdded, error) {
	byID := map[int64]hfAdded{}
	const path = "added_tokens.json"
	data, err := infile.ReadIn(files, path, infile.Index)
	if err == nil {
		var ids map[string]int64
		if err := json.Unmarshal(data, &ids); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for text, id := range ids {
			byID[id] = hfAdded{ID: id, Content: text}
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for key, a := range c.tokenizer.Added {
		id, err := strconv.ParseInt(key, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("tokenizer_config.json: added_tokens_decoder has the id %q, want a number", key)
		}
		a.ID = id
		byID[id] = a
	}
	var out []hfAdded
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		out = append(out, byID[id])
	}
	return out, nil
}

// tokenizer puts the tokenizer of a SentencePiece model together.
func (m *SentencePiece) tokenizer(config *hfConfig, added []hfAdded) (*Tokenizer, error) {
	v, scores, err := m.vocab(added)
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{kind: ScoredBPE, vocab: v, reading: readMarks}
	n := &spaceNormalizer{prefix: m.AddDummyPrefix, merge: m.RemoveExtraWhitespaces, mark: " "}
	if len(m.PrecompiledCharsmap) > 0 {
		if n.chars, err = parseCharsmap(m.PrecompiledCharsmap); err != nil {
			return nil, err
		}
	}
	t.addSpacePrefix = m.AddDummyPrefix
	switch m.ModelType {
	case UnigramModel:
		n.mark, t.kind = spaceMark, Unigram
		setUnigram(t, scores, n)
		if m.ByteFallback {
			bytes := v.byteTokens()
			t.model.(*unigram).bytes = &bytes
		}
	case BPEModel:
		t.model, t.cut, t.escapeSpaces = newSPM(v, scores), newPairCutter(v), true
		switch {
		case n.merge:
			t.whole, t.cutsPrefix = n.normalize, true
		case n.chars != nil:
			n.prefix = false
			t.whole = n.normalize
		}
	default:
		return nil, fmt.Errorf("a model of type %d (word or char); unigram and BPE are supported", m.ModelType)
	}
	if m.TreatWhitespaceAsSuffix || !m.EscapeWhitespaces {
		return nil, errors.New("treat_whitespace_as_suffix, or spaces that are not escaped, are not supported")
	}
	specials := slices.Clone(added)
	for i, kind := range v.types {
		beside := slices.ContainsFunc(added, func(a hfAdded) bool { return a.ID == int64(i) })
		if !beside && (kind == typeControl || kind == typeUser) {
			specials = append(specials, hfAdded{ID: int64(i), Content: v.text[i], Special: kind == typeControl})
		}
	}
	for i := range specials {
		// Pieces have ▁ for the spaces of a text.
		specials[i].Content = strings.ReplaceAll(specials[i].Content, spaceMark, " ")
	}
	t.added = newAddedTokens(specials, nil)
	if err := config.specials(&hfFile{}, t); err != nil {
		return nil, err
	}
	// What no file says is as the classes for such models have it.
	if config.tokenizer.AddBOS == nil {
		t.addBOS = v.bos != none && m.ModelType == BPEModel
	}
	if config.tokenizer.AddEOS == nil {
		t.addEOS = v.eos != none && m.ModelType == UnigramModel
	}
	t.before, t.after = nil, nil
	if t.addBOS {
		t.before = []int32{v.bos}
	}
	if t.addEOS {
		t.after = []int32{v.eos}
	}
	t.init()
	t.setPieces()
	return t, nil
}

// vocab is the pieces and the added tokens, with scores. Ids that neither has are filled with unused tokens.
func (m *SentencePiece) vocab(added []hfAdded) (*vocab, []float32, error) {
	size := int64(len(m.Pieces))
	for _, a := range added {
		if a.ID < 0 || a.ID >= maxTokens || a.Content == "" {
			return nil, nil, fmt.Errorf("the added token %q has the id %d, want a text and an id from 0 to %d", a.Content, a.ID,
				maxTokens-1)
		}
		size = max(size, a.ID+1)
	}
	if err := checkSize(size, len(m.Pieces)+len(added)); err != nil {
		return nil, nil, err
	}
	text, types, scores := make([]string, size), make([]tokenType, size), make([]float32, size)
	for i := range text {
		text[i], types[i] = fmt.Sprintf("[UNUSED_%d]", i), typeUnused
	}
	kinds := map[int]tokenType{PieceNormal: typeNormal, PieceUnknown: typeUnknown, PieceControl: typeControl,
		PieceUserDefined: typeUser, PieceUnused: typeUnused, PieceByte: typeByte}
	unk := none
	for i, p := range m.Pieces {
		text[i], scores[i], types[i] = p.Text, p.Score, kinds[p.Type]
		if p.Type == PieceUnknown {
			unk = int32(i)
		}
	}
	for _, a := range added {
		// Merging must not make an added token before others: its score is what llama.cpp's converter gives it.
		text[a.ID], types[a.ID], scores[a.ID] = a.Content, typeUser, -1000
		if a.Special && a.ID != int64(unk) {
			types[a.ID] = typeControl
		}
		if a.ID == int64(unk) {
			types[a.ID] = typeUnknown
		}
	}
	v, err := newVocab(text, types)
	if err != nil {
		return nil, nil, err
	}
	v.trusted, v.unk = true, unk
	for _, s := range []struct {
		id int
		at *int32
	}{{m.BOSID, &v.bos}, {m.EOSID, &v.eos}} {
		if s.id >= 0 && m.Pieces[s.id].Type == PieceControl {
			*s.at = int32(s.id)
		}
	}
	return v, scores, nil
}
