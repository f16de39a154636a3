package quant

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/peftconv/peftconv/kernels"
)

// TestProducts multiplies the blocks of a matrix with numbers that rounding leaves as they are, and compares with its
// dequantized weights.
func TestProducts(t *testing.T) {
	const rows, cols, n = 7, 512, 5
	rng := rand.New(rand.NewPCG(9, 10))
	for kind := range productKinds {
		w, importance := make([]float32, rows*cols), make([]float32, cols)
		for i := range w {
			w[i] = float32(rng.NormFloat64())
		}
		for i := range importance {
			importance[i] = 1
		}
		data := make([]byte, len(w)/kind.BlockLen()*kind.BlockSize())
		Quantize(kind, data, w, cols, importance)
		m, err := NewMatrix(kind, rows, cols, data)
		if err != nil {
			t.Fatal(err)
		}
		Dequantize(kind, w, data)
		x, y := make([]float32, n*cols), make([]float32, n*rows)
		for i := range x {
			x[i] = float32(rng.IntN(255) - 127)
			if i%32 == 0 {
				x[i] = -127
			}
		}
		block, _, ok := m.Blocks()
		if !ok {
			t.Fatalf("%v has no blocks", kind)
		}
		var r kernels.Rounded
		r.Round(x, n, cols, block)
		r.Multiply(kernels.Product{Y: y, W: m})
		for i := range n {
			for j := range rows {
				var want, magnitude float64
				for k := range cols {
					p := float64(x[i*cols+k]) * float64(w[j*cols+k])
					want += p
					magnitude += math.Abs(p)
				}
				// the runtime multiplies minima with sums that are rounded to half precision
				limit := 1e-6 * magnitude
				if kind.String() == "Q4_1" || kind.String() == "Q5_1" {
					limit = 1e-3 * magnitude
				}
				if got := float64(y[i*rows+j]); math.Abs(got-want) > limit {
					t.Errorf("%v: product (%d, %d) is %v, want %v", kind, i, j, got, want)
				}
			}
		}
	}
}
