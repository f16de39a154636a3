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

// gates are the kinds of Gated that models have: their numbers, and the function of the gate.
var gates = map[string]struct {
	a, b float32
	f    func(g float64) float64
}{
	"silu": {1, 0, silu64},
	"gelu": {GELUGateA, GELUGateB, func(g float64) float64 {
		return 0.5 * g * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(g+0.044715*g*g*g)))
	}},
	"swiglu_oai": {1.702, 0, func(g float64) float64 { return g / (1 + math.Exp(-1.702*g)) }},
}

// TestGated compares with float64, over gates from the middle to where the sigmoid ends.
func TestGated(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for name, c := range gates {
			for _, n := range testLengths() {
				g, u := randoms(n, 1), randoms(n, 2)
				for i := range g {
					g[i] *= 4
				}
				y := append([]float32(nil), g...)
				Gated(y, y, u, c.a, c.b)
				for i := range y {
					if want := c.f(float64(g[i])) * float64(u[i]); !near(float64(y[i]), want, 2e-6) {
						t.Fatalf("%s, n = %d: y[%d] = %v, want %v", name, n, i, y[i], want)
					}
				}
			}
		}
	})
}

// TestGatedExtremes wants 0 or the gate, and slopes 0 or 1, for gates of any size.
func TestGatedExtremes(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for name, c := range gates {
			for _, gate := range []float32{90, 1e3, 1e4, 1e13, 3e38} {
				for _, sign := range []float32{1, -1} {
					const n = 17
					g, u, y := make([]float32, n), make([]float32, n), make([]float32, n)
					dg, du := make([]float32, n), make([]float32, n)
					for i := range g {
						g[i], u[i] = sign*gate, 1
					}
					Gated(y, g, u, c.a, c.b)
					GatedBackward(dg, du, u, g, u, c.a, c.b)
					want, slope := max(g[0], 0), max(sign, 0)
					for i := range y {
						if y[i] != want || du[i] != want || dg[i] != slope {
							t.Fatalf("%s(%v) = %v, gradients %v and %v, want %v, %v and %v", name, g[i], y[i], dg[i], du[i],
								want, slope, want)
						}
					}
				}
			}
		}
	})
}

// TestGatedBackward compares with differences in float64.
func TestGatedBackward(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for name, c := range gates {
			const n, h = 37, 1e-5
			dg, du, dy, g, u := randoms(n, 1), randoms(n, 2), randoms(n, 3), randoms(n, 4), randoms(n, 5)
			wantG, wantU := to64(dg), to64(du)
			for i := range g {
				g[i] *= 2
				gi, ui, d := float64(g[i]), float64(u[i]), float64(dy[i])
				wantG[i] += d * ui * (c.f(gi+h) - c.f(gi-h)) / (2 * h)
				wantU[i] += d * c.f(gi)
			}
			GatedBackward(dg, du, dy, g, u, c.a, c.b)
			for i := range g {
				if !near(float64(dg[i]), wantG[i], 1e-5) || !near(float64(du[i]), wantU[i], 1e-5) {
					t.Fatalf("%s: dg[%d], du[%d] = %v, %v, want %v, %v", name, i, i, dg[i], du[i], wantG[i], wantU[i])
				}
			}
		}
	})
}

// TestSigmoidMul compares value and gradients with float64, and wants numbers at the ends.
func TestSigmoidMul(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		const n = 53
		x, g, dy, dx, dg, y := randoms(n, 1), randoms(n, 2), randoms(n, 3), randoms(n, 4), randoms(n, 5), make([]float32, n)
		for i, v := range []float32{0, 1e30, -1e30, 88, -88} {
			g[i], g[n-1-i] = v, v
		}
		wantX, wantG := to64(dx), to64(dg)
		SigmoidMul(y, x, g)
		SigmoidMulBackward(dx, dg, dy, x, g)
		for i := range y {
			s := 1 / (1 + math.Exp(-float64(g[i])))
			wantX[i] += float64(dy[i]) * s
			wantG[i] += float64(dy[i]) * s * (1 - s) * float64(x[i])
			if !near(float64(y[i]), float64(x[i])*s, 1e-6) || !near(float64(dx[i]), wantX[i], 1e-5) ||
				!near(float64(dg[i]), wantG[i], 1e-5) {
				t.Fatalf("gate %v: y, dx, dg = %v, %v, %v, want %v, %v, %v", g[i], y[i], dx[i], dg[i], float64(x[i])*s,
					wantX[i], wantG[i])
			}
		}
	})
}

// TestClampLimits wants the limits to belong to what is within, a NaN to stay one, and infinite limits to be none.
func TestClampLimits(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		nan, inf := float32(math.NaN()), float32(math.Inf(1))
		const tiny = math.SmallestNonzeroFloat32
		for _, c := range []struct{ x, low, high, y, sum float32 }{
			{-2, -2, 7, -2, 1}, {7, -2, 7, 7, 1}, {-2.01, -2, 7, -2, 0}, {7.01, -2, 7, 7, 0}, {nan, -2, 7, nan, 1},
			{-1e38, -inf, 7, -1e38, 1}, {inf, 0, inf, inf, 1}, {-inf, 0, inf, 0, 0}, {0, tiny, inf, tiny, 0},
			{tiny, tiny, inf, tiny, 1},
		} {
			x, y, sum, d := make([]float32, 19), make([]float32, 19), make([]float32, 19), make([]float32, 19)
			for i := range x {
				x[i], d[i] = c.x, 1
			}
			Clamp(y, x, c.low, c.high)
			AddWithin(sum, d, x, c.low, c.high)
			for i := range x {
				if !near(float64(y[i]), float64(c.y), 0) || sum[i] != c.sum {
					t.Fatalf("%v within %v and %v: %v and %v, want %v and %v", c.x, c.low, c.high, y[i], sum[i], c.y, c.sum)
				}
			}
		}
	})
}
