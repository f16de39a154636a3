package names

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// tree makes files under a directory, and links where the text begins with "-> ".
func tree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			if err = os.Symlink(filepath.FromSlash(target), path); err != nil && runtime.GOOS == "windows" {
				t.Skip("links cannot be made here: ", err)
			}
		} else {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// emptyHome makes an empty home directory, in which all programs have their folders at the default places.
func emptyHome(t *testing.T) string {
	dir := t.TempDir()
	for _, variable := range []string{"HOME", "USERPROFILE"} {
		t.Setenv(variable, dir)
	}
	for _, variable := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME",
		"OLLAMA_MODELS", "APPDATA"} {
		t.Setenv(variable, "")
	}
	return dir
}

// found is a name and the path that it stands for, from the home directory; "" for an error that has all the words.
type found struct {
	name, path string
	words      []string
}

func checkFound(t *testing.T, home string, cases []found) {
	t.Helper()
	for _, c := range cases {
		got, err := Resolve(c.name)
		if c.path != "" {
			if want := filepath.Join(home, filepath.FromSlash(c.path)); err != nil || got != want {
				t.Errorf("%s: %q, %v, expected %s", c.name, got, err, want)
			}
			continue
		}
		if err == nil {
			t.Errorf("%s: %s, expected an error", c.name, got)
			continue
		}
		for _, word := range append(c.words, c.name) {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: %v\nexpected %q", c.name, err, word)
			}
		}
	}
}

// Commits of the test's repositories.
const (
	commitA = "0123456789abcdef0123456789abcdef01234567"
	commitB = "89abcdef0123456789abcdef0123456789abcdef"
)

// hub is a cache as the Hub's library leaves it: contents under blobs, links to them in snapshots.
func hub() map[string]string {
	const tiny, quants = "models--acme--tiny/", "models--acme--tiny-GGUF/snapshots/" + commitA + "/"
	return map[string]string{
		tiny + "blobs/b1": "{}", tiny + "blobs/b2": "weights",
		tiny + "refs/main": commitA, tiny + "refs/pr/1": commitB + "\n",
		tiny + "snapshots/" + commitA + "/config.json":       "-> ../../blobs/b1",
		tiny + "snapshots/" + commitA + "/model.safetensors": "-> ../../blobs/b2",
		tiny + "snapshots/" + commitB + "/config.json":       "-> ../../blobs/b1",
		tiny + "snapshots/" + commitB + "/model.safetensors": "-> ../../blobs/gone",
		"models--acme--tiny-GGUF/refs/main":                  commitA,
		quants + "tiny-Q4_K_M.gguf":                          "GGUF", quants + "tiny-q8_0.gguf": "GGUF",
		quants + "mmproj-tiny-f16.gguf":                       "GGUF",
		quants + "big/tiny-F32-00001-of-00002.gguf":           "GGUF",
		quants + "big/tiny-F32-00002-of-00002.gguf":           "GGUF",
		"models--lone/refs/main":                              commitA,
		"models--lone/snapshots/" + commitA + "/lone.gguf":    "GGUF",
		"models--acme--words/refs/main":                       commitA,
		"models--acme--words/snapshots/" + commitA + "/x.bin": "",
		"models--acme--begun/blobs/b.incomplete":              "",
		"datasets--acme--tiny/refs/main":                      commitA,
	}
}

