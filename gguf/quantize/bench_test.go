package quantize

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/gguf"
)

// BenchmarkWrite quantizes a model from F16, on all processors, to nowhere.
func BenchmarkWrite(b *testing.B) {
	wide := sample{name: "wide", arch: "llama", layers: 2, heads: 4, keys: 4, experts: 128, width: 4096, ffn: 4096}
	in := filepath.Join(b.TempDir(), "model.gguf")
	wide.write(b, in, gguf.F16)
	for _, name := range FileTypes() {
		b.Run(name, func(b *testing.B) {
			opt := Options{Type: fileType(b, name), Pure: true}
			if needsImportance(other, opt.Type.Type, name) {
				path := filepath.Join(b.TempDir(), "imatrix.gguf")
				wide.writeImatrix(b, path)
				opt.Imatrix = openImatrix(b, path, path)
			}
			p, err := planOf(b, in, opt)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(p.InputBytes())
			for b.Loop() {
				if err := p.Write(b.Context(), os.DevNull, nil); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(p.Weights())*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mweights/s")
		})
	}
}
