package quant

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// supportedTypes lists what the package knows.
func supportedTypes() []gguf.Type {
	var types []gguf.Type
	for t := range gguf.Type(len(formats)) {
		if Supported(t) {
			types = append(types, t)
		}
	}
	return types
}

// normalWeights is n weights of the size that models have.
func normalWeights(n int, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 0))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64() * 0.02)
	}
	return x
}

func ones(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = 1
	}
	return x
}

// Benchmark reports million weights a second, and as MB/s the bytes of blocks and float32 together.
func Benchmark(b *testing.B) {
	const rows, cols = 4, 4096
	x, importance := normalWeights(rows*cols, 1), ones(cols)
	for _, t := range supportedTypes() {
		data := make([]byte, len(x)/t.BlockLen()*t.BlockSize())
		Quantize(t, data, x, cols, importance)
		m, err := NewMatrix(t, rows, cols, data)
		if err != nil {
			b.Fatal(err)
		}
		y := make([]float32, len(x))
		tile := make([]float32, rows*256)
		for _, work := range []struct {
			name string
			skip bool
			run  func()
		}{
			{"dequantize", false, func() { Dequantize(t, y, data) }},
			{"tile", false, func() {
				for c := 0; c < cols; c += 256 {
					m.Tile(tile, 256, 0, rows, c, c+256)
				}
			}},
			{"quantize", NeedsImportance(t), func() { Quantize(t, data, x, cols, nil) }},
			{"quantize-weighted", formats[t].quantizeWeighted == nil, func() { Quantize(t, data, x, cols, importance) }},
			{"first-non-finite", false, func() { m.FirstNonFinite() }},
		} {
			if work.skip {
				continue
			}
			for _, tier := range kernels.Tiers() {
				b.Run(fmt.Sprintf("%s/%v/%s", work.name, t, tier), func(b *testing.B) {
					defer kernels.UseTier(kernels.UseTier(tier))
					b.ReportAllocs()
					b.SetBytes(int64(4*len(x) + len(data)))
					for b.Loop() {
						work.run()
					}
					b.ReportMetric(float64(len(x))*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mweights/s")
				})
			}
		}
	}
}
