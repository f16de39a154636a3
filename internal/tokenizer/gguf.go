package tokenizer

import (
	"fmt"
	"math"
	"strings"

	"github.com/peftconv/peftconv/gguf"
)

// Keys of the metadata.
const (
	keyModel  = "tokenizer.ggml.model"
	keyPre    = "tokenizer.ggml.pre"
	keyTokens = "tokenizer.ggml.tokens"
	keyScores = "tokenizer.ggml.scores"
	keyTypes  = "tokenizer.ggml.token_type"
	keyMerges = "tokenizer.ggml.merges"
	keyBOS    = "tokenizer.ggml.bos_token_id"
	keyEOS    = "tokenizer.ggml.eos_token_id"
	keyAddBOS = "tokenizer.ggml.add_bos_token"
	keyAddEOS = "tokenizer.ggml.add_eos_token"
	keyPrefix = "tokenizer.ggml.add_space_prefix"
	keySpaces = "tokenizer.ggml.remove_extra_whitespaces"
	keyLower  = "tokenizer.ggml.normalizer.lowercase"
	keyStrip  = "tokenizer.ggml.normalizer.strip_accents"
	keyChars  = "tokenizer.ggml.precompiled_charsmap"
	keySep    = "tokenizer.ggml.seperator_token_id" // as the format spells it
)

// FromGGUF makes the tokenizer that the metadata of a GGUF file describes. An error names the key and what is wrong
// with it; the reader of the file adds the path.
func FromGGUF(meta *gguf.Metadata) (*Tokenizer, error) {
	t, err := fromGGUF(meta)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	return t, nil
}

func fromGGUF(meta *gguf.Metadata) (*Tokenizer, error) {
	kind, ok := meta.String(keyModel)
	if !ok {
		return nil, fmt.Errorf("the file has no vocabulary (no string %s)", keyModel)
	}
	build := map[string]func(*Tokenizer, *gguf.Metadata) error{
		ScoredBPE: buildLlama, ByteLevel: buildBPE, Gemma4: buildBPE, WordPiece: buildWordPiece, Unigram: buildUnigram,
		Whitespace: buildBPE, HybridDNA: buildBPE,
	}[kind]
	if build == nil {
		return nil, fmt.Errorf("%s is %q%s; llama, gpt2, gemma4, bert, t5, whitespace and hybriddna are supported", keyModel,
			kind, kindNote(kind))
	}
	v, err := readVocab(meta)
	if err != nil {
		return nil, err
	}
	t := &Tokenizer{kind: kind, vocab: v}
	if err := build(t, meta); err != nil {
		return nil, err
	}
	if t.addBOS, err = readFlag(meta, keyAddBOS, t.addBOS); err != nil {
		return nil, err
	}
	if t.addEOS, err = readFlag(meta, keyAddEOS, t.addEOS); err != nil {
		return nil, err
	}
	if kind == Gemma4 && v.bos != none {
		t.addBOS = true // as llama.cpp does, whatever the file says
	}
	if t.addBOS && v.bos == none {
		return nil, fmt.Errorf("texts must begin with BOS, but there is no %s", keyBOS)
	}
	if t.addEOS && v.eos == none {
		return nil, fmt.Errorf("texts must end with EOS (%s), but there is no %s", keyAddEOS, keyEOS)
	}
	if t.addBOS {
		t.before = []int32{v.bos}
	}
	if t.addEOS && kind != WordPiece {
		t.after = []int32{v.eos}
	}
	if t.escapeSpaces {
		t.reading = readMarks
	}
	t.init()
	t.setPieces()
	t.setStrips(meta)
	return t, nil
}

// kindNote describes a kind that is not supported.
func kindNote(kind string) string {
	names := map[string]string{"rwkv": "RWKV's own", "plamo2": "PLaMo's own"}
	if name := names[kind]; name != "" {
		return " (" + name + ")"
	}
	return ""
}

