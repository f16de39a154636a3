package kernels

import (
	"math"
	"testing"
)

func silu64(g float64) float64 { return g / (1 + math.Exp(-g)) }

func TestSwiGLU(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, n := range testLengths() {
			g, u := randoms(n, 1), randoms(n, 2)
			for i := range g {
				g[i] *= 10
			}
			for _, in := range []int{0, 1, 2} { // apart, onto g, onto u
				a, b := append([]float32(nil), g...), append([]float32(nil), u...)
				y := [][]float32{make([]float32, n), a, b}[in]
				SwiGLU(y, a, b)
				for i := range y {
					if want := silu64(float64(g[i])) * float64(u[i]); !near(float64(y[i]), want, 1e-6) {
						t.Fatalf("n = %d: y[%d] = %v, want %v", n, i, y[i], want)
					}
				}
			}
		}
	})
}

func TestSwiGLUExtremes(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, c := range [][2]float32{{-1e4, 0}, {1e4, 1e4}, {0, 0}, {-90, 0}} {
			g, u, y := make([]float32, 17), make([]float32, 17), make([]float32, 17)
			for i := range g {
				g[i], u[i] = c[0], 1
			}
			SwiGLU(y, g, u)
			for i := range y {
				if !near(float64(y[i]), float64(c[1]), 1e-6) {
					t.Errorf("silu(%v) = %v, want %v", c[0], y[i], c[1])
				}
			}
		}
	})
}

// TestSwiGLUBackward compares with differences in float64.
func TestSwiGLUBackward(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		const n, h = 37, 1e-5
		dg, du, dy, g, u := randoms(n, 1), randoms(n, 2), randoms(n, 3), randoms(n, 4), randoms(n, 5)
		wantG, wantU := to64(dg), to64(du)
		for i := range g {
			gi, ui, d := float64(g[i]), float64(u[i]), float64(dy[i])
			wantG[i] += d * ui * (silu64(gi+h) - silu64(gi-h)) / (2 * h)
			wantU[i] += d * silu64(gi)
		}
		SwiGLUBackward(dg, du, dy, g, u)
		for i := range g {
			if !near(float64(dg[i]), wantG[i], 1e-5) || !near(float64(du[i]), wantU[i], 1e-5) {
				t.Fatalf("dg[%d], du[%d] = %v, %v, want %v, %v", i, i, dg[i], du[i], wantG[i], wantU[i])
			}
		}
	})
}
