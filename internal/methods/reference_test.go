package methods_test

import (
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/testdata"
)

// references are models of transformers with LoRAs of PEFT on them, and the other readings of each that have been
// computed: of a config.json with other fields, or of fewer tokens. What a directory computes here is what its class in
// transformers does. Where llama.cpp computes one of the other readings of the same weights, that is said.
var references = []struct {
	name  string
	other string // "" where there is none
}{
	{"bloom", ""},
	{"cohere", ""},
	{"falcon", "tanh"}, // llama.cpp's
	{"falcon_new", ""},
	{"gemma", ""},
	{"gemma2", ""},
	{"glm", "eps1e5"}, // llama.cpp's
	{"gpt2", ""},
	{"gpt_neox", "tanh"}, // llama.cpp's
	{"gpt_neox_seq", ""},
	{"granite", ""},
	{"granitemoe", ""},
	{"granitemoe_experts", ""},
	{"llama_linear", ""},
	{"llama_llama3", ""},
	{"llama_yarn", ""},
	{"mamba2", ""},
	{"mistral", "nowindow"}, // llama.cpp's
	{"mixtral", ""},
	{"nemotron", ""},
	{"olmo", ""},
	{"olmo2", ""},
	{"olmoe", ""},
	{"phi", ""},
	{"phi3", "nowindow"}, // llama.cpp's
	{"phi3_longrope", "short"},
	{"qwen2", ""},
	{"qwen2_moe", ""},
	{"stablelm", ""},
	{"stablelm_qknorm", ""},
	{"starcoder2", "nowindow"}, // llama.cpp's
}

// TestReferences computes logits, losses and the gradients of the LoRAs, which the references have in float64.
func TestReferences(t *testing.T) {
	root := testdata.Shared(t, "hf")
	known := map[string]bool{"scripts": true}
	for _, r := range references {
		known[r.name] = true
		t.Run(r.name, func(t *testing.T) { checkReference(t, filepath.Join(root, r.name), "") })
		if r.other != "" {
			t.Run(r.name+"/"+r.other, func(t *testing.T) { checkReference(t, filepath.Join(root, r.name), r.other) })
		}
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && !known[e.Name()] {
			t.Errorf("%s is not in the table", e.Name())
		}
	}
}

// checkReference compares a reference, or another reading of it.
func checkReference(t *testing.T, dir, reading string) {
	data := pefttest.OpenTensors(t, filepath.Join(dir, "data.safetensors"))
	var about struct {
		Alternatives map[string]struct {
			Config map[string]any
			Tokens int
		}
	}
	if err := json.Unmarshal(pefttest.FileBytes(t, filepath.Join(dir, "meta.json")), &about); err != nil {
		t.Fatal(err)
	}
	prefix, base := "", dir
	if reading != "" {
		prefix, base = reading+".", withConfig(t, dir, about.Alternatives[reading].Config)
	}
	b := pefttest.OpenBase(t, base)
	tokens := pefttest.PackedIDs(t, data.Tensor("input_ids"), about.Alternatives[reading].Tokens)

	wanted := func(name string) []float64 { return pefttest.Float64s(t, data, prefix+name) }

	near(t, "logits", pefttest.AllLogits(b, model.NoHooks{}, tokens), wanted("logits64.base"), 1e-5)
	near(t, "loss", []float32{lossOf(b, tokens, model.NoHooks{})}, wanted("loss64.base"), 1e-5)
	a, err := attach.Load(filepath.Join(dir, "adapter"))
	if err != nil {
		t.Fatal(err)
	}
	bound, err := a.Attach(b, 1, true)
	if err != nil {
		t.Fatal(err)
	}
	near(t, "logits with the LoRA", pefttest.AllLogits(b, bound, tokens), wanted("logits64.adapter"),
		1e-5)
	near(t, "loss with the LoRA", []float32{lossOf(b, tokens, bound)}, wanted("loss64.adapter"), 1e-5)
	grads := attach.Views(a.Tensors, make([]float32, len(bound.Grads)))
	attach.ToHF(grads, attach.Views(a.Tensors, bound.Grads), bound.Perms)
	for _, p := range grads {
		near(t, "gradient of "+p.Name, p.Data, wanted("grad64."+p.Name), 1e-4)
	}
	saveAgain(t, a)
}

// saveAgain wants a directory that is written to have the tensors and targets of the one that was read.
func saveAgain(t *testing.T, a *attach.Adapter) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "again")
	if err := a.SaveDir(dir); err != nil {
		t.Fatal(err)
	}
	again, err := attach.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(again.Flat, a.Flat) || !slices.Equal(again.Config.Parameters, a.Config.Parameters) {
		t.Errorf("what was saved is another adapter: %+v", again.Config)
	}
}

// withConfig is a directory with the weights of another and with other fields in config.json.
func withConfig(t *testing.T, dir string, fields map[string]any) string {
	t.Helper()
	config := map[string]any{}
	if err := json.Unmarshal(pefttest.FileBytes(t, filepath.Join(dir, "config.json")), &config); err != nil {
		t.Fatal(err)
	}
	maps.Copy(config, fields)
	text, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	const weights = "model.safetensors"
	if err := os.Symlink(filepath.Join(dir, weights), filepath.Join(other, weights)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(other, "config.json"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	return other
}

// near compares with a limit on the largest difference, as a part of the largest value.
func near(t *testing.T, what string, got []float32, want []float64, limit float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, expected %d", what, len(got), len(want))
	}
	worst, largest := 0.0, 0.0
	for i, w := range want {
		worst = max(worst, math.Abs(float64(got[i])-w))
		largest = max(largest, math.Abs(w))
	}
	if !(worst <= limit*largest) {
		t.Errorf("%s: off by %.2g of the largest, %.3g", what, worst/largest, largest)
	}
}

// lossOf is the mean loss of a batch. Where hooks train, their gradients are those of it.
func lossOf(b *attach.Base, tokens *batch.Batch, hooks model.Hooks) float32 {
	tape, targets := autograd.NewTape(), tokens.TargetCount()
	sum, _ := b.Model.Loss(tape, tokens, hooks, 1/float32(targets))
	tape.Backward()
	return float32(sum / float64(targets))
}
