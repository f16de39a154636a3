package kernels_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// quantized is a matrix of random weights in blocks of a type.
func quantized(tb testing.TB, t gguf.Type, rows, cols int) quant.Matrix {
	tb.Helper()
	x := gaussians(rows * cols)
	data := make([]byte, rows*quant.Matrix{Type: t, Cols: cols}.RowSize())
	quant.Quantize(t, data, x, cols, nil)
	m, err := quant.NewMatrix(t, rows, cols, data)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func gaussians(n int) []float32 {
	r := rand.New(rand.NewPCG(uint64(n), 7))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// BenchmarkGemmQuantized has the largest matrices of a model of 1.1 billion weights, unpacking included.
func BenchmarkGemmQuantized(b *testing.B) {
	const rows, cols, t = 5632, 2048, 512
	x, y := gaussians(t*cols), gaussians(t*rows)
	for _, kind := range []gguf.Type{gguf.Q4_K, gguf.Q8_0} {
		w := quantized(b, kind, rows, cols)
		for _, p := range []kernels.Precision{kernels.F32, kernels.BF16, kernels.Int8} {
			for _, threads := range []int{1, 4} {
				b.Run(fmt.Sprintf("%v/%v/forward/threads=%d", kind, p, threads), func(b *testing.B) {
					kernels.Rate(b, p, threads, 2*t*rows*cols, func() { kernels.GemmWTPrec(p, y, x, t, w, 0) })
				})
				b.Run(fmt.Sprintf("%v/%v/backward/threads=%d", kind, p, threads), func(b *testing.B) {
					kernels.Rate(b, p, threads, 2*t*rows*cols, func() { kernels.GemmWPrec(p, x, y, t, w, 0) })
				})
			}
		}
	}
}
