package hfvocab

import (
	"bytes"
	"cmp"
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

// Names of files.
const (
	tokenizerFile       = "tokenizer.json"
	sentencePieceFile   = "tokenizer.model"
	tekkenFile          = "tekken.json"
	vocabFile           = "vocab.json"
	mergesFile          = "merges.txt"
	addedFile           = "added_tokens.json"
	tokenizerConfigFile = "tokenizer_config.json"
	specialMapFile      = "special_tokens_map.json"
	generationFile      = "generation_config.json"
	templateFile        = "chat_template.jinja"
	templateJSONFile    = "chat_template.json"
	templatesFolder     = "additional_chat_templates"
)

// files are the tokenizer files of a directory.
type files struct {
	fs.FS
	model     map[string]any // config.json
	config    map[string]any // tokenizer_config.json, nil where there is none
	tokenizer *pipeline      // of tokenizer.json, or made from vocab.json and merges.txt; nil where there are none
	made      bool           // the latter
	madeFile  []byte
}

// pipeline is the used part of a tokenizer.json.
type pipeline struct {
	Added         []addedToken `json:"added_tokens"`
	Normalizer    *step        `json:"normalizer"`
	PostProcessor *step        `json:"post_processor"`
	Decoder       *step        `json:"decoder"`
	Model         bpeModel     `json:"model"`
}

// addedToken is a token that is found in a text before all else.
type addedToken struct {
	ID         int64  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"`
	LStrip     bool   `json:"lstrip"`
	RStrip     bool   `json:"rstrip"`
	Normalized bool   `json:"normalized"`
	Special    bool   `json:"special"`
}

// byID orders added tokens.
func byID(a, b addedToken) int {
	return cmp.Or(cmp.Compare(a.ID, b.ID), strings.Compare(a.Content, b.Content))
}

// bpeModel is a model of type BPE; of others only the type is read.
type bpeModel struct {
	Type         string           `json:"type"`
	Vocab        map[string]int64 `json:"vocab"`
	Merges       []mergePair      `json:"merges"`
	IgnoreMerges *bool            `json:"ignore_merges"`
	ByteFallback *bool            `json:"byte_fallback"`
}

// UnmarshalJSON leaves out what models of other types have.
func (m *bpeModel) UnmarshalJSON(data []byte) error {
	var kind struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(data, &kind); err != nil {
		return err
	}
	if m.Type = kind.Type; kind.Type != "BPE" && kind.Type != "" {
		return nil
	}
	type plain bpeModel
	return json.Unmarshal(data, (*plain)(m))
}

// mergePair is a merge as a GGUF file writes it: two tokens with a space between them. Spaces inside a token of a list
// become Ġ.
type mergePair string

// UnmarshalJSON reads "left right" or ["left", "right"].
func (m *mergePair) UnmarshalJSON(data []byte) error {
	if data[0] != '[' {
		return json.Unmarshal(data, (*string)(m))
	}
	var pair []string
	if err := json.Unmarshal(data, &pair); err != nil || len(pair) != 2 {
		return fmt.Errorf("the merge %.60s is not two tokens", data)
	}
	for i := range pair {
		pair[i] = strings.ReplaceAll(pair[i], " ", "Ġ")
	}
	*m = mergePair(pair[0] + " " + pair[1])
	return nil
}

// step is the used part of a normalizer, a post-processor or a decoder.
type step struct {
	Type string `json:"type"`

	Normalizers []step `json:"normalizers"`
	Processors  []step `json:"processors"`
	Decoders    []step `json:"decoders"`

	Lowercase    *bool `json:"lowercase"`
	StripAccents *bool `json:"strip_accents"`

	Single []templatePart `json:"single"`
	Pair   []templatePart `json:"pair"`
	CLS    []any          `json:"cls"`
	SEP    []any          `json:"sep"`

	Pattern     struct{ String string } `json:"pattern"`
	Content     string                  `json:"content"`
	Start       int                     `json:"start"`
	Replacement string                  `json:"replacement"`
}

// templatePart is a special token or a sequence.
type templatePart struct {
	SpecialToken, Sequence *struct {
		ID string `json:"id"`
	}
}

// special is the text of a special token, or "".
func (p templatePart) special() string {
	if p.SpecialToken == nil {
		return ""
	}
	return p.SpecialToken.ID
}

// sequence is "A" or "B", or "".
func (p templatePart) sequence() string {
	if p.Sequence == nil {
		return ""
	}
	return p.Sequence.ID
}

// has reports whether a file is there.
func (f *files) has(name string) bool {
	info, err := fs.Stat(f.FS, name)
	return err == nil && !info.IsDir()
}

// readJSON reads a file into a value and reports whether it is there. Errors name the file and the place in it.
func (f *files) readJSON(name string, into any) (bool, error) {
	data, err := infile.ReadIn(f.FS, name, infile.Index)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return false, fmt.Errorf("%s: byte %d: %w", name, d.InputOffset(), err)
	}
	return true, nil
}

