package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/text/unicode/norm"
)

// FromHF makes the tokenizer of a Hugging Face model directory from its tokenizer.json, with the special tokens that
// tokenizer_config.json, special_tokens_map.json, config.json and generation_config.json name. BPE models are
// supported, byte-level and SentencePiece style alike. Anything else in the file is refused by name, never ignored.
//
// The ids are those of the tokenizers library, Unicode normalization included, except that a text without parseSpecial
// never holds control tokens.
func FromHF(dir string) (*Tokenizer, error) {
	var file hfFile
	path := filepath.Join(dir, "tokenizer.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, other := os.Stat(filepath.Join(dir, "tokenizer.model")); other == nil {
			return nil, fmt.Errorf("%s: only a tokenizer.model is here, want a tokenizer.json", dir)
		}
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	config, err := readHFConfig(dir)
	if err != nil {
		return nil, err
	}
	t, err := file.tokenizer(config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// hfFile is the used part of a tokenizer.json.
type hfFile struct {
	Added         []hfAdded `json:"added_tokens"`
	Normalizer    *hfStep   `json:"normalizer"`
	PreTokenizer  *hfStep   `json:"pre_tokenizer"`
	PostProcessor *hfStep   `json:"post_processor"`
	Model         hfModel   `json:"model"`
}

type hfAdded struct {
	ID      int64  `json:"id"`
	Content string `json:"content"`
	LStrip  bool   `json:"lstrip"`
	RStrip  bool   `json:"rstrip"`
	Special bool   `json:"special"`
}

// hfStep is any step of a pipeline: the union of the fields of those that we know.
type hfStep struct {
	Type string `json:"type"`

	Normalizers   []hfStep `json:"normalizers"`
	PreTokenizers []hfStep `json:"pretokenizers"`
	Processors    []hfStep `json:"processors"`

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
	Type         string           `json:"type"`
	Vocab        map[string]int64 `json:"vocab"`
	Merges       []hfMerge        `json:"merges"`
	Unk          *string          `json:"unk_token"`
	ByteFallback bool             `json:"byte_fallback"`
	FuseUnk      bool             `json:"fuse_unk"`
	IgnoreMerges bool             `json:"ignore_merges"`
	Dropout      *float64         `json:"dropout"`
	Prefix       *string          `json:"continuing_subword_prefix"`
	Suffix       *string          `json:"end_of_word_suffix"`
}

// UnmarshalJSON names a kind of model that is not supported, before its vocabulary fails to parse.
func (m *hfModel) UnmarshalJSON(data []byte) error {
	var kind struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(data, &kind); err != nil {
		return err
	}
	if kind.Type != "BPE" && kind.Type != "" {
		return fmt.Errorf("a model of type %q; BPE is supported", kind.Type)
	}
	type plain hfModel
	return json.Unmarshal(data, (*plain)(m))
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
	b := &bpe{vocab: v, merges: make(map[uint64]merge, len(f.Model.Merges)), raw: true, ignoreMerges: f.Model.IgnoreMerges}
	for i, m := range f.Model.Merges {
		if err := b.add(i, m.left, m.right); err != nil {
			return nil, err
		}
	}
	t.model = b
	if err := f.normalizers(t); err != nil {
		return nil, err
	}
	if err := f.preTokenizers(t, b); err != nil {
		return nil, err
	}
	f.spell(b)
	if err := config.specials(f, t); err != nil {
		return nil, err
	}
	t.init()
	t.setPieces()
	return t, nil
}

// maxTokens is the most tokens of a vocabulary.
const maxTokens = 1 << 24

// vocab numbers the tokens. Ids that no token has are filled with unused ones.
func (f *hfFile) vocab() (*vocab, error) {
	if err := f.Model.check(); err != nil {
		return nil, err
	}
	size := int64(0)
	for _, id := range f.Model.Vocab {
		size = max(size, id+1)
	}
	for _, a := range f.Added {
		size = max(size, a.ID+1)
	}
	if size > maxTokens {
		return nil, fmt.Errorf("token id %d is too large", size-1)
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

// check refuses settings that change the tokens in unknown ways.
func (m *hfModel) check() error {
	switch {
	case m.Dropout != nil && *m.Dropout != 0:
		return fmt.Errorf("the model has a dropout of %v, which is not supported", *m.Dropout)
	case m.Prefix != nil && *m.Prefix != "":
		return fmt.Errorf("the model has the continuing_subword_prefix %q, which is not supported", *m.Prefix)
	case m.Suffix != nil && *m.Suffix != "":
		return fmt.Errorf("the model has the end_of_word_suffix %q, which is not supported", *m.Suffix)
	}
	return nil
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

// normalizers reads the normalizers.
func (f *hfFile) normalizers(t *Tokenizer) error {
	for _, n := range flatten(f.Normalizer, func(s *hfStep) []hfStep { return s.Normalizers }) {
		form, isForm := map[string]norm.Form{"NFC": norm.NFC, "NFD": norm.NFD, "NFKC": norm.NFKC, "NFKD": norm.NFKD}[n.Type]
		switch {
		case isForm && t.normalize == nil:
			t.normalize = form.String
		case n.Type == "Prepend" && n.Prepend == spaceMark:
			t.addSpacePrefix = true
		case n.Type == "Replace" && n.Pattern.String != nil && *n.Pattern.String == " " && n.Content == spaceMark:
			t.escapeSpaces = true
		default:
			return fmt.Errorf("the normalizer %s is not supported in this place or with these settings", n.Type)
		}
	}
	if t.addSpacePrefix && !t.escapeSpaces {
		return errors.New("a normalizer puts ▁ before the text, but none writes spaces so")
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

// preTokenizers reads the pre-tokenizers.
func (f *hfFile) preTokenizers(t *Tokenizer, b *bpe) error {
	var stages []string
	for _, p := range flatten(f.PreTokenizer, func(s *hfStep) []hfStep { return s.PreTokenizers }) {
		if !b.raw {
			return fmt.Errorf("the pre-tokenizer %s after ByteLevel is not supported", p.Type)
		}
		switch p.Type {
		case "ByteLevel":
			b.raw, t.kind = false, ByteLevel
			t.addSpacePrefix, t.unlessSpace = p.AddPrefixSpace, true
			if p.UseRegex == nil || *p.UseRegex {
				stages = append(stages, gpt2Words)
			}
		case "Metaspace":
			if len(stages) > 0 || b.ignoreMerges {
				return errors.New("the pre-tokenizer Metaspace after another one or with ignore_merges is not supported")
			}
			return p.metaspace(t)
		default:
			expr, err := p.expression(t)
			if err != nil {
				return err
			}
			if expr != "" {
				stages = append(stages, expr)
			}
		}
	}
	if b.raw && len(stages) > 0 {
		return errors.New("pre-tokenizers without ByteLevel or Metaspace are not supported")
	}
	if b.raw && b.ignoreMerges {
		return errors.New("ignore_merges without ByteLevel is not supported")
	}
	if b.raw {
		t.cut = newPairCutter(t.vocab)
		return nil
	}
	if t.escapeSpaces {
		return errors.New("spaces written as ▁ together with ByteLevel are not supported")
	}
	var err error
	t.cut, err = newStageCutter(stages)
	return err
}

// expression is the expression of a step, or "" where it cuts nothing.
func (s *hfStep) expression(t *Tokenizer) (string, error) {
	const punctuation = "[!-/:-@\\[-`{-~\\p{P}]"
	isolated := s.Behavior == "Isolated" || s.Behavior == "Removed" && s.Invert
	switch {
	case s.Type == "Digits" && s.Individual:
		return `\p{N}`, nil
	case s.Type == "Digits":
		return `\p{N}+`, nil
	case s.Type == "Punctuation" && (isolated || s.Behavior == ""):
		return punctuation, nil
	case s.Type == "Punctuation" && s.Behavior == "Contiguous":
		return punctuation + "+", nil
	case s.Type == "Split" && s.Pattern.String != nil && *s.Pattern.String == " " && t.escapeSpaces:
		return "", nil // no spaces are left by then
	case s.Type == "Split" && isolated && s.Pattern.Regex != nil:
		return *s.Pattern.Regex, nil
	}
	return "", fmt.Errorf("the pre-tokenizer %s %s is not supported", s.Type, s.Behavior)
}

// metaspace sets up the step that writes spaces as ▁.
func (s *hfStep) metaspace(t *Tokenizer) error {
	if s.Replacement != spaceMark {
		return fmt.Errorf("the pre-tokenizer Metaspace with %q for spaces is not supported", s.Replacement)
	}
	scheme := "always"
	switch {
	case s.PrependScheme != nil:
		scheme = *s.PrependScheme
	case !s.AddPrefixSpace:
		scheme = "never"
	}
	if scheme != "never" {
		t.addSpacePrefix, t.unlessSpace, t.firstOnly = true, true, scheme == "first"
	}
	t.escapeSpaces = true
	t.cut = everySpace{}
	if s.Split != nil && !*s.Split {
		t.cut = newPairCutter(t.vocab)
	}
	return nil
}

// spell finds the tokens of bytes.
func (f *hfFile) spell(b *bpe) {
	if f.Model.Unk != nil {
		b.vocab.unk = b.vocab.id(*f.Model.Unk)
	}
	b.vocab.fuseUnk = f.Model.FuseUnk
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
