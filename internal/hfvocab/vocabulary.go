package hfvocab

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

// Options say how a vocabulary is read.
type Options struct {
	Vocabulary   arch.Vocabulary // of the architecture
	PreTokenizer string          // for tokenizer.ggml.pre, as the user names it; "": it is found
	// Force takes for an unknown pre-tokenizer one that cuts the reference text as the files do.
	Force bool
}

// Types of tokens, as tokenizer.ggml.token_type has them.
const (
	typeNormal  = 1
	typeUnknown = 2
	typeControl = 3
	typeUser    = 4
	typeUnused  = 5
	typeByte    = 6
)

// Scores of tokens that have none of their own.
const (
	addedScore  = -1000
	unusedScore = -10000
)

// spaceMark stands for a space in tokens.
const spaceMark = "▁"

// Keys that are read and written here; all begin with keyPrefix but for the templates.
const (
	keyPrefix    = "tokenizer.ggml."
	keyModel     = keyPrefix + "model"
	keyPre       = keyPrefix + "pre"
	keyTokens    = keyPrefix + "tokens"
	keyScores    = keyPrefix + "scores"
	keyTypes     = keyPrefix + "token_type"
	keyMerges    = keyPrefix + "merges"
	keySpace     = keyPrefix + "add_space_prefix"
	keyTemplate  = "tokenizer.chat_template"
	keyTemplates = "tokenizer.chat_templates"
)

// idKeys are the keys of special tokens by the names in Hugging Face's files. cls has none.
var idKeys = map[string]string{
	"bos": "bos_token_id", "eos": "eos_token_id", "eot": "eot_token_id", "eom": "eom_token_id",
	"unk": "unknown_token_id", "sep": "seperator_token_id", "pad": "padding_token_id", "mask": "mask_token_id",
}

// flagKeys are the flags that a GGUF file has.
var flagKeys = []string{"bos", "eos", "sep"}

// Vocabulary is the tokens of a directory and their rules.
type Vocabulary struct {
	source     arch.VocabularySource
	rules      arch.Vocabulary
	size       int // by config.json, 0 where it does not say
	kind, pre  string
	tokens     []string
	types      []int32
	scores     []float32 // nil: there are none
	merges     []string
	specials   *specials
	templates  []chatTemplate
	lowercase  *bool
	accents    *bool // are stripped
	space      *bool // add_prefix_space
	overrideID []namedID
	config     map[string]any // config.json
	notes      []string
}

