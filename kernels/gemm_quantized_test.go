package kernels_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
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

// TestGemmSlices multiplies by some rows of a matrix of each type, such as an expert of a stack is, and wants what the
// dequantized rows give.
func TestGemmSlices(t *testing.T) {
	const rows, cols, from, to = 150, 512, 37, 150
	importance := make([]float32, cols)
	for i := range importance {
		importance[i] = 1
	}
	for kind := range gguf.Type(100) {
		if !quant.Supported(kind) {
			continue
		}
		stack := quant.Matrix{Type: kind, Rows: rows, Cols: cols}
		stack.Data = make([]byte, rows*stack.RowSize())
		quant.Quantize(kind, stack.Data, gaussians(rows*cols), cols, importance)
		w := stack.Slice(from, to)
		d := kernels.Dense{Rows: to - from, Cols: cols, Data: make([]float32, (to-from)*cols)}
		for i := range d.Rows {
			stack.Row(d.Data[i*cols:(i+1)*cols], from+i)
		}
		for _, n := range []int{1, 2, 7, 16, 17, 40, 120} {
			x, dy := gaussians(n*cols), gaussians(n*d.Rows)
			for _, p := range []kernels.Precision{kernels.F32, kernels.Int8} {
				y, wantY := make([]float32, len(dy)), make([]float32, len(dy))
				dx, wantX := make([]float32, len(x)), make([]float32, len(x))
				kernels.GemmWTPrec(p, y, x, n, w, 0)
				kernels.GemmWT(wantY, x, n, d, 0)
				kernels.GemmWPrec(p, dx, dy, n, w, 0)
				kernels.GemmW(wantX, dy, n, d, 0)
				tolerance := 1e-5
				if p == kernels.Int8 && n > 16 {
					tolerance = 0.02
				}
				if a, b := distance(y, wantY), distance(dx, wantX); !(a < tolerance && b < tolerance) {
					t.Errorf("%v, %d rows in %v: products with a slice are off by %v and %v", kind, n, p, a, b)
				}
			}
		}
	}
}

// distance is the root of the mean squared difference of two slices, as a share of the second's.
func distance(x, want []float32) float64 {
	var difference, size float64
	for i, v := range want {
		d := float64(x[i]) - float64(v)
		difference, size = difference+d*d, size+float64(v)*float64(v)
	}
	return math.Sqrt(difference / size)
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

// TestGemmTPrec multiplies the transpose of a matrix in each precision, on every tier, and wants what float32 gives,
// and the same with any number of threads.
func TestGemmTPrec(t *testing.T) {
	defer kernels.UseTier(kernels.Tier())
	defer kernels.SetThreads(0)
	for _, shape := range [][3]int{{1, 1, 1}, {3, 40, 20}, {14, 32, 512}, {15, 33, 513}, {100, 70, 300},
		{200, 300, 1100}} {
		m, n, k := shape[0], shape[1], shape[2]
		wide := m + 5 // rows of a are part of longer ones
		a, b := gaussians(k*wide), gaussians(k*n)
		want := make([]float32, m*n)
		kernels.GemmTPrec(kernels.F32, m, n, k, a[2:], wide, b, 0, want)
		for _, tier := range kernels.Tiers() {
			kernels.UseTier(tier)
			for p, tolerance := range []float64{kernels.F32: 1e-5, kernels.BF16: 0.006, kernels.Int8: 0.03} {
				p := kernels.Precision(p)
				var first []float32
				for _, threads := range []int{1, 3} {
					kernels.SetThreads(threads)
					c := slices.Repeat([]float32{float32(math.NaN())}, m*n)
					kernels.GemmTPrec(p, m, n, k, a[2:], wide, b, 0, c)
					if off := distance(c, want); !(off < tolerance) {
						t.Errorf("%d×%d×%d in %v on %s: off by %v", m, n, k, p, tier, off)
					}
					if first == nil {
						first = c
					}
					if !slices.Equal(first, c) {
						t.Errorf("%d×%d×%d in %v on %s: other bits with %d threads", m, n, k, p, tier, threads)
					}
				}
			}
		}
	}
}
