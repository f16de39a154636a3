package diff

import (
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/modeltest"
	"github.com/peftconv/peftconv/internal/weights"
)

// BenchmarkNumbers compares the numbers of two tensors; a weight is 8 bytes here, 4 of each.
func BenchmarkNumbers(b *testing.B) {
	for _, typ := range []gguf.Type{gguf.F32, gguf.F16, gguf.Q4_K} {
		b.Run(typ.String(), func(b *testing.B) {
			var files [2]*weights.File
			for i, t := range []gguf.Type{gguf.F32, typ} {
				path := filepath.Join(b.TempDir(), "m.gguf")
				modeltest.WriteGGUF(b, path, gguf.Format{}, nil, []gguf.Tensor{{Name: "x", Shape: []int64{4096, 1024}, Type: t}},
					func(_ string, data []byte) { data[0]++ })
				f, err := weights.Open(path)
				if err != nil {
					b.Fatal(err)
				}
				defer f.Close()
				files[i] = f
			}
			b.SetBytes(8 * 4096 * 1024)
			for b.Loop() {
				if _, err := compareNumbers(b.Context(), files[0].At(0), files[1].At(0)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
