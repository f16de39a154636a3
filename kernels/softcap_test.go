package kernels

import (
	"fmt"
	"math"
	"testing"
)

// TestSoftCapAccuracy wants few units in the last place of each result, small or large, and thereby of each score.
func TestSoftCapAccuracy(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, limit := range []float32{50, 30, 0.7} {
			var x []float32
			for v := float32(1e-30); v < 1e4*limit; v *= 1.0007 {
				x = append(x, v*limit, -v*limit)
			}
			y := append([]float32(nil), x...)
			SoftCap(limit, y)
			worst, at := 0.0, float32(0)
			for i, v := range x {
				if u := ulps(y[i], float64(limit)*math.Tanh(float64(v)/float64(limit))); !(u <= worst) {
					worst, at = u, v
				}
			}
			t.Logf("limit %v: largest error %.2f units in the last place, at %v", limit, worst, at)
			if !(worst <= 5) {
				t.Errorf("limit %v: error of %.2f units in the last place at %v, want at most 5", limit, worst, at)
			}
		}
	})
}

func TestSoftCapSpecials(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	eachTier(t, func(t *testing.T) {
		for _, n := range []int{1, 16, 17, 48, 70} { // tails, blocks, and several of them
			for _, c := range [][2]float32{{0, 0}, {inf, 50}, {-inf, -50}, {nan, nan}, {1e30, 50}, {-1e30, -50}, {1e-30, 1e-30}} {
				x := make([]float32, n)
				x[n-1] = c[0]
				SoftCap(50, x)
				if !near(float64(x[n-1]), float64(c[1]), 1e-6) || n > 1 && x[0] != 0 {
					t.Errorf("n = %d: SoftCap(%v) = %v, want %v; SoftCap(0) = %v", n, c[0], x[n-1], c[1], x[0])
				}
			}
		}
	})
}

// BenchmarkSoftCap reports milliards of elements a second, of a slice in the L1 cache.
func BenchmarkSoftCap(b *testing.B) {
	was := current
	defer func() { current = was }()
	for tr := range bestTier() + 1 {
		if !tierExists(tr) {
			continue
		}
		b.Run(fmt.Sprint(tr), func(b *testing.B) {
			current = tr
			x := randoms(1024, 1)
			for b.Loop() {
				SoftCap(50, x)
			}
			b.ReportMetric(float64(len(x))*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gelements/s")
		})
	}
}
