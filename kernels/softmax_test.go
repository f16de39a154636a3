package kernels

import (
	"math"
	"testing"
)

// expOf is the kernels' exp of each x, by ExpSum with max 0.
func expOf(x []float32) []float32 {
	y := append([]float32(nil), x...)
	ExpSum(y, 0)
	return y
}

// ulps is how far got lies from want, in units of the last place of a float32 near want.
func ulps(got float32, want float64) float64 {
	unit := math.Ldexp(1, math.Ilogb(want)-23)
	return math.Abs(float64(got)-want) / unit
}

func TestExpAccuracy(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		var x []float32
		for v := float32(-87.3365); v < 88.7228; v += 0.0011 {
			x = append(x, v)
		}
		worst, at := 0.0, float32(0)
		for i, e := range expOf(x) {
			if u := ulps(e, math.Exp(float64(x[i]))); u > worst {
				worst, at = u, x[i]
			}
		}
		t.Logf("largest error %.2f units in the last place, at %v", worst, at)
		if worst > 1.5 {
			t.Errorf("error of %.2f units in the last place at %v, want at most 1.5", worst, at)
		}
	})
}

func TestExpSpecials(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	eachTier(t, func(t *testing.T) {
		for _, pad := range []int{0, 16} { // in the tail and in a block
			for _, c := range [][2]float32{{0, 1}, {-inf, 0}, {inf, inf}, {nan, nan}, {-87.34, 0}, {-200, 0}, {-1e30, 0},
				{88.73, inf}, {1e30, inf}} {
				x := make([]float32, 1+pad)
				x[0] = c[0]
				if got := expOf(x)[0]; !near(float64(got), float64(c[1]), 0) {
					t.Errorf("exp(%v) = %v, want %v", c[0], got, c[1])
				}
			}
		}
	})
}

func TestExpSum(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, n := range testLengths() {
			x := randoms(n, 5)
			var want float64
			for _, v := range x {
				want += math.Exp(float64(v) - 3)
			}
			if got := ExpSum(x, 3); !near(float64(got), want, 1e-5) {
				t.Fatalf("n = %d: ExpSum = %v, want %v", n, got, want)
			}
		}
	})
}

func TestSoftmax(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		Softmax(nil)
		for _, n := range testLengths()[1:] {
			x := randoms(n, 6)
			for i := range x {
				x[i] *= 50
			}
			x[n/2] = 1000 // far above the rest
			x[0] = 1000
			Softmax(x)
			want := float32(0.5)
			if n < 2 {
				want = 1
			}
			if x[0] != want || x[n/2] != want {
				t.Fatalf("n = %d: the largest became %v and %v, want %v", n, x[0], x[n/2], want)
			}
		}
	})
}
