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

// layerNorm64 is LayerNorm in float64; nil weights are 1, nil biases 0.
func layerNorm64(x, w, b []float64, eps float64) []float64 {
	var mean, variance float64
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / float64(len(x))
	}
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = (v - mean) / math.Sqrt(variance+eps)
		if w != nil {
			y[i] *= w[i]
		}
		if b != nil {
			y[i] += b[i]
		}
	}
	return y
}

// TestNormsWithoutWeights wants the bits of weights that are 1.
func TestNormsWithoutWeights(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, n := range []int{1, 7, 16, 100} {
			x, dy, ones := randoms(n, 1), randoms(n, 2), make([]float32, n)
			for i := range ones {
				ones[i] = 1
			}
			y, want, dx, wantDx := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
			rinv := RMSNorm(y, x, nil, 1e-5)
			if RMSNorm(want, x, ones, 1e-5) != rinv {
				t.Fatalf("n = %d: 1/rms differs", n)
			}
			checkClose(t, "RMSNorm", y, want, 0)
			RMSNormBackward(dx, dy, x, nil, rinv)
			RMSNormBackward(wantDx, dy, x, ones, rinv)
			checkClose(t, "RMSNormBackward", dx, wantDx, 1e-5)
		}
	})
}

// TestLayerNorm compares with float64, in place, with a mean that is small or large beside the deviation.
func TestLayerNorm(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, n := range []int{2, 7, 16, 64, 100, 1000} {
			for _, offset := range []float32{0, 100} {
				x, w, b := randoms(n, 1), randoms(n, 2), randoms(n, 3)
				for i := range x {
					x[i] += offset
				}
				want, plain := layerNorm64(to64(x), to64(w), to64(b), 1e-5), layerNorm64(to64(x), nil, nil, 1e-5)
				y := make([]float32, n)
				LayerNorm(y, x, nil, nil, 1e-5)
				LayerNorm(x, x, w, b, 1e-5)
				for i := range want {
					tol := 2e-6 * (1 + float64(offset))
					if !near(float64(x[i]), want[i], tol) || !near(float64(y[i]), plain[i], tol) {
						t.Fatalf("n = %d: y[%d] = %v and %v, want %v and %v", n, i, x[i], y[i], want[i], plain[i])
					}
				}
			}
		}
	})
}

// TestLayerNormOfConstants wants the biases and no NaN where nothing deviates.
func TestLayerNormOfConstants(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		x, w, b := make([]float32, 37), randoms(37, 2), randoms(37, 3)
		for i := range x {
			x[i] = 0.7
		}
		LayerNorm(x, x, w, b, 1e-5)
		checkClose(t, "LayerNorm", x, b, 1e-4)
	})
}

// TestLayerNormBackward compares with differences of the norm in float64.
func TestLayerNormBackward(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		const n, eps, h = 37, 1e-5, 1e-5
		for _, weighted := range []bool{true, false} {
			x, w, dy, dx, dw := randoms(n, 1), randoms(n, 2), randoms(n, 3), randoms(n, 4), randoms(n, 5)
			if !weighted {
				w = nil
			}
			loss := func(x, w []float64) (s float64) {
				for i, v := range layerNorm64(x, w, nil, eps) {
					s += v * float64(dy[i])
				}
				return s
			}
			wide := func() []float64 {
				if w == nil {
					return nil
				}
				return to64(w)
			}
			before, beforeW := append([]float32(nil), dx...), append([]float32(nil), dw...)
			y := make([]float32, n)
			mean, rinv := LayerNorm(y, x, w, nil, eps)
			LayerNormBackward(dx, dy, x, w, mean, rinv)
			LayerNormWeights(dw, dy, x, mean, rinv)
			for i := range x {
				up, down := to64(x), to64(x)
				up[i] += h
				down[i] -= h
				want := float64(before[i]) + (loss(up, wide())-loss(down, wide()))/(2*h)
				if !near(float64(dx[i]), want, 1e-5) {
					t.Fatalf("dx[%d] = %v, want %v", i, dx[i], want)
				}
				if w == nil {
					continue
				}
				up, down = wide(), wide()
				up[i] += h
				down[i] -= h
				want = float64(beforeW[i]) + (loss(to64(x), up)-loss(to64(x), down))/(2*h)
				if !near(float64(dw[i]), want, 1e-5) {
					t.Fatalf("dw[%d] = %v, want %v", i, dw[i], want)
				}
			}
		}
	})
}