// Read reads the vocabulary of a directory. config is its config.json. An error names the file and what helps.
func Read(dir string, config map[string]any, o Options) (*Vocabulary, error) {
	v, err := ReadFiles(infile.Dir(dir), config, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return v, nil
}

// ReadFiles is Read for files that need not lie in a directory.
func ReadFiles(dir fs.FS, config map[string]any, o Options) (*Vocabulary, error) {
	f, err := openFiles(dir, config)
	if err != nil {
		return nil, err
	}
	v := &Vocabulary{rules: o.Vocabulary, config: config}
	if v.source, err = f.choose(o.Vocabulary); err != nil {
		return nil, err
	}
	v.size, _ = f.number("vocab_size")
	if v.size < 0 || v.size > maxTokens {
		return nil, fmt.Errorf("config.json: vocab_size is %d, expected a number up to %d", v.size, maxTokens)
	}
	v.pad(f)
	if err := v.read(f); err != nil {
		return nil, err
	}
	if v.source != arch.Tekken {
		limit := 0
		if v.scores != nil && v.source != arch.MergedBPE {
			limit = len(v.tokens)
		}
		v.specials = f.readSpecials(limit)
	}
	if v.source == arch.ByteBPE {
		if err := v.findPreTokenizer(f, o); err != nil {
			return nil, err
		}
	}
	if v.templates, err = f.readTemplates(v.source); err != nil {
		return nil, err
	}
	v.name(f)
	if f.tokenizer != nil {
		v.normalizer(f.tokenizer.Normalizer)
	}
	if on, ok := f.config["add_prefix_space"].(bool); ok {
		v.space = &on
	}
	return v, v.override(f)
}

// maxTokens is the largest vocabulary that is read.
const maxTokens = 1 << 24

// Size is the number of tokens.
func (v *Vocabulary) Size() int { return len(v.tokens) }

// Notes say what was left out or assumed, and why.
func (v *Vocabulary) Notes() []string { return v.notes }

func (v *Vocabulary) note(format string, args ...any) {
	v.notes = append(v.notes, fmt.Sprintf(format, args...))
}

// choose finds the first form of vocabulary that the files have.
func (f *files) choose(rules arch.Vocabulary) (arch.VocabularySource, error) {
	sources := rules.Sources
	if sources == nil || rules.ByteBPEClass != "" && f.class() == rules.ByteBPEClass {
		sources = []arch.VocabularySource{arch.ByteBPE}
	}
	var wanted []string
	for _, s := range sources {
		want, ok := f.fits(s)
		if ok {
			return s, nil
		}
		wanted = append(wanted, want)
	}
	return 0, fmt.Errorf("no tokenizer that is known for this architecture, expected %s",
		strings.Join(slices.Compact(wanted), ", or "))
}

// fits reports whether the files have a vocabulary of a form, and names what that is.
func (f *files) fits(s arch.VocabularySource) (want string, ok bool) {
	switch p := f.tokenizer; s {
	case arch.SentencePiece, arch.SentencePieceAdded:
		return sentencePieceFile, f.has(sentencePieceFile)
	case arch.Tekken:
		return tekkenFile, f.has(tekkenFile) && !f.has(tokenizerFile)
	case arch.CharacterBPE, arch.MergedBPE:
		ok := p != nil && p.Model.Type == "BPE" && p.Model.ByteFallback != nil && *p.Model.ByteFallback &&
			p.Decoder != nil && p.Decoder.Type == "Sequence"
		return tokenizerFile + " with BPE and byte_fallback", ok
	default:
		return "a " + tokenizerFile + " with BPE (or " + vocabFile + " and " + mergesFile + ")",
			p != nil && (p.Model.Type == "BPE" || p.Model.Type == "") && p.Model.Vocab != nil
	}
}

// pad rounds the size up where the architecture wants that.
func (v *Vocabulary) pad(f *files) {
	to := v.rules.PadTo
	if to == 0 || v.size == 0 {
		return
	}
	if with := v.rules.PadWith; with != "" {
		config := f.model
		if text := f.text(); text != nil {
			config = text
		}
		types, _ := config["layer_types"].([]any)
		if !slices.Contains(types, any(with)) {
			return
		}
	}
	if n, ok := f.number(v.rules.PadKey); ok && n > 0 && n < maxTokens {
		to = n
	}
	v.size = (v.size + to - 1) / to * to
}

// read reads the tokens.
func (v *Vocabulary) read(f *files) error {
	switch v.source {
	case arch.SentencePiece, arch.SentencePieceAdded:
		v.kind, v.pre = tokenizer.ScoredBPE, "default"
		return v.readSentencePiece(f)
	case arch.CharacterBPE:
		v.kind, v.pre = tokenizer.ScoredBPE, "default"
		return v.readCharacterBPE(f)
	case arch.MergedBPE:
		v.kind, v.merges = tokenizer.Gemma4, f.merges()
		return v.readCharacterBPE(f)
	case arch.Tekken:
		v.kind, v.pre = tokenizer.ByteLevel, "tekken"
		return v.readTekken(f)
	default:
		v.kind, v.merges = tokenizer.ByteLevel, f.merges()
		return v.readByteBPE(f)
	}
}

// name enters the special tokens that an architecture knows by their text.
func (v *Vocabulary) name(f *files) {
	for _, named := range v.rules.Named {
		i := slices.Index(v.tokens, named.Text)
		if i < 0 {
			v.note("the vocabulary has no %s, which stands for %s in other models of this architecture", named.Text, named.Name)
			continue
		}
		v.specials.set(named.Name, i, 0)
	}
}

// normalizer reads what a normalizer does to letters.
func (v *Vocabulary) normalizer(n *step) {
	if n == nil {
		return
	}
	on := true
	switch n.Type {
	case "Lowercase":
		v.lowercase = &on
	case "StripAccents":
		v.accents = &on
	case "BertNormalizer":
		if n.Lowercase != nil {
			v.lowercase = n.Lowercase
		}
		if n.StripAccents != nil {
			v.accents = n.StripAccents
		}
	case "Sequence":
		for _, inner := range n.Normalizers {
			v.normalizer(&inner)
		}
	}
}

// override finds the ids that other files than the tokenizer's decide.
func (v *Vocabulary) override(f *files) error {
	if key := v.rules.EOSKey; key != "" {
		if id, ok := f.number(key); ok {
			v.overrideID = append(v.overrideID, namedID{"eos", id})
		}
	}
	if !v.rules.EOSEndsTurn {
		return nil
	}
	var generation map[string]any
	if _, err := f.readJSON(generationFile, &generation); err != nil {
		return err
	}
	if list, ok := generation["eos_token_id"].([]any); ok && len(list) >= 2 {
		if id, ok := whole(list[0]); ok {
			v.overrideID = append(v.overrideID, namedID{"eot", id})
		}
	}
	return nil
}

// writer sets keys until one fails.
type writer struct {
	meta *gguf.Metadata
	err  error
}

func (w *writer) set(key string, value any) {
	if w.err == nil {
		w.err = w.meta.Set(key, value)
	}
}

// Set writes the keys of tokenizer.* in the order of llama.cpp's converter. Keys that are there keep their place.
func (v *Vocabulary) Set(meta *gguf.Metadata) error {
	w := &writer{meta: meta}
	if v.space != nil && v.rules.SpacePrefix == arch.SpacePrefixFirst && v.source != arch.Tekken {
		w.set(keySpace, *v.space)
	}
	w.set(keyModel, v.kind)
	if v.pre != "" {
		w.set(keyPre, v.pre)
	}
	if v.source == arch.Tekken {
		v.setTekken(w)
	} else {
		v.setTokens(w)
		v.setSpecials(w)
	}
	v.setTemplates(w)
	if v.lowercase != nil {
		w.set(keyPrefix+"normalizer.lowercase", *v.lowercase)
	}
	if v.accents != nil {
		w.set(keyPrefix+"normalizer.strip_accents", *v.accents)
	}
	if v.space != nil && v.rules.SpacePrefix == arch.SpacePrefixLast {
		w.set(keySpace, *v.space)
	}
	for _, n := range v.overrideID {
		w.set(keyPrefix+idKeys[n.name], uint32(n.id))
	}
	for _, s := range v.rules.Settings {
		if _, ok := v.config[s.Unless]; !ok && s.Fits(v.source, v.size) {
			w.set(keyPrefix+s.Key, s.Value)
		}
	}
	return w.err
}

func (v *Vocabulary) setTokens(w *writer) {
	w.set(keyTokens, v.tokens)
	if v.scores != nil {
		w.set(keyScores, v.scores)
	}
	w.set(keyTypes, v.types)
}

func (v *Vocabulary) setSpecials(w *writer) {
	if len(v.merges) > 0 {
		w.set(keyMerges, v.merges)
	}
	for _, n := range v.specials.ids {
		if key := idKeys[n.name]; key != "" {
			w.set(keyPrefix+key, uint32(n.id))
		}
	}
	for _, n := range v.specials.flags {
		if slices.Contains(flagKeys, n.name) {
			w.set(keyPrefix+"add_"+n.name+"_token", n.on)
		}
	}
}

// setTemplates writes the templates: those with names, the list of the names, and the one that is used where none is
// named.
func (v *Vocabulary) setTemplates(w *writer) {
	var names []string
	text := ""
	for _, t := range v.templates {
		switch name := templateKey(t.name); {
		case name == defaultTemplate:
			text = t.text
		case name != "":
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
			if t.text != "" {
				w.set(keyTemplate+"."+name, t.text)
			}
		}
	}
	if names != nil {
		w.set(keyTemplates, names)
	}
	if text != "" {
		w.set(keyTemplate, text)
	}
}