// readText reads a text file, with the ends of its lines as \n.
func (f *files) readText(name string) (string, error) {
	data, err := infile.ReadIn(f.FS, name, infile.Index)
	return strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data)), err
}

// openFiles reads what all vocabularies need. model is config.json.
func openFiles(dir fs.FS, model map[string]any) (*files, error) {
	f := &files{FS: dir, model: model}
	if _, err := f.readJSON(tokenizerConfigFile, &f.config); err != nil {
		return nil, err
	}
	if len(f.config) == 0 {
		f.config = nil
	}
	var p pipeline
	found, err := f.readJSON(tokenizerFile, &p)
	if err != nil {
		return nil, err
	}
	if found {
		f.tokenizer = &p
		return f, nil
	}
	if f.has(vocabFile) && f.has(mergesFile) && !f.has(sentencePieceFile) {
		return f, f.makePipeline()
	}
	return f, nil
}

// number finds a whole number in config.json, where the text model's own settings go before those of the whole.
func (f *files) number(key string) (int, bool) {
	for _, config := range []map[string]any{f.text(), f.model} {
		if n, ok := whole(config[key]); ok {
			return n, true
		}
	}
	return 0, false
}

// text is the part of config.json that describes the text model, nil where the whole does.
func (f *files) text() map[string]any {
	for _, key := range []string{"text_config", "language_config", "llm_config", "lm_config"} {
		if config, ok := f.model[key].(map[string]any); ok {
			return config
		}
	}
	return nil
}

// whole is a value that is a whole number.
func whole(v any) (int, bool) {
	switch v := v.(type) {
	case json.Number:
		n, err := v.Int64()
		return int(n), err == nil
	case float64:
		return int(v), v == float64(int(v))
	case int:
		return v, true
	}
	return 0, false
}

// classOf is tokenizer_class of tokenizer_config.json.
func (f *files) class() string {
	class, _ := f.config["tokenizer_class"].(string)
	return class
}

// namedTokens are the names of special tokens in tokenizer_config.json, in the order in which they count.
var namedTokens = []string{"bos", "eos", "unk", "sep", "pad", "cls", "mask"}

// textOf is the text of a special token: a string, or an object with it.
func textOf(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case map[string]any:
		text, _ := v["content"].(string)
		return text
	}
	return ""
}

// specialTexts are the texts of all special tokens that tokenizer_config.json names, and special_tokens_map.json those
// that are missing there.
func (f *files) specialTexts() ([]string, error) {
	var more map[string]any
	if _, err := f.readJSON(specialMapFile, &more); err != nil {
		return nil, err
	}
	var texts []string
	add := func(v any) {
		if text := textOf(v); text != "" && !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	for _, name := range namedTokens {
		key := name + "_token"
		if textOf(f.config[key]) != "" {
			add(f.config[key])
			continue
		}
		add(more[key])
	}
	for _, key := range []string{"additional_special_tokens", "extra_special_tokens"} {
		list := f.config[key]
		if list == nil {
			list = more[key]
		}
		switch list := list.(type) {
		case []any:
			for _, v := range list {
				add(v)
			}
		case map[string]any:
			for _, name := range slices.Sorted(maps.Keys(list)) {
				add(list[name])
			}
		}
	}
	return texts, nil
}

// decoderTokens are added_tokens_decoder of tokenizer_config.json, by id.
func (f *files) decoderTokens() ([]addedToken, error) {
	list, ok := f.config["added_tokens_decoder"].(map[string]any)
	if !ok {
		return nil, nil
	}
	var all []addedToken
	for key, value := range list {
		data, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		var t addedToken
		if err := json.Unmarshal(data, &t); err != nil {
			return nil, fmt.Errorf("%s: added_tokens_decoder %q: %w", tokenizerConfigFile, key, err)
		}
		if t.ID, err = strconv.ParseInt(key, 10, 64); err != nil {
			return nil, fmt.Errorf("%s: added_tokens_decoder has the key %q, expected the id of a token",
				tokenizerConfigFile, key)
		}
		all = append(all, t)
	}
	slices.SortFunc(all, byID)
	return all, nil
}
