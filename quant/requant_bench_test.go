package quant

import (
	"testing"

	"github.com/peftconv/peftconv/gguf"
)

// BenchmarkRequantize reports million weights a second of SetScales and SetCodes, rows of 4096.
func BenchmarkRequantize(b *testing.B) {
	const cols = 4096
	thresholds, change := make([]float32, cols), normalWeights(cols, 2)
	for i := range thresholds {
		thresholds[i] = float32(i%97) / 97
		change[i] *= 0.1
	}
	for _, typ := range []gguf.Type{gguf.Q4_0, gguf.Q8_0, gguf.Q4_K, gguf.Q6_K, gguf.Q2_K, gguf.Q3_K, gguf.IQ4_XS} {
		m := quantizedRow(typ, cols, 1)
		dst := make([]byte, len(m.Data))
		scale, offset := scalesOfRow(m)
		for i := range scale {
			scale[i] *= 1 + change[i]
			offset[i] *= 1 + change[i]
		}
		report := func(b *testing.B) {
			b.ReportMetric(float64(b.N)*cols/1e6/b.Elapsed().Seconds(), "Mweights/s")
		}
		b.Run(typ.String()+"/scales", func(b *testing.B) {
			for range b.N {
				SetScales(typ, dst, m.Data, scale, offset)
			}
			report(b)
		})
		b.Run(typ.String()+"/codes", func(b *testing.B) {
			for range b.N {
				SetCodes(typ, dst, m.Data, change, Rounding{Stochastic: thresholds})
			}
			report(b)
		})
	}
}
