package kernels

import (
	"math"
	"testing"
)

// rmsNorm64 is RMSNorm in float64.
func rmsNorm64(x, w []float64, eps float64) []float64 {
	var s float64
	for _, v := range x {
		s += v * v
	}
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = v / math.Sqrt(s/float64(len(x))+eps) * w[i]
	}
	return y
}

func to64(x []float32) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

func TestRMSNorm(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, n := range []int{1, 7, 16, 64, 100} {
			x, w := randoms(n, 1), randoms(n, 2)
			want := rmsNorm64(to64(x), to64(w), 1e-5)
			RMSNorm(x, x, w, 1e-5) // in place
			for i := range want {
				if !near(float64(x[i]), want[i], 1e-6) {
					t.Fatalf("n = %d: y[%d] = %v, want %v", n, i, x[i], want[i])
				}
			}
		}
	})
}

// TestRMSNormBackward compares with differences of the norm in float64.
func TestRMSNormBackward(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		const n, eps, h = 37, 1e-5, 1e-5
		x, w, dy, dx := randoms(n, 1), randoms(n, 2), randoms(n, 3), randoms(n, 4)
		loss := func(x []float64) (s float64) {
			for i, v := range rmsNorm64(x, to64(w), eps) {
				s += v * float64(dy[i])
			}
			return s
		}
		before := append([]float32(nil), dx...)
		y := make([]float32, n)
		RMSNormBackward(dx, dy, x, w, RMSNorm(y, x, w, eps))
		for i := range x {
			up, down := to64(x), to64(x)
			up[i] += h
			down[i] -= h
			want := float64(before[i]) + (loss(up)-loss(down))/(2*h)
			if !near(float64(dx[i]), want, 1e-5) {
				t.Fatalf("dx[%d] = %v, want %v", i, dx[i], want)
			}
		}
	})
}
