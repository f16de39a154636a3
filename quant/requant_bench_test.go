package quant

import (
	"testing"

	"github.com/peftconv/peftconv/gguf"
)

// BenchmarkSnap reports million weights a second of Regrid and Recode, rows of 4096.
func BenchmarkSnap(b *testing.B) {
	const cols = 4096
	dither, change := make([]float32, cols), normalWeights(cols, 2)
	for i := range dither {
		dither[i] = float32(i%97) / 97
		change[i] *= 0.1
	}
	for _, typ := range []gguf.Type{gguf.Q4_0, gguf.Q8_0, gguf.Q4_K, gguf.Q6_K, gguf.Q2_K, gguf.Q3_K, gguf.IQ4_XS} {
		m := snapRow(typ, cols, 1)
		dst := make([]byte, len(m.Data))
		scale, offset := gridRow(m)
		for i := range scale {
			scale[i] *= 1 + change[i]
			offset[i] *= 1 + change[i]
		}
		report := func(b *testing.B) {
			b.ReportMetric(float64(b.N)*cols/1e6/b.Elapsed().Seconds(), "Mweights/s")
		}
		b.Run(typ.String()+"/regrid", func(b *testing.B) {
			for range b.N {
				Regrid(typ, dst, m.Data, scale, offset)
			}
			report(b)
		})
		b.Run(typ.String()+"/recode", func(b *testing.B) {
			for range b.N {
				Recode(typ, dst, m.Data, change, Rounding{Dither: dither})
			}
			report(b)
		})
	}
}
