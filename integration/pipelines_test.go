package integration

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/tokenizer/corpus"
)

type object = map[string]any

// TestPipelines compares pipelines of all kinds with the library: each normalizer and pre-tokenizer by itself and with
// others, on models of every type that are made of reference vocabularies.
func TestPipelines(t *testing.T) {
	needs(t)
	texts := corpus.Texts(3_000, 5)
	pieces := vocabularyOf(t, "bert-bge")
	vocab := object{}
	for i, p := range pieces.text {
		switch p, begins := strings.CutPrefix(p, "▁"); {
		case begins || len(p) > 2 && p[0] == '[': // [CLS] and the like
			vocab[p] = i
		default:
			vocab["##"+p] = i
		}
	}
	added := []object{{"id": 102, "content": "[SEP]", "special": true},
		{"id": 103, "content": "[MASK]", "special": true, "lstrip": true},
		{"id": 30522, "content": "Don't", "normalized": true, "single_word": true},
		{"id": 30523, "content": "İs", "normalized": true, "rstrip": true}, {"id": 30524, "content": "THE"}}
	wordPiece := object{"type": "WordPiece", "vocab": vocab, "unk_token": "[UNK]", "continuing_subword_prefix": "##",
		"max_input_chars_per_word": 100}
	wordLevel := object{"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"}

	spm := vocabularyOf(t, "llama-spm")
	unigram := object{"type": "Unigram", "unk_id": 0, "byte_fallback": false}
	var scored [][2]any
	for i, p := range spm.text {
		scored = append(scored, [2]any{p, -float64(i%1000) / 100})
	}
	unigram["vocab"] = scored
	fallback := maps.Clone(unigram)
	fallback["byte_fallback"] = true

	gpt2 := vocabularyOf(t, "gpt-2")
	ids := object{}
	for i, p := range gpt2.text {
		ids[p] = i
	}
	bpe := object{"type": "BPE", "vocab": ids, "merges": gpt2.merges}
	suffixed := object{"type": "BPE", "merges": []string{"h e</w>", "t he</w>"}, "unk_token": "<unk>", "fuse_unk": true,
		"end_of_word_suffix": "</w>", "vocab": object{"a": 0, "b": 1, "e</w>": 2, "he</w>": 3, "h": 4, "t": 5,
			"the</w>": 6, "<unk>": 7, "n</w>": 8, "o": 9}}
	prefixed := object{"type": "BPE", "merges": []string{"a ##b", "t ##h", "th ##e"}, "unk_token": "<unk>",
		"continuing_subword_prefix": "##", "vocab": object{"a": 0, "##b": 1, "ab": 2, "t": 3, "##h": 4, "th": 5,
			"##e": 6, "the": 7, "<unk>": 8}}

	marked := object{"type": "BPE", "merges": []string{"▁ a", "▁ t", "h e", "▁t he", "▁ ▁", "▁▁ ▁▁"}, "unk_token": "<unk>",
		"fuse_unk": true, "vocab": object{"<unk>": 0, "▁": 1, "a": 2, "▁a": 3, "t": 4, "▁t": 5, "h": 6, "e": 7, "he": 8,
			"▁the": 9, "▁▁": 10, "▁▁▁▁": 11, "<": 12, "s": 13, ">": 14, "/": 15, "<s>": 16, "</s>": 17}}
	markedAdded := func(normalized bool) []object {
		return []object{{"id": 16, "content": "<s>", "special": true, "normalized": normalized},
			{"id": 17, "content": "</s>", "special": true, "normalized": normalized}}
	}

	step := func(kind string, set ...any) object {
		o := object{"type": kind}
		for i := 0; i < len(set); i += 2 {
			o[set[i].(string)] = set[i+1]
		}
		return o
	}
	split := func(pattern object, behavior string, invert bool) object {
		return step("Split", "pattern", pattern, "behavior", behavior, "invert", invert)
	}
	seq := func(name string, steps ...object) object { return step("Sequence", name, steps) }
	bertNormalizer := func(chinese bool, accents any, lower bool) object {
		return step("BertNormalizer", "clean_text", true, "handle_chinese_chars", chinese, "strip_accents", accents,
			"lowercase", lower)
	}
	metaspace := func(scheme string, split bool) object {
		return step("Metaspace", "replacement", "▁", "prepend_scheme", scheme, "split", split)
	}
	byteLevel := func(prefix, regex bool) object {
		return step("ByteLevel", "add_prefix_space", prefix, "trim_offsets", true, "use_regex", regex)
	}
	part := func(kind, id string, typeID int) object { return object{kind: object{"id": id, "type_id": typeID}} }
	single := []object{part("SpecialToken", "[CLS]", 0), part("Sequence", "A", 0), part("SpecialToken", "[SEP]", 0)}
	template := object{"type": "TemplateProcessing", "single": single,
		"pair": append(slices.Clone(single), part("Sequence", "B", 1)),
		"special_tokens": object{"[CLS]": object{"id": "[CLS]", "ids": []int{101, 7}, "tokens": []string{"[CLS]", "x"}},
			"[SEP]": object{"id": "[SEP]", "ids": []int{102}, "tokens": []string{"[SEP]"}}}}
	around := func(kind string) object {
		return step(kind, "sep", []any{"[SEP]", 102}, "cls", []any{"[CLS]", 101}, "trim_offsets", true,
			"add_prefix_space", false)
	}
	digits := func(each bool) object { return step("Digits", "individual_digits", each) }
	spaces := object{"String": " "}
	prepend := seq("normalizers", step("Prepend", "prepend", "▁"), step("Replace", "pattern", spaces, "content", "▁"))
	type pipeline struct {
		name                  string
		model                 object
		normalizer, pre, post object
	}
	pipelines := []pipeline{
		{"bert", wordPiece, bertNormalizer(true, nil, true), step("BertPreTokenizer"), around("BertProcessing")},
		{"cased", wordPiece, bertNormalizer(false, false, false), step("BertPreTokenizer"), template},
		{"lower", wordPiece, step("Lowercase"), step("Whitespace"), around("RobertaProcessing")},
		{"accents", wordPiece, seq("normalizers", step("NFD"), step("StripAccents"), step("Lowercase")),
			step("WhitespaceSplit"), nil},
		{"strip", wordPiece, seq("normalizers", step("Strip", "strip_left", true, "strip_right", true),
			step("Replace", "pattern", object{"Regex": `\s+`}, "content", " "), step("NFKC")),
			seq("pretokenizers", step("WhitespaceSplit"), step("Punctuation"), digits(true)), nil},
		{"nmt", wordPiece, step("Nmt"), step("CharDelimiterSplit", "delimiter", " "), nil},
		{"previous", wordPiece, nil, split(spaces, "MergedWithPrevious", false), nil},
		{"next", wordPiece, nil, split(object{"Regex": `[ \t]`}, "MergedWithNext", false), nil},
		{"contiguous", wordPiece, nil, split(object{"Regex": `\p{L}`}, "Contiguous", true), nil},
		{"removed", wordPiece, nil, split(object{"Regex": `\s`}, "Removed", false), nil},
		{"scripts", wordPiece, nil, seq("pretokenizers", step("Whitespace"), step("UnicodeScripts")), nil},
		{"fixed", wordPiece, nil, step("FixedLength", "length", 3), nil},
		{"punctuation", wordPiece, nil, seq("pretokenizers", step("WhitespaceSplit"),
			step("Punctuation", "behavior", "Contiguous"), digits(false)), nil},
		{"merged punctuation", wordPiece, nil, step("Punctuation", "behavior", "MergedWithPrevious"), nil},
		{"level", wordLevel, nil, step("Whitespace"), nil},
		{"unigram", unigram, nil, metaspace("always", true), nil},
		{"unigram first", unigram, step("NFKC"), metaspace("first", true), nil},
		{"unigram words", unigram, step("Replace", "pattern", object{"Regex": " {2,}"}, "content", " "),
			seq("pretokenizers", step("WhitespaceSplit"), metaspace("always", true)), nil},
		{"unigram first word", unigram, nil, seq("pretokenizers", step("WhitespaceSplit"), metaspace("first", true)), nil},
		{"unigram bytes", fallback, prepend, nil, nil},
		{"bytes", bpe, nil, byteLevel(true, true), nil},
		{"digits and bytes", bpe, nil, seq("pretokenizers", digits(true), byteLevel(true, true)), nil},
		{"bytes first", bpe, nil, seq("pretokenizers", byteLevel(false, true), digits(false)), nil},
		{"removed gaps", bpe, nil, seq("pretokenizers",
			split(object{"Regex": `\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+`}, "Removed", true), byteLevel(false, false)), nil},
		{"normalized bytes", bpe, step("ByteLevel"), nil, nil},
		{"suffix", suffixed, step("Lowercase"), step("Whitespace"), nil},
		{"prefix", prefixed, step("Lowercase"), step("WhitespaceSplit"), nil},
		{"marked", marked, prepend, nil, nil},
		{"marked, normalized tokens", marked, prepend, nil, nil},
		{"unmarked", marked, nil, nil, nil},
	}
	if charsmap := someCharsmap(t); charsmap != nil {
		precompiled := step("Precompiled", "precompiled_charsmap", charsmap)
		pipelines = append(pipelines, pipeline{"precompiled", unigram, precompiled, metaspace("always", true), nil},
			pipeline{"precompiled words", wordPiece, precompiled, step("WhitespaceSplit"), nil})
	}
	for _, c := range pipelines {
		t.Run(c.name, func(t *testing.T) {
			file := object{"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": []object{},
				"normalizer": c.normalizer, "pre_tokenizer": c.pre, "post_processor": c.post, "decoder": nil, "model": c.model}
			switch {
			case c.model["type"] == "WordPiece":
				file["added_tokens"] = complete(added)
			case strings.HasPrefix(c.name, "marked"):
				file["added_tokens"] = complete(markedAdded(strings.HasSuffix(c.name, "tokens")))
			}
			data, err := json.Marshal(file)
			if err != nil {
				t.Fatal(err)
			}
			compareHF(t, data, texts)
		})
	}
}

