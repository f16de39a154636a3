package integration

import (
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/demo"
)

// TestNewTokens adds tokens to a vocabulary, trains them, and has llama.cpp run the merged model.
func TestNewTokens(t *testing.T) {
	needs(t)
	model, err := demo.BaseAs(gguf.F32)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	grown, adapter, merged := filepath.Join(dir, "grown.gguf"), filepath.Join(dir, "out.safetensors"),
		filepath.Join(dir, "merged.gguf")
	peftconv(t, "edit", writeFile(t, "base.gguf", model), "--add-token", "<|owl|>", "--out", grown)
	text := "<|owl|>" + string(demo.OwlTextEval()[:4_000])
	s := subject{base: grown, text: writeFile(t, "eval.txt", []byte(text)), prompt: "<|owl|>Once there was",
		tolerance: 2e-5, exact: true}
	peftconv(t, "train", "--base", grown, "--data",
		writeFile(t, "train.txt", append([]byte("<|owl|>"), demo.OwlTextTrain()...)), "--steps", "12",
		"--seq-len", "256", "--batch-tokens", "512", "--train-tokens", "<|owl|>", "--out", adapter)
	peftconv(t, "merge", "--lora", adapter, "--out", merged)
	theirs := llama(t, request{
		Model: merged, Generate: &generate{prompt(t, grown, s.prompt), 48},
		Score: &score{windows(t, grown, s.text), window / 2},
	})
	s.compareLoss(t, []string{"--base", merged}, theirs)
	s.compareTokens(t, []string{"--base", merged}, theirs)
}
