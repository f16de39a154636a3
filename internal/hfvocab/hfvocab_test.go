package hfvocab

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/converttest"
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
