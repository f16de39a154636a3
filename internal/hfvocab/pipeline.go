package hfvocab

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

// Steps of pipelines, as tokenizer.json has them.

func sequence(of string, steps ...object) object {
	return object{{"type", "Sequence"}, {of, steps}}
}

func split(expression string) object {
	return object{{"type", "Split"}, {"pattern", object{{"Regex", expression}}}, {"behavior", "Isolated"},
		{"invert", false}}
}

func byteLevel(trimOffsets, useRegex bool) object {
	return object{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", trimOffsets},
		{"use_regex", useRegex}}
}

func replace(old, text string) object {
	return object{{"type", "Replace"}, {"pattern", object{{"String", old}}}, {"content", text}}
}

// tokenizerJSON is a whole tokenizer.json. Steps may be nil.
type tokenizerJSON struct {
	added                                   []addedToken
	normalizer, preTokenizer, post, decoder object
	unk                                     any // text, or nil
	fuseUnk, byteFallback, ignoreMerges     bool
	vocab                                   object
	merges                                  [][2]string
}

// encode writes the file.
func (t *tokenizerJSON) encode() ([]byte, error) {
	step := func(o object) any {
		if o == nil {
			return nil
		}
		return o
	}
	if t.added == nil {
		t.added = []addedToken{}
	}
	if t.merges == nil {
		t.merges = [][2]string{}
	}
	return encodeJSON(object{
		{"version", "1.0"}, {"truncation", nil}, {"padding", nil}, {"added_tokens", t.added},
		{"normalizer", step(t.normalizer)}, {"pre_tokenizer", step(t.preTokenizer)},
		{"post_processor", step(t.post)}, {"decoder", step(t.decoder)},
		{"model", object{
			{"type", "BPE"}, {"dropout", nil}, {"unk_token", t.unk}, {"continuing_subword_prefix", nil},
			{"end_of_word_suffix", nil}, {"fuse_unk", t.fuseUnk}, {"byte_fallback", t.byteFallback},
			{"ignore_merges", t.ignoreMerges}, {"vocab", t.vocab}, {"merges", t.merges},
		}},
	}, "  ")
}

// Classes of letters in the expressions of the originals, and a contraction behind a word.
const (
	upper       = `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`
	lower       = `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`
	contraction = `(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?`
	wordStart   = `[^\r\n\p{L}\p{N}]?`
)

// notHan is a class without the Han letters.
func notHan(class string) string { return strings.TrimSuffix(class, "]") + `&&[^\p{Han}]]` }

// words are the expressions of a word that begins with capitals, and of one of capitals alone.
func words(upper, lower string) string {
	return wordStart + upper + `*` + lower + `+` + contraction + `|` + wordStart + upper + `+` + lower + `*` + contraction
}

// han is how llama.cpp writes the Han letters.
const han = `\u4e00-\u9fff\u3400-\u4dbf\x{20000}-\x{2a6df}\x{2a700}-\x{2ebef}\uf900-\ufaff\x{2f800}-\x{2fa1f}`

// original writes the expressions of the originals in place of what llama.cpp simplified: classes of capital and small
// letters, which it reads as those of ASCII, and what it does by hand.
var original = strings.NewReplacer(
	`[\p{L}&&[^a-z]]`, upper, `[\p{L}&&[^A-Z]]`, lower,
	`[\p{L}\p{M}&&[^a-z]]`, upper, `[\p{L}\p{M}&&[^A-Z]]`, lower,
	wordStart+`[\p{L}\p{M}]+`+contraction, words(upper, lower),
	`[`+han+`]+|`+wordStart+`[\p{L}&&[^`+han+`]]+`+contraction, `[\p{Han}]+|`+words(notHan(upper), notHan(lower)),
	`\p{AFMoE_digits}`, `\d{1,3}(?=(?:\d{3})*\b)`)

// wordSteps is the pre-tokenizer that cuts as expressions do, one after the other.
func wordSteps(stages []string) object {
	var steps []object
	last := len(stages) - 1
	useRegex := last >= 0 && stages[last] == tokenizer.ByteLevelWords
	if useRegex {
		stages = stages[:last]
	}
	for _, expression := range stages {
		steps = append(steps, split(original.Replace(expression)))
	}
	steps = append(steps, byteLevel(true, useRegex))
	if len(steps) == 1 {
		return steps[0]
	}
	return sequence("pretokenizers", steps...)
}

// makePipeline makes the tokenizer.json of a vocab.json and a merges.txt, as transformers does for the classes whose
// files these are.
func (f *files) makePipeline() error {
	t := &tokenizerJSON{decoder: byteLevel(true, true), post: byteLevel(false, true)}
	switch class := strings.TrimSuffix(f.class(), "Fast"); class {
	case "", "GPT2Tokenizer", "CodeGenTokenizer", "GPTNeoXTokenizer":
		t.preTokenizer = byteLevel(true, true)
	case "Qwen2Tokenizer":
		rules, err := tokenizer.RulesOf("qwen2")
		if err != nil {
			return err
		}
		t.normalizer, t.preTokenizer = object{{"type", "NFC"}}, wordSteps(rules.Stages)
	default:
		return fmt.Errorf("no %s, and a %s and %s of a %s are not supported; its tokenizer saved by transformers as a "+
			"fast one (save_pretrained) is", tokenizerFile, vocabFile, mergesFile, class)
	}
	var ids map[string]int64
	if _, err := f.readJSON(vocabFile, &ids); err != nil {
		return err
	}
	for text, id := range ids {
		t.vocab.add(text, id)
	}
	lines, err := f.mergesText()
	if err != nil {
		return err
	}
	for _, line := range lines {
		left, right, _ := strings.Cut(line, " ")
		t.merges = append(t.merges, [2]string{left, right})
	}
	if t.added, err = f.addedTo(ids); err != nil {
		return err
	}
	if f.madeFile, err = t.encode(); err != nil {
		return err
	}
	f.made, f.tokenizer = true, &pipeline{}
	return json.Unmarshal(f.madeFile, f.tokenizer)
}

// addedTo are the tokens that other files add to those of vocab.json: added_tokens_decoder of tokenizer_config.json, or
// added_tokens.json and the special tokens that are named.
func (f *files) addedTo(ids map[string]int64) ([]addedToken, error) {
	all, err := f.decoderTokens()
	if err != nil || all != nil {
		return all, err
	}
	if all, err = f.addedIDs(); err != nil {
		return nil, err
	}
	special, err := f.specialTexts()
	if err != nil {
		return nil, err
	}
	next := int64(len(ids) + len(all))
	for _, text := range special {
		if i := slices.IndexFunc(all, func(t addedToken) bool { return t.Content == text }); i >= 0 {
			all[i].Special = true
			continue
		}
		id, ok := ids[text]
		if !ok {
			id = next
			next++
		}
		all = append(all, addedToken{ID: id, Content: text, Special: true})
	}
	slices.SortFunc(all, byID)
	return all, nil
}

// overlay is the files, with the tokenizer.json that was made where there is none.
func (f *files) overlay() fs.FS {
	if f.made {
		return overlay{f.FS, f.madeFile}
	}
	return f.FS
}

// overlay has a tokenizer.json beside other files.
type overlay struct {
	fs.FS
	tokenizer []byte
}

// ReadFile reads a file, or the tokenizer.json.
func (o overlay) ReadFile(name string) ([]byte, error) {
	if name == tokenizerFile {
		return o.tokenizer, nil
	}
	return infile.ReadIn(o.FS, name, infile.Index)
}
