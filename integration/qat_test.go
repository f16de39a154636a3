package integration

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/demo"
)

// TestQAT trains quantization-aware and merges: llama.cpp has the losses of peftconv on the merged file,
// but for what its rounding of activations costs, and on a copy of it in F32, where nothing is rounded.
func TestQAT(t *testing.T) {
	needs(t)
	for _, c := range []struct {
		typ       gguf.Type
		channels  string
		tolerance float64
	}{{gguf.Q4_0, "auto", 1e-2}, {gguf.Q8_0, "scale", 5e-3}, {gguf.Q4_K, "auto", 2e-2}, {gguf.Q6_K, "code", 1e-2},
		{gguf.Q3_K, "auto", 5e-2}} {
		t.Run(c.typ.String(), func(t *testing.T) {
			model, err := demo.BaseAs(c.typ)
			if err != nil {
				t.Fatal(err)
			}
			text, dir := demo.OwlTextEval(), t.TempDir()
			s := subject{
				base: writeFile(t, "base.gguf", model), text: writeFile(t, "eval.txt", text[:min(len(text), 4_000)]),
				prompt:    "Once there was",
				tolerance: c.tolerance,
			}
			lora, merged := filepath.Join(dir, "out.safetensors"), filepath.Join(dir, "merged.gguf")
			peftconv(t, "train", "--base", s.base, "--data", writeFile(t, "train.txt", demo.OwlTextTrain()), "--out", lora,
				"--qat", c.channels, "--steps", "12", "--rank", "8", "--seq-len", "256", "--batch-tokens", "512")
			var report struct {
				BitExact bool     `json:"bit_exact"`
				Kept     *float64 `json:"kept_share"`
			}
			out := peftconv(t, "merge", "--lora", lora, "--out", merged, "--verify", "--eval-data", s.text, "--seq-len", "128",
				"--json")
			if err := json.Unmarshal(out, &report); err != nil {
				t.Fatal(err)
			}
			if !report.BitExact || report.Kept == nil || *report.Kept != 1 {
				t.Errorf("merge reports %+v", report)
			}
			s.compareWith(t, merged)
			s.tolerance, s.exact = 1e-4, true
			floats := filepath.Join(dir, "floats.gguf")
			peftconv(t, "quantize", merged, floats, "F32", "--allow-requantize")
			s.compareWith(t, floats)
		})
	}
}

// compareWith holds the loss and the greedy tokens of one file against llama.cpp's.
func (s subject) compareWith(t *testing.T, model string) {
	t.Helper()
	theirs := llama(t, request{
		Model: model, Generate: &generate{prompt(t, model, s.prompt), 48},
		Score: &score{windows(t, model, s.text), window / 2},
	})
	s.compareLoss(t, []string{"--base", model}, theirs)
	s.compareTokens(t, []string{"--base", model}, theirs)
}
