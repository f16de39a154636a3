package integration

import (
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/demo"
)

// TestBottleneckModel trains adapters that are no change of weights and has llama.cpp run the models that they become.
func TestBottleneckModel(t *testing.T) {
	needs(t)
	for _, c := range []struct {
		name      string
		base      gguf.Type
		tolerance float64
		flags     []string
	}{
		{"parallel", gguf.F32, 2e-5, nil},
		{"parallel, gated, in one layer", gguf.F32, 2e-5, []string{"--activation", "swiglu", "--layers", "last:1"}},
		{"parallel over Q8_0", gguf.Q8_0, 1e-2, nil},
		{"serial-pfeiffer", gguf.F32, 2e-5, []string{"--placement", "serial-pfeiffer", "--parts", "attention,ffn"}},
		{"serial-pfeiffer, gated, over Q4_K", gguf.Q4_K, 2e-2,
			[]string{"--placement", "serial-pfeiffer", "--activation", "swiglu"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			model, err := demo.BaseAs(c.base)
			if err != nil {
				t.Fatal(err)
			}
			text := demo.OwlTextEval()
			s := subject{
				base: writeFile(t, "base.gguf", model), text: writeFile(t, "eval.txt", text[:min(len(text), 4_000)]),
				prompt:    "Once there was",
				tolerance: c.tolerance, exact: c.base == gguf.F32,
			}
			dir := t.TempDir()
			adapter, file := filepath.Join(dir, "out.safetensors"), filepath.Join(dir, "model.gguf")
			peftconv(t, append([]string{"train", "--method", "adapter", "--base", s.base, "--data",
				writeFile(t, "train.txt", demo.OwlTextTrain()),
				"--steps", "12", "--seq-len", "256", "--batch-tokens", "512", "--out", adapter}, c.flags...)...)
			peftconv(t, "export", "--lora", adapter, "--to", "model", "--out", file)
			theirs := llama(t, request{
				Model: file, Generate: &generate{prompt(t, s.base, s.prompt), 48},
				Score: &score{windows(t, s.base, s.text), window / 2},
			})
			s.compareLoss(t, []string{"--base", s.base, "--lora", adapter}, theirs)
			s.compareTokens(t, []string{"--base", s.base, "--lora", adapter}, theirs)
		})
	}
}
