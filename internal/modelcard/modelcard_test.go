package modelcard

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/converttest"
)

// count counts the parameters of a file.
func count(form *converttest.Form) Parameters {
	var tensors []gguf.Tensor
	for _, tensor := range form.Tensors {
		tensors = append(tensors, gguf.Tensor{Name: tensor.Name, Shape: tensor.Shape})
	}
	return Count(tensors)
}

// isCard is true of the keys that a card sets.
func isCard(key string) bool {
	others := []string{"general.architecture", "general.type", "general.file_type", "general.quantization_version"}
	return strings.HasPrefix(key, general) && !slices.Contains(others, key)
}

func readConfig(t *testing.T, dir string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(data, &config); err != nil {
		t.Fatal(err)
	}
	return config
}

func TestReference(t *testing.T) {
	for _, dir := range converttest.Models(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) { compare(t, dir, readConfig(t, dir)) })
	}
}

func TestReferenceAdapters(t *testing.T) {
	for _, dir := range converttest.Adapters(t) {
		t.Run(filepath.Base(dir), func(t *testing.T) { compare(t, dir, nil) })
	}
}

// compare compares a card with all files that the reference made of a directory.
func compare(t *testing.T, dir string, config map[string]any) {
	card, err := Read(dir, config, Options{})
	if err != nil {
		t.Fatal(err)
	}
	forms := converttest.Forms(t, dir)
	for name, form := range forms {
		var meta gguf.Metadata
		if err := card.Set(&meta, count(form)); err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) { form.Metadata(t, &meta, isCard) })
	}
}

func TestCutName(t *testing.T) {
	const small, large = 100_000, 8_000_000_000
	for _, c := range []struct {
		id     string
		params int64
		want   parts
	}{
		{"Qwen3-0.6B", 0, parts{name: "Qwen3-0.6B", basename: "Qwen3", sizeLabel: "0.6B"}},
		{"Qwen/Qwen3-30B-A3B-Instruct-2507", 0, parts{organization: "Qwen", name: "Qwen3-30B-A3B-Instruct-2507",
			basename: "Qwen3", sizeLabel: "30B-A3B", finetune: "Instruct", version: "2507"}},
		{"mistralai/Mixtral-8x7B-v0.1", 0, parts{organization: "mistralai", name: "Mixtral-8x7B-v0.1",
			basename: "Mixtral", sizeLabel: "8x7B", version: "v0.1"}},
		{"bigscience/bloom-7b1-petals", 0, parts{organization: "bigscience", name: "bloom-7b1-petals",
			basename: "bloom", sizeLabel: "7.1B", finetune: "petals"}},
		{"stablelm-2-1_6b-chat", 0, parts{name: "stablelm-2-1_6b-chat", basename: "stablelm-2", sizeLabel: "1.6B",
			finetune: "chat"}},
		{"Phi-3-mini-4k-instruct", 3_800_000_000, parts{name: "Phi-3-mini-4k-instruct", basename: "Phi-3",
			sizeLabel: "mini", finetune: "4k-instruct"}},
		{"Phi-3-mini-4k-instruct", 0, parts{name: "Phi-3-mini-4k-instruct", basename: "Phi-3-mini",
			sizeLabel: "4K", finetune: "instruct"}},
		{"gpt2-medium", 0, parts{name: "gpt2-medium", basename: "gpt2", sizeLabel: "medium"}},
		{"gpt2-xl", 0, parts{name: "gpt2-xl", basename: "gpt2", sizeLabel: "xl"}},
		{"Llama-3-8B", small, parts{name: "Llama-3-8B", basename: "Llama-3", finetune: "8b"}},
		{"Llama-3-8B", large, parts{name: "Llama-3-8B", basename: "Llama-3", sizeLabel: "8B"}},
		{"Llama-3-8B-lora", -small, parts{name: "Llama-3-8B-lora", basename: "Llama-3", sizeLabel: "8B"}},
		{"Llama-3-8K-lora", -small, parts{name: "Llama-3-8K-lora", basename: "Llama-3", finetune: "8k"}},
		{"Llama-3-8B-lora", large, parts{name: "Llama-3-8B-lora", basename: "Llama-3", sizeLabel: "8B",
			finetune: "lora"}},
		{"Tiny-Llama-Test-1M", 112_000, parts{name: "Tiny-Llama-Test-1M", basename: "Tiny-Llama-Test",
			finetune: "1m"}},
		{"Model-7B-7B-v2-v3", 0, parts{name: "Model-7B-7B-v2-v3", basename: "Model", sizeLabel: "7B",
			version: "v2-v3"}},
		{"Model-q4_k_m-fp16-7B", 0, parts{name: "Model-q4_k_m-fp16-7B", basename: "Model", sizeLabel: "7B"}},
		{"Model-iter2", 0, parts{name: "Model-iter2", basename: "Model", version: "iter2"}},
		{"7B-Model", 0, parts{name: "7B-Model", finetune: "7B-Model"}},
		{"model", 0, parts{name: "model"}},
		{"a--b-", 0, parts{name: "a--b-"}},
		{"A name for people 7B", 0, parts{name: "A name for people 7B"}},
		{"../Qwen3-0.6B", 0, parts{name: "Qwen3-0.6B", basename: "Qwen3", sizeLabel: "0.6B"}},
		{"", 0, parts{}},
	} {
		if got := cutName(c.id, c.params); got != c.want {
			t.Errorf("%s of %d: got %+v, want %+v", c.id, c.params, got, c.want)
		}
	}
}