// buildLlama sets up a SentencePiece vocabulary.
func buildLlama(t *Tokenizer, meta *gguf.Metadata) error {
	v := t.vocab
	scores, err := readScored(meta, v, map[int32]*int32{0: &v.unk, 1: &v.bos, 2: &v.eos})
	if err != nil {
		return err
	}
	t.escapeSpaces, t.addBOS = true, v.bos != none
	t.model, t.cut = newSPM(v, scores), newPairCutter(v)
	t.addSpacePrefix, err = readFlag(meta, keyPrefix, true)
	return err
}

// readScored reads the special tokens and the scores of a vocabulary. usual are the special tokens where the file names
// no others.
func readScored(meta *gguf.Metadata, v *vocab, usual map[int32]*int32) ([]float32, error) {
	for id, at := range usual {
		if int(id) < len(v.text) {
			*at = id
		}
	}
	if err := readSpecials(meta, v); err != nil {
		return nil, err
	}
	return readScores(meta, v)
}

// readScores reads the scores; without any they are 0.
func readScores(meta *gguf.Metadata, v *vocab) ([]float32, error) {
	scores := make([]float32, len(v.text))
	if _, ok := meta.Get(keyScores); ok {
		given, ok := meta.Floats(keyScores)
		if !ok || len(given) != len(v.text) {
			return nil, fmt.Errorf("%s has %d numbers, want one for each of the %d tokens", keyScores, len(given), len(v.text))
		}
		copy(scores, given)
	}
	for i, s := range scores {
		if math.IsNaN(float64(s)) || math.IsInf(float64(s), 0) {
			return nil, fmt.Errorf("%s: the score of token %d (%.40q) is %v, want a finite number", keyScores, i, v.text[i], s)
		}
	}
	return scores, nil
}

// buildBPE sets up a vocabulary with merges. The space that add_space_prefix asks for is never put before a text of
// this kind: llama.cpp does not do it either.
func buildBPE(t *Tokenizer, meta *gguf.Metadata) error {
	v := t.vocab
	name, _ := meta.String(keyPre)
	if t.kind == Gemma4 {
		name = Gemma4
	}
	pre, err := findPreTokenizer(name)
	if err != nil {
		return err
	}
	if err := readSpecials(meta, v); err != nil {
		return err
	}
	b, err := readBPE(meta, v, pre.noMerges)
	if err != nil {
		return err
	}
	b.ignoreMerges, b.raw = pre.ignoreMerges, pre.raw
	v.dropsBytes = true
	if b.raw {
		for c := range b.bytes {
			b.bytes[c] = v.id(fmt.Sprintf("<0x%02X>", c))
		}
	}
	t.addBOS, t.escapeSpaces = pre.addBOS && v.bos != none, pre.marks
	t.model = b
	if pre.newlines {
		t.model = newlines{b}
	}
	if t.cut, err = newStageCutter(pre.stages); err != nil {
		return err
	}
	switch t.kind {
	case Whitespace:
		lower, err := readFlag(meta, keyLower, name != Whitespace)
		t.cut = fields{t.cut, lower}
		return err
	case HybridDNA:
		t.dna = newDNA(v)
	}
	return nil
}

// readBPE reads the merges.
func readBPE(meta *gguf.Metadata, v *vocab, optional bool) (*bpe, error) {
	merges, ok := meta.Strings(keyMerges)
	if _, there := meta.Get(keyMerges); !ok && (there || !optional) {
		return nil, fmt.Errorf("no %s (an array of strings), which vocabularies with merges need", keyMerges)
	}
	b, err := newBPE(v, merges)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyMerges, err)
	}
	return b, nil
}

// newlines is a bpe that takes a run of newlines which is a token as that.
type newlines struct{ *bpe }

