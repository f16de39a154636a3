package export

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/names"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/virtual"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
)

// ollamaStore makes an empty store that is the one of this test.
func ollamaStore(t *testing.T) names.OllamaStore {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("OLLAMA_MODELS", dir)
	return names.OllamaStore{Dir: dir}
}

// readModel reads a model of a store: the content of its layers by type, each with the hash that its name promises.
func readModel(t *testing.T, store names.OllamaStore, text string) (layers map[string][]byte, m *names.OllamaManifest) {
	t.Helper()
	name, err := names.ParseOllamaName(text)
	if err != nil {
		t.Fatal(err)
	}
	path, err := store.ManifestPath(name)
	if err != nil {
		t.Fatal(err)
	}
	if m, err = names.ReadManifest(path); err != nil {
		t.Fatal(err)
	}
	if m.SchemaVersion != 2 || m.MediaType != names.OllamaList || m.Config.MediaType != names.OllamaConfig {
		t.Errorf("the manifest is %+v", m)
	}
	layers = map[string][]byte{}
	for _, layer := range append(slices.Clone(m.Layers), m.Config) {
		blob, err := store.BlobPath(layer.Digest)
		if err != nil {
			t.Fatal(err)
		}
		data := pefttest.FileBytes(t, blob)
		if layer.Size != int64(len(data)) || layer.Digest != fmt.Sprintf("sha256:%x", sha256.Sum256(data)) {
			t.Errorf("layer %+v has %d bytes of another hash", layer, len(data))
		}
		layers[layer.MediaType] = data
	}
	return layers, m
}

// trainedLoRA is an adapter over a base, scaled by 1.
func trainedLoRA(t *testing.T, b *attach.Base) []peft.Scaled {
	return pefttest.Scaled([]attach.Scaled{{Adapter: pefttest.Trained(t, b, method.LoRA{}), Scale: 1}})
}