func TestHuggingFace(t *testing.T) {
	const place = ".cache/huggingface/hub/"
	home := emptyHome(t)
	tree(t, filepath.Join(home, filepath.FromSlash(place)), hub())
	const a, b = place + "models--acme--tiny/snapshots/" + commitA, place + "models--acme--tiny/snapshots/" + commitB
	const quants = place + "models--acme--tiny-GGUF/snapshots/" + commitA
	checkFound(t, home, []found{
		{"hf:acme/tiny", a, nil},
		{"hf:ACME/Tiny", a, nil},
		{"hf:acme/tiny@main", a, nil},
		{"hf:acme/tiny@" + commitA, a, nil},
		{"hf:acme/tiny@0123456", a, nil},
		{"hf:acme/tiny:model.safetensors", a + "/model.safetensors", nil},
		{"hf:acme/tiny@refs/main", "", []string{"no revision refs/main", "main, pr/1", "--revision refs/main"}},
		{"hf:acme/tiny@pr/1:config.json", b + "/config.json", nil},
		{"hf:acme/tiny@pr/1/config.json", b + "/config.json", nil},
		{"hf:acme/tiny@pr/1", "", []string{"in part", "model.safetensors", "hf download acme/tiny"}},
		{"hf:acme/tiny@pr", "", []string{"no revision pr", "pr/1"}},
		{"hf:acme/tiny@012345", "", []string{"no revision 012345"}},
		{"hf:acme/tiny:Q4_0", "", []string{`no file "Q4_0"`, "config.json, model.safetensors"}},
		{"hf:acme/tiny-GGUF/tiny-Q4_K_M.gguf", quants + "/tiny-Q4_K_M.gguf", nil},
		{"hf:acme/tiny-GGUF:tiny-q4_k_m.gguf", quants + "/tiny-Q4_K_M.gguf", nil},
		{"hf:acme/tiny-GGUF:Q8_0", quants + "/tiny-q8_0.gguf", nil},
		{"hf:acme/tiny-GGUF@main:Q8_0", quants + "/tiny-q8_0.gguf", nil},
		{"hf:acme/tiny-GGUF@main/tiny-q8_0.gguf", quants + "/tiny-q8_0.gguf", nil},
		{"hf:acme/tiny-GGUF:F32", quants + "/big/tiny-F32-00001-of-00002.gguf", nil},
		{"hf:acme/tiny-GGUF:big/tiny-F32-00001-of-00002.gguf", quants + "/big/tiny-F32-00001-of-00002.gguf", nil},
		{"hf:acme/tiny-GGUF:Q4_K", "", []string{`no file "Q4_K"`, "tiny-Q4_K_M.gguf"}},
		{"hf:acme/tiny-GGUF", "", []string{"several files", "tiny-Q4_K_M.gguf, tiny-q8_0.gguf"}},
		{"hf:lone", place + "models--lone/snapshots/" + commitA + "/lone.gguf", nil},
		{"hf:lone/lone.gguf", place + "models--lone/snapshots/" + commitA + "/lone.gguf", nil},
		{"hf:acme/tinny", "", []string{"hub", "acme/tiny", "hf download acme/tinny", "huggingface-cli download"}},
		{"hf:acme/words", "", []string{"neither safetensors nor GGUF", "x.bin", commitA}},
		{"hf:acme/begun", "", []string{"no revision yet"}},
		{"hf:", "", []string{"expected hf:ORG/NAME"}},
		{"hf:../../etc", "", []string{"expected hf:ORG/NAME"}},
		{"hf:acme/tiny:../../x", "", []string{"expected hf:ORG/NAME"}},
		{"hf:acme/tiny@..", "", []string{"expected hf:ORG/NAME"}},
	})
}

// TestHubPlaces: which folder is the cache, by the variables that the Hub's own library reads.
func TestHubPlaces(t *testing.T) {
	for _, c := range []struct{ variable, value, folder string }{
		{"HF_HUB_CACHE", "~/a", "a"},
		{"HUGGINGFACE_HUB_CACHE", "~/b", "b"},
		{"HF_HOME", "~/c", "c/hub"},
		{"XDG_CACHE_HOME", "~/d", "d/huggingface/hub"},
	} {
		home := emptyHome(t)
		checkFound(t, home, []found{{"hf:acme/tiny", "", []string{"which has no models",
			filepath.Join(home, ".cache", "huggingface", "hub")}}})
		t.Setenv(c.variable, c.value)
		tree(t, filepath.Join(home, filepath.FromSlash(c.folder)), hub())
		checkFound(t, home, []found{
			{"hf:acme/tiny", c.folder + "/models--acme--tiny/snapshots/" + commitA, nil},
			{"hf:none/none", "", []string{filepath.Join(home, filepath.FromSlash(c.folder))}},
		})
	}
}