func TestTitle(t *testing.T) {
	for name, want := range map[string]string{
		"Qwen3-0.6B": "Qwen3 0.6B", "smollm2-135m": "Smollm2 135m", "c4ai-command-r": "C4Ai Command R",
		"the_pile": "The_Pile", "gemma-2b-it-v1.1": "Gemma 2b It v1.1", "OLMo-2": "OLMo 2", "": "", "123": "123",
	} {
		if got := title(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestRounded(t *testing.T) {
	for n, want := range map[int64]string{
		1_240_000_000: "1.2B", 26_500_000_000: "26B", 596_000_000: "596M", 9_960_000: "10M", 96_000: "96K",
		1_500: "1.5K", 120: "0.12K", 0: "0.00K", 1_000_000_000_000: "1.0T", -7_000_000_000: "7.0B",
	} {
		if got := rounded(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

// write makes a directory of files, by their names.
func write(t *testing.T, name string, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// lines are the keys and values of a card, one a line.
func lines(t *testing.T, card *Card, p Parameters) []string {
	t.Helper()
	var meta gguf.Metadata
	if err := card.Set(&meta, p); err != nil {
		t.Fatal(err)
	}
	var all []string
	for key, value := range meta.All() {
		all = append(all, strings.TrimPrefix(key, general)+"="+value.String())
	}
	return all
}

const front = `---
version: 1.10
author: yes
language:
- en
- no
-	de
license: &l [mit, other]
license_link: ~
tags: single
base_model: {name: A, repo_url: B, other: C}
datasets:
doi: 10.5/x
---
# text
`

func TestPrecedence(t *testing.T) {
	dir := write(t, "Dir-7B-Chat", map[string]string{
		"README.md":              front,
		"generation_config.json": `{"top_k": 5, "temperature": 1, "top_p": null, "repetition_penalty": 1.5}`,
		"over.json": `{"general.version": null, "general.url": "u", "general.tags": ["x"], "general.wrong": 1,
			"general.sampling.top_k": 6, "general.sampling.temp": null, "general.datasets": [{"name": "D"}]}`,
	})
	config := map[string]any{"_name_or_path": "owner/Config-3B"}
	readme := []string{`sampling.top_k=5`, `sampling.temp=1`, `sampling.penalty_repeat=1.5`, `name="Config 3B"`,
		`author="yes"`, `version="1.10"`, `organization="Owner"`, `finetune="Chat"`, `basename="Config"`,
		`size_label="3B"`, `license="mit,other"`, `source.doi="10.5/x"`, `base_model.count=1`, `base_model.0.name="A"`,
		`base_model.0.repo_url="B"`, `dataset.count=0`, `tags=["single"]`, `languages=["en", "no", "de"]`}
	card, err := Read(dir, config, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := lines(t, card, Parameters{}); !slices.Equal(got, readme) {
		t.Errorf("got  %q\nwant %q", got, readme)
	}
	over := []string{`sampling.top_k=6`, `sampling.penalty_repeat=1.5`, `name="Given"`,
		`author="yes"`, `organization="Owner"`, `finetune="Chat"`, `basename="Config"`,
		`size_label="3B"`, `license="mit,other"`, `url="u"`, `source.doi="10.5/x"`, `base_model.count=1`,
		`base_model.0.name="A"`, `base_model.0.repo_url="B"`, `dataset.count=1`, `dataset.0.name="D"`, `tags=["x"]`,
		`languages=["en", "no", "de"]`}
	card, err = Read(dir, config, Options{Metadata: filepath.Join(dir, "over.json"), Name: "Given"})
	if err != nil {
		t.Fatal(err)
	}
	if got := lines(t, card, Parameters{}); !slices.Equal(got, over) {
		t.Errorf("got  %q\nwant %q", got, over)
	}
	if notes := card.Notes(); len(notes) != 1 || !strings.Contains(notes[0], "general.wrong") {
		t.Errorf("notes %q", notes)
	}
}

func TestDirectoryAlone(t *testing.T) {
	card, err := Read(write(t, "model", nil), nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{`name="Model"`, `size_label="8x1.5K"`}
	if got := lines(t, card, Parameters{Total: 5, Shared: 500, Expert: 1000, Experts: 8}); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	card, err = Read(write(t, "0123abcd", nil), nil, Options{ID: "Qwen/Qwen3-0.6B"})
	if err != nil {
		t.Fatal(err)
	}
	want = []string{`name="Qwen3 0.6B"`, `organization="Qwen"`, `basename="Qwen3"`, `size_label="0.6B"`}
	if got := lines(t, card, Parameters{}); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFileName(t *testing.T) {
	for _, c := range []struct {
		dir, encoding, want string
		p                   Parameters
	}{
		{"Qwen3-0.6B-Chat-v2", "q4_k_m", "Qwen3-0.6B-Chat-v2-Q4_K_M.gguf", Parameters{}},
		{"model", "F16", "Model-8.0B-F16.gguf", Parameters{Total: 8_000_000_000}},
		{"my model", "F16", "My-Model-F16.gguf", Parameters{}},
		{"tiny-llama-lora-poems", "F32", "tiny-llama-poems-F32-LoRA.gguf", Parameters{Total: -5}},
		{"Qwen3-0.6B", "", "Qwen3-vocab.gguf", Parameters{}},
	} {
		card, err := Read(write(t, c.dir, nil), nil, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := card.FileName(c.p, c.encoding); err != nil || got != c.want {
			t.Errorf("%s: got %s, want %s: %v", c.dir, got, c.want, err)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct{ name, file, text, want string }{
		{"yaml", "README.md", "---\na: [1\n---\n", "README.md: the lines between"},
		{"list", "README.md", "---\nx: 1\nname: [a]\n---\n", "README.md: line 3: name is or holds a list, expected a text"},
		{"nested", "README.md", "---\ntags: [[a]]\n---\n", "line 2: tags is or holds a list, expected texts"},
		{"float", "generation_config.json", `{"top_k": 1.5}`, "generation_config.json: top_k is 1.5, expected a whole"},
		{"text", "generation_config.json", `{"top_p": "a"}`, "top_p is a, expected a number"},
		{"metadata", "over.json", `[1]`, "over.json: expected a JSON object"},
		{"value", "over.json", `{"general.name": 1}`, "over.json: general.name is 1, expected a text"},
		{"models", "over.json", `{"general.base_models": [{"nam": "x"}]}`, "general.base_models: number 0 has \"nam\""},
	} {
		dir := write(t, c.name, map[string]string{c.file: c.text})
		o := Options{}
		if c.file == "over.json" {
			o.Metadata = filepath.Join(dir, c.file)
		}
		card, err := Read(dir, nil, o)
		if err == nil {
			err = card.Set(&gguf.Metadata{}, Parameters{})
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
	card, err := Read(write(t, "broken", map[string]string{"generation_config.json": "{"}), nil, Options{})
	if err != nil || len(card.Notes()) != 1 {
		t.Errorf("a broken generation_config.json: %v", err)
	}
}

// FuzzCutName wants every name to be cut without a panic, into parts that are in it.
func FuzzCutName(f *testing.F) {
	f.Add("Qwen/Qwen3-30B-A3B-Instruct-2507", int64(30))
	f.Add("bloom-7b1", int64(-7))
	f.Fuzz(func(t *testing.T, id string, params int64) {
		p := cutName(id, params)
		if !strings.HasSuffix(id, p.name) || !strings.HasPrefix(id, p.organization) {
			t.Errorf("%q: %+v", id, p)
		}
		title(p.name)
	})
}