// TestOllamaStore puts a base into a store, opens it there by name, and puts an adapter over it.
func TestOllamaStore(t *testing.T) {
	store := ollamaStore(t)
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	alone := OllamaOptions{Create: "me/tiny:v1", Template: "{{ .Prompt }}!", System: "Be brief.",
		Parameters: []string{"temperature=0.5", "num_ctx=64", "stop=[a]", "stop=b", "use_mmap=false"}}
	r, err := Ollama(pefttest.Base(b), nil, "", Options{Ollama: alone})
	if err != nil || r.Name != "me/tiny:v1" || r.Store != store.Dir || len(r.Files) != 5 {
		t.Fatalf("%+v, %v", r, err)
	}
	layers, _ := readModel(t, store, "me/tiny:v1")
	for kind, want := range map[string]string{
		names.OllamaModel:    string(pefttest.FileBytes(t, b.Path)),
		names.OllamaTemplate: "{{ .Prompt }}!",
		names.OllamaSystem:   "Be brief.",
		names.OllamaParams:   `{"num_ctx":64,"stop":["[a]","b"],"temperature":0.5,"use_mmap":false}`,
	} {
		if string(layers[kind]) != want {
			t.Errorf("%s is %.80q, expected %.80q", kind, layers[kind], want)
		}
	}
	var config struct {
		Format   string   `json:"model_format"`
		Family   string   `json:"model_family"`
		Families []string `json:"model_families"`
		Size     string   `json:"model_type"`
		FileType string   `json:"file_type"`
		OS       string   `json:"os"`
		RootFS   struct {
			IDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(layers[names.OllamaConfig], &config); err != nil || config.Format != "gguf" ||
		config.Family != b.Architecture() || len(config.Families) != 1 || config.Size == "" || config.FileType != "Q4_K_M" ||
		config.OS != "linux" || len(config.RootFS.IDs) != 4 {
		t.Errorf("the configuration is %s, %v", layers[names.OllamaConfig], err)
	}

	found, err := names.Resolve("ollama:me/tiny:v1")
	if err != nil {
		t.Fatal(err)
	}
	own := pefttest.OpenBase(t, found)
	r, err = Ollama(pefttest.Base(own), trainedLoRA(t, own), "", Options{LoRA: LoRAOptions{Type: gguf.F32},
		Ollama: OllamaOptions{Create: "tuned", Parameters: []string{"temperature=1"}}})
	if err != nil {
		t.Fatal(err)
	}
	tuned, m := readModel(t, store, "tuned")
	for _, kind := range []string{names.OllamaModel, names.OllamaTemplate, names.OllamaSystem} {
		if string(tuned[kind]) != string(layers[kind]) {
			t.Errorf("%s is not the base's", kind)
		}
	}
	if got := string(tuned[names.OllamaParams]); !strings.Contains(got, `"temperature":1`) || !strings.Contains(got, `"[a]"`) {
		t.Errorf("the parameters are %s", got)
	}
	if _, err := gguf.Parse(tuned[names.OllamaAdapter]); err != nil {
		t.Errorf("the adapter is no GGUF file: %v", err)
	}
	if m.Layers[0].From != "me/tiny:v1" {
		t.Errorf("the model's layer is %+v", m.Layers[0])
	}
	if left, _ := filepath.Glob(filepath.Join(store.Dir, ".*")); left != nil || r.Note != "" {
		t.Errorf("%v is left in the store; note %q", left, r.Note)
	}
}

// TestOllamaNameTaken: a name that is taken stays as it is without force, and a failure leaves no blobs.
func TestOllamaNameTaken(t *testing.T) {
	store := ollamaStore(t)
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	create := func(opt OllamaOptions) error {
		_, err := Ollama(pefttest.Base(b), nil, "", Options{Ollama: opt})
		return err
	}
	if err := create(OllamaOptions{Create: "tiny", System: "one"}); err != nil {
		t.Fatal(err)
	}
	blobs := func() int {
		entries, err := os.ReadDir(filepath.Join(store.Dir, "blobs"))
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := blobs()
	if err := create(OllamaOptions{Create: "Tiny", System: "two"}); !errors.Is(err, ErrTaken) {
		t.Errorf("%v, expected that the name is taken", err)
	}
	path := filepath.Join(store.Dir, "manifests", "registry.ollama.ai", "library", "other", "latest")
	if err := os.MkdirAll(path, 0o755); err != nil { // no manifest can be written there
		t.Fatal(err)
	}
	if err := create(OllamaOptions{Create: "other", System: "three", Force: true}); err == nil {
		t.Error("a manifest replaced a directory")
	}
	if n := blobs(); n != before {
		t.Errorf("%d blobs after two failures, before %d", n, before)
	}
	if err := create(OllamaOptions{Create: "tiny", System: "two", Force: true}); err != nil {
		t.Error(err)
	}
	if layers, _ := readModel(t, store, "tiny"); string(layers[names.OllamaSystem]) != "two" {
		t.Errorf("the system prompt is %q", layers[names.OllamaSystem])
	}
}

// TestModelfile reads the Modelfiles of a base outside of a store and in one.
func TestModelfile(t *testing.T) {
	ollamaStore(t)
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	prompt, err := virtual.NewPromptTuning(b, method.PromptTuning{VirtualTokens: 2})
	if err != nil {
		t.Fatal(err)
	}
	virtualTokens := pefttest.Scaled([]attach.Scaled{{Adapter: prompt, Scale: 1}})
	set := OllamaOptions{Template: "{{ .System }}\n{{ .Prompt }}", System: ` "quoted" `,
		Parameters: []string{"stop=a b", "stop=c", "temperature=0.25"}}
	const setText = "SYSTEM \"\"\" \"quoted\" \"\"\"\nPARAMETER stop a b\nPARAMETER stop c\nPARAMETER temperature 0.25\n"
	_, err = Ollama(pefttest.Base(b), nil, "", Options{Ollama: OllamaOptions{Create: "tiny", Template: "T {{ .Prompt }}"}})
	if err != nil {
		t.Fatal(err)
	}
	found, err := names.Resolve("ollama:tiny")
	if err != nil {
		t.Fatal(err)
	}
	own := pefttest.OpenBase(t, found)
	for _, c := range []struct {
		name     string
		base     *attach.Base
		adapters []peft.Scaled
		opt      OllamaOptions
		text     string
		files    []string
		note     string
	}{
		{"alone", b, nil, OllamaOptions{}, "FROM " + b.Path + "\n", nil, ""},
		{"lora", b, trainedLoRA(t, b), OllamaOptions{}, "FROM " + b.Path + "\nADAPTER ./adapter.gguf\n",
			[]string{"adapter.gguf"}, ""},
		{"set", b, nil, set, "FROM " + b.Path + "\nTEMPLATE \"\"\"{{ .System }}\n{{ .Prompt }}\"\"\"\n" + setText, nil, ""},
		{"virtual tokens", b, virtualTokens, OllamaOptions{}, "FROM ./model.gguf\n", []string{"model.gguf"},
			"begins with <pt_0><pt_1>"},
		{"of the store", own, trainedLoRA(t, own), OllamaOptions{}, "FROM tiny:latest\nADAPTER ./adapter.gguf\n",
			[]string{"adapter.gguf"}, ""},
		{"of the store, virtual tokens", own, virtualTokens, OllamaOptions{},
			"FROM ./model.gguf\nTEMPLATE <pt_0><pt_1>T {{ .Prompt }}\n", []string{"model.gguf"}, ""},
	} {
		dir := filepath.Join(t.TempDir(), "out")
		r, err := Ollama(pefttest.Base(c.base), c.adapters, dir, Options{Ollama: c.opt, LoRA: LoRAOptions{Type: gguf.F32}})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if text := string(pefttest.FileBytes(t, filepath.Join(dir, "Modelfile"))); text != c.text {
			t.Errorf("%s: the Modelfile is\n%s\nexpected\n%s", c.name, text, c.text)
		}
		entries, _ := os.ReadDir(dir)
		if len(entries) != 1+len(c.files) || !slices.Equal(r.Files, append([]string{"Modelfile"}, c.files...)) ||
			!strings.HasSuffix(r.Note, c.note) {
			t.Errorf("%s: %v, report %+v", c.name, entries, r)
		}
		for _, file := range c.files {
			if f, err := gguf.Open(filepath.Join(dir, file)); err != nil {
				t.Errorf("%s: %v", c.name, err)
			} else {
				f.Close()
			}
		}
	}
}

// TestOllamaErrors wants what Ollama cannot load to be refused, and nothing to be left.
func TestOllamaErrors(t *testing.T) {
	ollamaStore(t)
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	prefix, err := newPrefix(b, 2)
	if err != nil {
		t.Fatal(err)
	}
	lora := trainedLoRA(t, b)
	for _, c := range []struct {
		adapters []peft.Scaled
		opt      OllamaOptions
		want     string
	}{
		{pefttest.Scaled([]attach.Scaled{{Adapter: prefix, Scale: 1}}), OllamaOptions{}, "keys and values"},
		{append(lora, lora...), OllamaOptions{}, "combine them"},
		{[]peft.Scaled{{Adapter: lora[0].Adapter, Scale: 0.5}}, OllamaOptions{}, "a scale of 0.5"},
		{nil, OllamaOptions{Parameters: []string{"temperature"}}, "expected NAME=VALUE"},
		{nil, OllamaOptions{Parameters: []string{"seed=1", "seed=2"}}, "given twice"},
		{nil, OllamaOptions{Template: `a """ b`}, "no Modelfile can hold"},
		{nil, OllamaOptions{Create: "../x"}, "no name of a model"},
	} {
		dir := t.TempDir()
		_, err := Ollama(pefttest.Base(b), c.adapters, filepath.Join(dir, "out"), Options{Ollama: c.opt,
			LoRA: LoRAOptions{Type: gguf.F32}})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v gives %v, expected %q", c.opt, err, c.want)
		}
		pefttest.CheckEmpty(t, dir)
	}
}

// TestRoundedNumber: numbers of weights as Ollama shows them.
func TestRoundedNumber(t *testing.T) {
	for n, want := range map[float64]string{7e9: "7B", 1.24e9: "1.2B", 12_340_000: "12.34M", 260_032: "260K", 999: "999"} {
		if got := roundedNumber(n); got != want {
			t.Errorf("%v is shown as %s, expected %s", n, got, want)
		}
	}
}
