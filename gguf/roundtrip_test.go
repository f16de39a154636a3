package gguf

import (
	"bytes"
	"os"
	"testing"

	"github.com/peftconv/peftconv/internal/testdata"
)

// TestRealFiles reads files that other programs wrote and writes them again: the same bytes must come out.
func TestRealFiles(t *testing.T) {
	for _, name := range []string{
		"models/stories260K.gguf",
		"quant/files/tiny-llama-f16.gguf",
		"quant/files/tiny-llama-imatrix.gguf",
		"quant/files/tiny-qwen2-f16.gguf",
		"quant/files/tiny-qwen2-imatrix.gguf",
		"tokenizers/ggml-vocab-bert-bge.gguf",
		"tokenizers/ggml-vocab-gpt-2.gguf",
		"tokenizers/ggml-vocab-llama-bpe.gguf",
		"tokenizers/ggml-vocab-llama-spm.gguf",
		"tokenizers/ggml-vocab-phi-3.gguf",
		"tokenizers/ggml-vocab-qwen2.gguf",
	} {
		t.Run(name, func(t *testing.T) {
			path := testdata.Shared(t, name)
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			f, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var got bytes.Buffer
			n, err := f.WriteTo(&got)
			if err != nil {
				t.Fatal(err)
			}
			if n != int64(got.Len()) {
				t.Errorf("WriteTo says %d bytes, wrote %d", n, got.Len())
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("version %d: %d bytes written differ from the file's %d, extra %d", f.Version, got.Len(), len(want), f.Extra)
			}
		})
	}
}
