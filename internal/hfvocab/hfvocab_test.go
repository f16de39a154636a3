package hfvocab

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/converttest"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/internal/tokenizer"
)

// readJSON reads a JSON file.
func readJSON[T any](t *testing.T, path string) (v T) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// isTokenizer is true of the keys that a vocabulary sets.
func isTokenizer(key string) bool { return strings.HasPrefix(key, "tokenizer.") }

// options are how a directory of the reference data is read: its vocabulary is a part of a real one, which decided the
// pre-tokenizer.
func options(t *testing.T, dir string, config map[string]any) Options {
	t.Helper()
	modelType, _ := config["model_type"].(string)
	a, _ := arch.ByModelType(modelType)
	if a == nil {
		t.Fatalf("unknown model_type %q", modelType)
	}
	o := Options{Vocabulary: a.Vocabulary}
	if path := filepath.Join(dir, "expected", "tokenizer.json"); exists(path) {
		o.PreTokenizer = readJSON[struct{ Pre string }](t, path).Pre
	}
	return o
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestReference(t *testing.T) {
	for _, dir := range converttest.Models(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			config := readJSON[map[string]any](t, filepath.Join(dir, "config.json"))
			v, err := Read(dir, config, options(t, dir, config))
			if err != nil {
				t.Fatal(err)
			}
			var meta gguf.Metadata
			if err := v.Set(&meta); err != nil {
				t.Fatal(err)
			}
			for name, form := range converttest.Forms(t, dir) {
				t.Run(name, func(t *testing.T) { form.Metadata(t, &meta, isTokenizer) })
			}
			for _, note := range v.Notes() {
				t.Log(note)
			}
		})
	}
}

// texts are encoded by both tokenizers of a round trip.
var texts = []string{
	"", " ", "Hello, world!", "  two spaces, and a tab\tand a line\n\nand more  ", "I've 12345 things; they're NOT it's.",
	"Привет, мир! Как дела?", "你好,世界。123", "नमस्ते दुनिया", "😀 emoji 👩‍👩‍👧 and é",
	"def f(x):\n    return x**2  # ünïcode\n",
	"a\r\nb\r\n", "ALLCAPS mixedCase snake_case 3.14159 1,000,000", "\x00\x01 control", "العربية ١٢٣", "한국어 텍스트",
}

// back writes the files of a vocabulary into a map.
func writeFiles(t *testing.T, meta *gguf.Metadata) (fstest.MapFS, []string) {
	t.Helper()
	files := fstest.MapFS{}
	notes, err := WriteHF(meta, func(name string, data []byte) error {
		if files[name] != nil {
			t.Errorf("%s is written twice", name)
		}
		files[name] = &fstest.MapFile{Data: data}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, notes
}

// sameIDs compares the tokenizers of a GGUF file and of files.
func sameIDs(t *testing.T, meta *gguf.Metadata, files fs.FS, more ...string) {
	t.Helper()
	want, err := tokenizer.FromGGUF(meta)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tokenizer.FromHFFiles(files)
	if err != nil {
		t.Fatal(err)
	}
	if want.AddBOS() != got.AddBOS() || want.AddEOS() != got.AddEOS() {
		t.Errorf("BOS %v EOS %v, want %v %v", got.AddBOS(), got.AddEOS(), want.AddBOS(), want.AddEOS())
	}
	for _, text := range slices.Concat(texts, more) {
		for _, special := range []bool{false, true} {
			if w, g := want.Encode(text, special), got.Encode(text, special); !slices.Equal(w, g) {
				t.Errorf("%q: got %v, want %v", text, g, w)
			}
		}
	}
}

func TestBackAndForth(t *testing.T) {
	for _, dir := range converttest.Models(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			config := readJSON[map[string]any](t, filepath.Join(dir, "config.json"))
			o := options(t, dir, config)
			v, err := Read(dir, config, o)
			if err != nil {
				t.Fatal(err)
			}
			var meta gguf.Metadata
			if err := v.Set(&meta); err != nil {
				t.Fatal(err)
			}
			files, notes := writeFiles(t, &meta)
			for _, note := range notes {
				t.Log(note)
			}
			sameIDs(t, &meta, files)
			again, err := ReadFiles(files, config, o)
			if err != nil {
				t.Fatal(err)
			}
			var second gguf.Metadata
			if err := again.Set(&second); err != nil {
				t.Fatal(err)
			}
			sameKeys(t, &second, &meta)
		})
	}
}