// manifestOf is a manifest with one model layer, and the path of its blob in a store.
func manifestOf(digit string) (text, blob string) {
	hex := strings.Repeat(digit, 64)
	return `{"schemaVersion":2,"layers":[{"mediaType":"application/vnd.ollama.image.license","digest":"sha256:` +
			strings.Repeat("f", 64) + `"},{"mediaType":"` + OllamaModel + `","digest":"sha256:` + hex + `","size":4}]}`,
		"blobs/sha256-" + hex
}

func TestOllama(t *testing.T) {
	const place = ".ollama/models/"
	home := emptyHome(t)
	m1, b1 := manifestOf("1")
	m2, b2 := manifestOf("2")
	m3, _ := manifestOf("3")
	tree(t, filepath.Join(home, ".ollama", "models"), map[string]string{
		"manifests/registry.ollama.ai/library/llama3.2/latest":   m1,
		"manifests/registry.ollama.ai/library/llama3.2/1b":       m2,
		"manifests/registry.ollama.ai/someone/tuned/v1":          m2,
		"manifests/hf.co/acme/tiny-GGUF/Q4_K_M":                  m1,
		"manifests/registry.ollama.ai/library/gone/latest":       m3,
		"manifests/registry.ollama.ai/library/bad/latest":        "<html>",
		"manifests/registry.ollama.ai/library/remote/latest":     `{"layers":[{"mediaType":"application/x"}]}`,
		"manifests/registry.ollama.ai/library/hurt/latest":       strings.Replace(m1, "sha256:1", "sha256:../1", 1),
		"manifests/registry.ollama.ai/library/llama3.2/.partial": "",
		"manifests/registry.ollama.ai/library/a-lora/latest": strings.Replace(m2, `"layers":[`,
			`"layers":[{"mediaType":"`+OllamaAdapter+`","digest":"sha256:`+strings.Repeat("a", 64)+`"},`, 1),
		b1: "GGUF", b2: "GGUF",
	})
	checkFound(t, home, []found{
		{"ollama:llama3.2", place + b1, nil},
		{"ollama:Llama3.2:1B", place + b2, nil},
		{"ollama:library/llama3.2:latest", place + b1, nil},
		{"ollama:someone/tuned:v1", place + b2, nil},
		{"ollama:hf.co/acme/tiny-gguf:q4_k_m", place + b1, nil},
		{"ollama:registry.ollama.ai/library/llama3.2", place + b1, nil},
		{"ollama:llama3.3", "", []string{filepath.Join(home, ".ollama", "models"), "llama3.2:1b, llama3.2:latest",
			"ollama pull llama3.3:latest", "OLLAMA_MODELS"}},
		{"ollama:gone", "", []string{"is not there"}},
		{"ollama:a-lora", "", []string{"a base with an adapter", filepath.FromSlash(b2), "sha256-aaaa"}},
		{"ollama:bad", "", []string{"not a manifest"}},
		{"ollama:remote", "", []string{"no GGUF file", "application/x"}},
		{"ollama:hurt", "", []string{"no digest"}},
		{"ollama:", "", []string{"no name of a model"}},
		{"ollama:../x", "", []string{"no name of a model"}},
	})
	store, name, m, ok := OllamaModelOf(filepath.Join(home, filepath.FromSlash(place+b2)))
	if !ok || name.String() != "llama3.2:1b" || len(m.Layers) != 2 ||
		store.Dir != filepath.Join(home, ".ollama", "models") {
		t.Errorf("the blob is of %v in %v, %v", name, store, ok)
	}
	if _, _, _, ok := OllamaModelOf(filepath.Join(home, "model.gguf")); ok {
		t.Error("a file outside of a store is taken for a blob")
	}
	elsewhere := t.TempDir()
	t.Setenv("OLLAMA_MODELS", elsewhere)
	checkFound(t, home, []found{{"ollama:llama3.2", "", []string{elsewhere, "which has no models"}}})
}