// someCharsmap is the precompiled charsmap of a file in the folder that PEFTCONV_VOCABULARIES names; nil where none is.
func someCharsmap(t *testing.T) []byte {
	paths, err := filepath.Glob(filepath.Join(os.Getenv("PEFTCONV_VOCABULARIES"), "*.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		f, err := gguf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		ints, ok := f.Meta.Ints("tokenizer.ggml.precompiled_charsmap")
		f.Close()
		if !ok {
			continue
		}
		data := make([]byte, len(ints))
		for i, v := range ints {
			data[i] = byte(v)
		}
		return data
	}
	t.Log("no precompiled charsmap is here: set PEFTCONV_VOCABULARIES to a folder with one")
	return nil
}

// complete gives added tokens all fields.
func complete(tokens []object) []object {
	var out []object
	for _, a := range tokens {
		full := object{"single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
			"special": false}
		maps.Copy(full, a)
		out = append(out, full)
	}
	return out
}

// pieceList is what a reference vocabulary consists of.
type pieceList struct{ text, merges []string }

func vocabularyOf(t *testing.T, name string) (p pieceList) {
	t.Helper()
	f, err := gguf.Open(reference(t, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p.text, _ = f.Meta.Strings("tokenizer.ggml.tokens")
	p.merges, _ = f.Meta.Strings("tokenizer.ggml.merges")
	return p
}
