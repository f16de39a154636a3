package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"

	"github.com/peftconv/peftconv/internal/infile"
)

// FromHF makes the tokenizer of a Hugging Face model directory from its tokenizer.json, or from its tokenizer.model
// where there is no such file, with the special tokens that tokenizer_config.json, special_tokens_map.json, config.json
// and generation_config.json name. What the file asks for and is not known here is refused by name, never ignored.
//
// The ids are those of the tokenizers library, Unicode normalization included, except that a text without parseSpecial
// never holds control tokens. Those of a tokenizer.model are what llama.cpp gives for the file that its converter makes
// of it.
func FromHF(dir string) (*Tokenizer, error) {
	t, err := FromHFFiles(infile.Dir(dir))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return t, nil
}

// FromHFFiles is FromHF for files that need not lie in a directory.
func FromHFFiles(files fs.FS) (*Tokenizer, error) {
	const name = "tokenizer.json"
	data, err := infile.ReadIn(files, name, infile.Index)
	if errors.Is(err, fs.ErrNotExist) {
		if _, other := fs.Stat(files, modelFile); other == nil {
			return fromSentencePiece(files)
		}
	}
	if err != nil {
		return nil, err
	}
	var file hfFile
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	config, err := readHFConfig(files)
	if err != nil {
		return nil, err
	}
	t, err := file.tokenizer(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

// hfFile is the used part of a tokenizer.json.
type hfFile struct {
	Added         []hfAdded `json:"added_tokens"`
	Normalizer    *hfStep   `json:"normalizer"`
	PreTokenizer  *hfStep   `json:"pre_tokenizer"`
	PostProcessor *hfStep   `json:"post_processor"`
	Decoder       *hfStep   `json:"decoder"`
	Model         hfModel   `json:"model"`
}

type hfAdded struct {
	ID      int64  `json:"id"`
	Content string `json:"content"`
	LStrip  bool   `json:"lstrip"`
	RStrip  bool   `json:"rstrip"`
	Special bool   `json:"special"`

	SingleWord bool `json:"single_word"`
	Normalized bool `json:"normalized"`
}

// hfStep is any step of a pipeline: the union of the fields of those that we know.
type hfStep struct {
	Type string `json:"type"`

	Normalizers   []hfStep `json:"normalizers"`
	PreTokenizers []hfStep `json:"pretokenizers"`
	Processors    []hfStep `json:"processors"`
	Decoders      []hfStep `json:"decoders"`

	Lowercase    *bool  `json:"lowercase"`
	CleanText    *bool  `json:"clean_text"`
	Chinese      *bool  `json:"handle_chinese_chars"`
	StripAccents *bool  `json:"strip_accents"`
	StripLeft    bool   `json:"strip_left"`
	StripRight   bool   `json:"strip_right"`
	Charsmap     []byte `json:"precompiled_charsmap"`
	Delimiter    string `json:"delimiter"`
	Length       *int   `json:"length"`

	Prepend string    `json:"prepend"`
	Pattern hfPattern `json:"pattern"`
	Content string    `json:"content"`

	Behavior       string  `json:"behavior"`
	Invert         bool    `json:"invert"`
	Individual     bool    `json:"individual_digits"`
	AddPrefixSpace bool    `json:"add_prefix_space"`
	UseRegex       *bool   `json:"use_regex"`
	Replacement    string  `json:"replacement"`
	PrependScheme  *string `json:"prepend_scheme"`
	Split          *bool   `json:"split"`

	Single        []hfPart                         `json:"single"`
	SpecialTokens map[string]struct{ IDs []int64 } `json:"special_tokens"`
	CLS           *hfSpecial                       `json:"cls"`
	Sep           *hfSpecial                       `json:"sep"`
}

// hfPart is a part of a template: a special token, or the text.
type hfPart struct {
	SpecialToken *struct {
		ID string `json:"id"`
	} `json:"SpecialToken"`
}

// hfSpecial is a special token of a post-processor: ["[SEP]", 102].
type hfSpecial struct {
	text string
	id   int64
}

func (s *hfSpecial) UnmarshalJSON(data []byte) error {
	pair := []any{&s.text, &s.id}
	if err := json.Unmarshal(data, &pair); err != nil || len(pair) != 2 {
		return fmt.Errorf("the special token %.60s is not a text and an id", data)
	}
	return nil
}

type hfPattern struct{ String, Regex *string }

type hfModel struct {
	Type         string
	Vocab        map[string]int64
	Scores       []float64 // of Unigram, by id
	Merges       []hfMerge
	Unk          *string
	UnkID        *int64 // of Unigram
	ByteFallback bool
	FuseUnk      bool
	IgnoreMerges bool
	Dropout      *float64
	Prefix       string // before the rest of a word
	Suffix       string // behind the end of a word
	MaxRunes     int    // of a word, for WordPiece
}

// UnmarshalJSON reads each kind of model.
func (m *hfModel) UnmarshalJSON(data []byte) error {
	var raw struct {
		Type         string          `json:"type"`
		Vocab        json.RawMessage `json:"vocab"`
		Merges       []hfMerge       `json:"merges"`
		Unk          *string         `json:"unk_token"`
		UnkID        *int64          `json:"unk_id"`
		ByteFallback bool            `json:"byte_fallback"`
		FuseUnk      bool            `json:"fuse_unk"`
		IgnoreMerges bool            `json:"ignore_merges"`
		Dropout      *float64        `json:"dropout"`
		Prefix       *string         `json:"continuing_subword_prefix"`
		Suffix       string          `json:"end_of_word_suffix"`
		MaxRunes     *int            `json:"max_input_chars_per_word"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	*m = hfModel{Type: raw.Type, Merges: raw.Merges, Unk: raw.Unk, UnkID: raw.UnkID, ByteFallback: raw.ByteFallback,
		FuseUnk: raw.FuseUnk, IgnoreMerges: raw.IgnoreMerges, Dropout: raw.Dropout, Suffix: raw.Suffix, MaxRunes: 100}
	if raw.MaxRunes != nil {
		m.MaxRunes = *raw.MaxRunes
	}
	switch m.Type {
	case "":
		m.Type = "BPE"
	case "WordPiece":
		m.Prefix = "##"
	case "BPE", "Unigram", "WordLevel":
	default:
		return fmt.Errorf("a model of type %q; BPE, WordPiece, Unigram and WordLevel are supported", m.Type)
	}
	if raw.Prefix != nil {
		m.Prefix = *raw.Prefix
	}
	if raw.Vocab == nil {
		return nil
	}
	if m.Type != "Unigram" {
		return json.Unmarshal(raw.Vocab, &m.Vocab)
	}
	return m.readPieces(raw.Vocab)
}

// readPieces reads Unigram's list of pieces with their scores.
func (m *hfModel) readPieces(data []byte) error {
	var pieces [][2]json.RawMessage
	if err := json.Unmarshal(data, &pieces); err != nil {
		return fmt.Errorf("the pieces of a Unigram model: %w", err)
	}
	m.Vocab, m.Scores = make(map[string]int64, len(pieces)), make([]float64, len(pieces))
	for i, p := range pieces {
		var text string
		if err := json.Unmarshal(p[0], &text); err != nil {
			return fmt.Errorf("piece %d: %w", i, err)
		}
		if err := json.Unmarshal(p[1], &m.Scores[i]); err != nil {
			return fmt.Errorf("piece %d (%q): its score: %w", i, text, err)
		}
		if first, twice := m.Vocab[text]; twice {
			return fmt.Errorf("piece %d is %q, as piece %d is", i, text, first)
		}
		m.Vocab[text] = int64(i)
	}
	return nil
}

// hfMerge is "left right" or ["left", "right"].
type hfMerge struct{ left, right string }

func (m *hfMerge) UnmarshalJSON(data []byte) error {
	var pair []string
	if data[0] == '[' {
		if err := json.Unmarshal(data, &pair); err != nil || len(pair) != 2 {
			return fmt.Errorf("the merge %.60s is not two tokens", data)
		}
		m.left, m.right = pair[0], pair[1]
		return nil
	}
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	var ok bool
	if m.left, m.right, ok = cutMerge(s); !ok {
		return fmt.Errorf("the merge %q is not two tokens", s)
	}
	return nil
}

// tokenizer puts the tokenizer together.
func (f *hfFile) tokenizer(config *hfConfig) (*Tokenizer, error) {
	v, err := f.vocab()
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{kind: ScoredBPE, vocab: v}
	if f.Model.Unk != nil {
		v.unk = v.id(*f.Model.Unk)
	}
	switch f.Model.Type {
	case "WordPiece", "WordLevel":
		t.kind = WordPiece
		t.model = &wordPiece{vocab: v, ids: f.modelIDs(), inside: f.Model.Prefix, maxRunes: f.Model.MaxRunes,
			whole: f.Model.Type == "WordLevel"}
		err = f.pipeline(t, nil)
	case "Unigram":
		t.kind = Unigram
		if t.model, err = f.unigram(v); err == nil {
			err = f.pipeline(t, nil)
		}
	default:
		err = f.buildBPE(t)
	}
	if err != nil {
		return nil, err
	}
	f.setReading(t)
	if err := config.specials(f, t); err != nil {
		return nil, err
	}
	t.init()
	t.setPieces()
	return t, nil
}

// buildBPE sets up a BPE model.
func (f *hfFile) buildBPE(t *Tokenizer) error {
	m := &f.Model
	b := &bpe{vocab: t.vocab, merges: make(map[uint64]merge, len(m.Merges)), raw: true, ignoreMerges: m.IgnoreMerges,
		prefix: m.Prefix, suffix: m.Suffix}
	for i, p := range m.Merges {
		if err := b.add(i, p.left, p.right); err != nil {
			return err
		}
	}
	t.model, t.vocab.fuseUnk = b, m.FuseUnk
	if err := f.pipeline(t, b); err != nil {
		return err
	}
	f.spell(b)
	return nil
}

// modelIDs is the tokens of the model, without added ones.
func (f *hfFile) modelIDs() map[string]int32 {
	out := make(map[string]int32, len(f.Model.Vocab))
	for s, id := range f.Model.Vocab {
		out[s] = int32(id)
	}
	return out
}

// unigram sets up a Unigram model.
func (f *hfFile) unigram(v *vocab) (*unigram, error) {
	u := &unigram{vocab: v, scores: f.Model.Scores, unk: math.Inf(1), fuse: true, known: f.modelIDs()}
	if id := f.Model.UnkID; id != nil {
		if *id < 0 || *id >= int64(len(u.scores)) {
			return nil, fmt.Errorf("unk_id is %d, want the number of one of the %d pieces", *id, len(u.scores))
		}
		v.unk = int32(*id)
	}
	texts, ids := make([]string, len(u.scores)), make([]int32, len(u.scores))
	for s, id := range f.Model.Vocab {
		texts[id], ids[id] = s, int32(id)
	}
	for _, s := range u.scores {
		u.unk = min(u.unk, s-unknownPenalty)
	}
	u.tokens = newTrie(texts, ids)
	if f.Model.ByteFallback {
		bytes := v.byteTokens()
		u.bytes = &bytes
	}
	return u, nil
}

// maxTokens is the most tokens of a vocabulary, and maxGap the most ids without a token that a few tokens may leave.
const (
	maxTokens = 1 << 24
	maxGap    = 1 << 16
)

// checkSize refuses ids far beyond the number of tokens: a small file could ask for much memory with them.
func checkSize(size int64, tokens int) error {
	if size > maxTokens || size > 4*int64(tokens)+maxGap {
		return fmt.Errorf("token id %d is too large for %d tokens", size-1, tokens)
	}
	return nil
}

// vocab numbers the tokens. Ids that no token has are filled with unused ones.
func (f *hfFile) vocab() (*vocab, error) {
	if d := f.Model.Dropout; d != nil && *d != 0 {
		return nil, fmt.Errorf("the model has a dropout of %v, which is not supported", *d)
	}
	size := int64(0)
	for _, id := range f.Model.Vocab {
		size = max(size, id+1)
	}
	for _, a := range f.Added {
		size = max(size, a.ID+1)
	}
	if err := checkSize(size, len(f.Model.Vocab)+len(f.Added)); err != nil {
		return nil, err
	}
	text, types := make([]string, size), make([]tokenType, size)
	set := func(id int64, s string, kind tokenType) error {
		if id < 0 || text[id] != "" && text[id] != s {
			return fmt.Errorf("id %d of the token %q is negative or taken by %q", id, s, text[max(id, 0)])
		}
		text[id], types[id] = s, kind
		return nil
	}
	if err := f.eachToken(set); err != nil {
		return nil, err
	}
	for id, s := range text {
		if s == "" {
			text[id], types[id] = fmt.Sprintf("[UNUSED_%d]", id), typeUnused
		}
	}
	v, err := newVocab(text, types)
	if err == nil {
		v.trusted = true
	}
	return v, err
}

// eachToken calls set for the tokens of the model and then for the added ones, until it fails.
func (f *hfFile) eachToken(set func(id int64, s string, kind tokenType) error) error {
	for s, id := range f.Model.Vocab {
		kind := typeNormal
		if _, ok := byteOf(s); ok && f.Model.ByteFallback {
			kind = typeByte
		}
		if err := set(id, s, kind); err != nil {
			return err
		}
	}
	for _, a := range f.Added {
		kind := typeUser
		if a.Special {
			kind = typeControl
		}
		if err := set(a.ID, a.Content, kind); err != nil {
			return err
		}
	}
	return nil
}

// flatten is a step, or the steps of a sequence.
func flatten(s *hfStep, inside func(*hfStep) []hfStep) []hfStep {
	if s == nil {
		return nil
	}
	if s.Type != "Sequence" {
		return []hfStep{*s}
	}
	var out []hfStep
	for _, n := range inside(s) {
		out = append(out, flatten(&n, inside)...)
	}
	return out
}

// spell finds the tokens of bytes.
func (f *hfFile) spell(b *bpe) {
	fallback := b.vocab.byteTokens()
	for c := range b.bytes {
		switch {
		case !b.raw:
			b.bytes[c] = b.vocab.id(string(runeOfByte[c]))
			if b.bytes[c] == none {
				b.bytes[c] = b.vocab.unk
			}
		case f.Model.ByteFallback:
			b.bytes[c] = fallback[c]
		default:
			b.bytes[c] = none
		}
	}
}
