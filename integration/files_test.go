package integration

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/testdata"
)

// TestFiles has llama.cpp open models that were split and edited, and expects what it says of the original.
func TestFiles(t *testing.T) {
	needs(t)
	base, dir := testdata.Shared(t, "models/stories260K.gguf"), t.TempDir()
	ask := func(model string) []int32 {
		return llama(t, request{Model: model, Generate: &generate{prompt(t, base, "Once upon a time"), 16}}).Generated
	}
	want := ask(base)
	at := func(name string) string { return filepath.Join(dir, name) }
	peftconv(t, "split", base, at("count"), "--max-tensors", "20")
	peftconv(t, "split", base, at("size"), "--max-size", "300kB", "--no-tensor-first")
	peftconv(t, "edit", base, "--out", at("aligned.gguf"), "--set", "general.alignment:u32=4096")
	// leaves room in the header
	peftconv(t, "edit", at("aligned.gguf"), "--set", "general.name=x", "--remove", "tokenizer.ggml.seperator_token_id")
	peftconv(t, "split", at("aligned.gguf"), at("both"), "--max-tensors", "20")
	peftconv(t, "join", gguf.SplitPath(at("both"), 1, 3), at("joined.gguf"))
	for _, model := range []string{
		gguf.SplitPath(at("count"), 0, 3), gguf.SplitPath(at("size"), 0, 6), at("aligned.gguf"),
		gguf.SplitPath(at("both"), 0, 3), at("joined.gguf"),
	} {
		t.Run(filepath.Base(model), func(t *testing.T) {
			if got := ask(model); !slices.Equal(got, want) {
				t.Errorf("llama.cpp goes on with %v, over the original with %v", got, want)
			}
		})
	}
}