// sameKeys compares metadata; the order may be another.
func sameKeys(t *testing.T, got, want *gguf.Metadata) {
	t.Helper()
	for key, value := range want.All() {
		if g, ok := got.Get(key); !ok || !g.Equal(value) {
			t.Errorf("%s: got %v, want %v", key, g, value)
		}
	}
	for key, value := range got.All() {
		// What a kind of vocabulary does without being told is written out.
		if _, ok := want.Get(key); !ok && key != "tokenizer.ggml.add_bos_token" {
			t.Errorf("%s: got %v, want none", key, value)
		}
	}
}

// TestBackFromFullVocabularies writes whole vocabularies back and compares ids on the texts that come with them.
func TestBackFromFullVocabularies(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(testdata.Shared(t, "tokenizers"), "*.gguf"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no vocabularies: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			if info, err := os.Stat(path); err == nil && testing.Short() && info.Size() > 4<<20 {
				t.Skip("a large vocabulary takes seconds")
			}
			f, err := gguf.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if kind, _ := f.Meta.String("tokenizer.ggml.model"); kind == "bert" {
				_, err := WriteHF(f.Meta, nil)
				if err == nil || !strings.Contains(err.Error(), kind) {
					t.Errorf("got %v, want an error that names %s", err, kind)
				}
				return
			}
			files, notes := writeFiles(t, f.Meta)
			for _, note := range notes {
				t.Log(note)
			}
			inputs, err := os.ReadFile(path + ".inp")
			if err != nil {
				t.Fatal(err)
			}
			sameIDs(t, f.Meta, files, strings.Split(string(inputs), "\n__ggml_vocab_test__\n")...)
		})
	}
}

// nearer are names that are taken in place of those that the table has, because their rules are nearer to the file's.
var nearer = map[string]string{
	"smaug-bpe": "minicpm5",                // words that are tokens are these, and no BOS is added
	"gpt-4o":    "granite-embed-multi-97m", // marks are letters, and words that are tokens are these
}

// TestUnknownPreTokenizer wants the hash of a tokenizer that no table has in the error, and its rules among those that
// are offered.
func TestUnknownPreTokenizer(t *testing.T) {
	for _, dir := range converttest.Models(t) {
		path := filepath.Join(dir, "expected", "tokenizer.json")
		if !exists(path) {
			continue
		}
		t.Run(filepath.Base(dir), func(t *testing.T) {
			want := readJSON[struct {
				Pre  *string
				Hash string `json:"reduced_hash"`
			}](t, path)
			if want.Pre == nil {
				t.Skip("no pre-tokenizer is written")
			}
			config := readJSON[map[string]any](t, filepath.Join(dir, "config.json"))
			o := options(t, dir, config)
			o.PreTokenizer = ""
			_, err := Read(dir, config, o)
			if err == nil {
				t.Fatal("no error")
			}
			// The class of this one adds BOS, which the recorded hash does not have.
			if filepath.Base(dir) != "DeepSeek-V3-Tiny-0324" && !strings.Contains(err.Error(), want.Hash) {
				t.Errorf("%v: want the hash %s", err, want.Hash)
			}
			if !offers(err, *want.Pre) {
				t.Errorf("%v: want %s among the names", err, *want.Pre)
			}
			o.Force = true
			v, err := Read(dir, config, o)
			if err != nil {
				t.Fatal(err)
			}
			is, err := tokenizer.RulesOf(v.pre)
			if err != nil {
				t.Fatal(err)
			}
			of, err := tokenizer.RulesOf(*want.Pre)
			if err != nil {
				t.Fatal(err)
			}
			if name, ok := nearer[*want.Pre]; v.pre != name && (ok || !slices.Equal(is.Stages, of.Stages)) {
				t.Errorf("%s was taken, whose rules are not those of %s", v.pre, *want.Pre)
			}
			if len(v.Notes()) != 1 || !strings.Contains(v.Notes()[0], v.pre) {
				t.Errorf("notes %q, want one that names %s", v.Notes(), v.pre)
			}
		})
	}
}

// offers reports whether a name is one of those in the text of an error.
func offers(err error, name string) bool {
	words := strings.FieldsFunc(err.Error(), func(r rune) bool { return strings.ContainsRune(" ,;", r) })
	return slices.Contains(words, name)
}