func (n newlines) encode(dst []int32, word []byte, m *merger) []int32 {
	if word[0] == '\n' {
		if id, ok := n.vocab.ids[string(word)]; ok {
			return append(dst, id)
		}
	}
	return n.bpe.encode(dst, word, m)
}

// readVocab reads tokens and their types.
func readVocab(meta *gguf.Metadata) (*vocab, error) {
	tokens, ok := meta.Strings(keyTokens)
	if !ok {
		return nil, fmt.Errorf("no %s (an array of strings)", keyTokens)
	}
	if len(tokens) == 0 {
		return nil, fmt.Errorf("%s: the vocabulary is empty", keyTokens)
	}
	if len(tokens) > math.MaxInt32 {
		return nil, fmt.Errorf("%s: %d tokens are too many", keyTokens, len(tokens))
	}
	types := make([]tokenType, len(tokens))
	for i := range types {
		types[i] = typeNormal
	}
	if _, ok := meta.Get(keyTypes); ok {
		given, ok := meta.Ints(keyTypes)
		if !ok || len(given) != len(tokens) {
			return nil, fmt.Errorf("%s has %d numbers, want one for each of the %d tokens", keyTypes, len(given), len(tokens))
		}
		for i := range types {
			types[i] = typeUndefined
			if k := given[i]; k >= 0 && k <= int64(typeByte) {
				types[i] = tokenType(k)
			}
		}
	}
	v, err := newVocab(tokens, types)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyTokens, err)
	}
	return v, nil
}

// readSpecials reads the ids of special tokens and finds the others by their text.
func readSpecials(meta *gguf.Metadata, v *vocab) error {
	v.fim = []int32{none, none, none}
	for _, s := range []struct {
		name string
		id   *int32
	}{
		{"bos", &v.bos}, {"eos", &v.eos}, {"eot", &v.eot}, {"eom", &v.eom}, {"unknown", &v.unk},
		{"fim_pad", &v.fim[0]}, {"fim_rep", &v.fim[1]}, {"fim_sep", &v.fim[2]},
	} {
		key := "tokenizer.ggml." + s.name + "_token_id"
		value, ok := meta.Get(key)
		if !ok {
			continue
		}
		id, ok := meta.Int(key)
		if !ok || id < 0 || id >= int64(len(v.text)) {
			return fmt.Errorf("%s is %v, want the number of one of the %d tokens", key, value, len(v.text))
		}
		*s.id = int32(id)
	}
	v.finish()
	return nil
}

func readFlag(meta *gguf.Metadata, key string, def bool) (bool, error) {
	value, ok := meta.Get(key)
	if !ok {
		return def, nil
	}
	b, ok := meta.Bool(key)
	if !ok {
		return false, fmt.Errorf("%s is %v, want true or false", key, value)
	}
	return b, nil
}

// setStrips sets the tokens that swallow white space. The files do not name them: llama.cpp goes by the names of the
// pre-tokenizer, the architecture and the model.
func (t *Tokenizer) setStrips(meta *gguf.Metadata) {
	pre, _ := meta.String(keyPre)
	arch, _ := meta.String("general.architecture")
	name, _ := meta.String("general.name")
	name = strings.ToLower(name)
	switch {
	case byName()[pre].stripsMask || strings.Contains(arch, "nomic-bert-moe") || strings.Contains(arch, "jina-bert-v3"):
		t.lstrip = map[int32]bool{t.vocab.id("<mask>"): true}
	case strings.Contains(name, "phi-3") || strings.Contains(name, "phi3"):
		t.rstrip = map[int32]bool{}
		for _, id := range t.special {
			t.rstrip[id] = true
		}
		t.rstrip[t.vocab.id("</s>")] = true
		for _, s := range []string{"<unk>", "<s>", "<|endoftext|>"} {
			delete(t.rstrip, t.vocab.id(s))
		}
	case strings.Contains(name, "modern-bert"):
		t.lstrip = map[int32]bool{t.vocab.id("[MASK]"): true}
	}
}