func TestLMStudio(t *testing.T) {
	home := emptyHome(t)
	models := map[string]string{
		"acme/tiny-GGUF/tiny-Q4_K_M.gguf": "GGUF", "acme/tiny-GGUF/tiny-Q8_0.gguf": "GGUF",
		"acme/eyes/eyes.gguf": "GGUF", "acme/eyes/mmproj-eyes.gguf": "GGUF", "acme/mlx/model.safetensors": "",
	}
	tree(t, filepath.Join(home, ".cache", "lm-studio", "models"), models)
	const old = ".cache/lm-studio/models/"
	checkFound(t, home, []found{
		{"lmstudio:acme/tiny-GGUF/tiny-Q4_K_M.gguf", old + "acme/tiny-GGUF/tiny-Q4_K_M.gguf", nil},
		{"lmstudio:Acme/tiny-gguf/q8_0", old + "acme/tiny-GGUF/tiny-Q8_0.gguf", nil},
		{"lmstudio:acme/eyes", old + "acme/eyes/eyes.gguf", nil},
		{"lmstudio:acme/mlx", old + "acme/mlx", nil},
		{"lmstudio:acme/tiny-GGUF", "", []string{"several files", "tiny-Q4_K_M.gguf"}},
		{"lmstudio:acme/tiny", "", []string{filepath.Join(home, ".lmstudio", "models"), "acme/tiny-GGUF",
			"lms get acme/tiny"}},
		{"lmstudio:acme", "", []string{"expected lmstudio:"}},
		{"lmstudio:../../x", "", []string{"expected lmstudio:"}},
	})
	tree(t, home, map[string]string{".lmstudio-home-pointer": filepath.Join(home, "studio") + "\n"})
	tree(t, filepath.Join(home, "studio", "models"), models)
	checkFound(t, home, []found{{"lmstudio:acme/eyes", "studio/models/acme/eyes/eyes.gguf", nil}})
	tree(t, home, map[string]string{"studio/settings.json": `{"downloadsFolder": "~/chosen"}`})
	tree(t, filepath.Join(home, "chosen"), models)
	checkFound(t, home, []found{{"lmstudio:acme/eyes", "chosen/acme/eyes/eyes.gguf", nil}})
}

// TestPaths: what is no name, or exists, stays as it is.
func TestPaths(t *testing.T) {
	emptyHome(t)
	t.Chdir(t.TempDir())
	for _, path := range []string{"model.gguf", "", "dir/model.gguf", `C:\models\x.gguf`, "other:acme/tiny"} {
		if got, err := Resolve(path); err != nil || got != path {
			t.Errorf("%q: %q, %v", path, got, err)
		}
	}
	if runtime.GOOS != "windows" { // where no file has a colon in its name
		tree(t, ".", map[string]string{"hf:x/y": "", "ollama:z": ""})
		for _, path := range []string{"hf:x/y", "ollama:z"} {
			if got, err := Resolve(path); err != nil || got != path {
				t.Errorf("%q: %q, %v, expected the file", path, got, err)
			}
		}
	}
	if _, err := Resolve("hf:a/b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not of the kind of files that are not there", err)
	}
}

// TestNear: the names that an error lists are those most like the one that was looked for.
func TestNear(t *testing.T) {
	list := []string{"acme/other", "acme/tiny-chat", "org/tiny"}
	if got := near(list, "acme/tiny"); !slices.Equal(got, []string{"acme/tiny-chat", "acme/other", "org/tiny"}) {
		t.Errorf("near: %v", got)
	}
	if got := near(list, "zzz"); !slices.Equal(got, list) {
		t.Errorf("none is near: %v", got)
	}
	many := slices.Repeat([]string{"m"}, mostListed+3)
	if got := some(many); !strings.HasSuffix(got, "m and 3 more") {
		t.Errorf("many: %s", got)
	}
}

// TestRepository finds the repository of paths in and outside of a cache.
func TestRepository(t *testing.T) {
	for path, want := range map[string]string{
		"/cache/hub/models--acme--tiny-model/snapshots/0123/model.safetensors": "acme/tiny-model",
		"/cache/hub/models--lone/snapshots/0123":                               "lone",
		"/home/me/model":                                                       "",
	} {
		if got := Repository(filepath.FromSlash(path)); got != want {
			t.Errorf("%s: %q, expected %q", path, got, want)
		}
	}
}
