package names

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"unicode/utf8"
)

// FuzzLMStudio reads settings of LM Studio, and again what they name.
func FuzzLMStudio(f *testing.F) {
	f.Add([]byte(`{"downloadsFolder": "~/chosen", "language": "en"}`))
	f.Add([]byte(`{"downloadsFolder": 1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		folder := parseSettings(text)
		if !utf8.ValidString(folder) {
			t.Fatalf("the folder is %q", folder)
		}
		again, err := json.Marshal(map[string]string{"downloadsFolder": folder})
		if err != nil {
			t.Fatal(err)
		}
		if got := parseSettings(again); got != folder {
			t.Fatalf("%q, and again %q", folder, got)
		}
		if _, err := expand(folder); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzOllama reads manifests and names. What names a blob or a manifest stays in the store.
func FuzzOllama(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"sha256:`+"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"+
		`"},"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:../x","size":-1}]}`), "a/b:c")
	f.Add([]byte(`{}`), "registry.example:5000/ns/model:tag")
	store := OllamaStore{Dir: f.TempDir()}
	inside := func(path string) bool {
		rel, err := filepath.Rel(store.Dir, path)
		return err == nil && filepath.IsLocal(rel)
	}
	f.Fuzz(func(t *testing.T, text []byte, name string) {
		if n, err := ParseOllamaName(name); err == nil {
			if path, err := store.ManifestPath(n); err == nil && !inside(path) {
				t.Fatalf("the manifest of %q is %s", name, path)
			}
			if again, err := ParseOllamaName(n.String()); err != nil || again != n {
				t.Fatalf("%q is %+v, and again %+v: %v", name, n, again, err)
			}
		}
		m, err := parseManifest(text)
		if err != nil {
			return
		}
		for _, layer := range append(m.Layers, m.Config) {
			if path, err := store.BlobPath(layer.Digest); err == nil && !inside(path) {
				t.Fatalf("the blob %q is %s", layer.Digest, path)
			}
		}
	})
}
