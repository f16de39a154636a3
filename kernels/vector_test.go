package kernels

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// vectorCase is a kernel over slices, and its definition. Both return the kernel's result, or 0.
type vectorCase struct {
	name   string
	slices int
	fast   func(v [][]float32) float64
	def    func(v [][]float32) float64
	tol    float64
	blocks bool // it takes whole blocks only
}

// inputs are the kernel's slices for n elements.
func (c vectorCase) inputs(n int, seed uint64) [][]float32 {
	if c.blocks {
		n = whole(n)
	}
	v := make([][]float32, c.slices)
	for i := range v {
		v[i] = randoms(n, seed*100+uint64(i))
	}
	switch c.name {
	case "rope", "ropeNeox":
		v[0] = randoms(2*n, seed)
	case "adamw":
		for i, x := range v[3] {
			v[3][i] = x * x
		}
	}
	return v
}

var testStep = AdamW{LR: 0.01, Beta1: 0.9, Beta2: 0.99, Eps: 1e-6, WeightDecay: 0.1, Step: 3}

var vectorCases = []vectorCase{
	{"dot", 2,
		func(v [][]float32) float64 { return float64(Dot(v[0], v[1])) },
		func(v [][]float32) float64 { return float64(dotGeneric(v[0], v[1])) }, 1e-4, false},
	{"axpy", 2,
		func(v [][]float32) float64 { Axpy(1.5, v[0], v[1]); return 0 },
		func(v [][]float32) float64 { axpyGeneric(1.5, v[0], v[1]); return 0 }, 1e-6, false},
	{"scale", 1,
		func(v [][]float32) float64 { Scale(-1, v[0]); return 0 },
		func(v [][]float32) float64 { scaleGeneric(-1, v[0]); return 0 }, 0, false},
	{"add", 2,
		func(v [][]float32) float64 { Add(v[0], v[1]); return 0 },
		func(v [][]float32) float64 { addGeneric(v[0], v[1]); return 0 }, 0, false},
	{"mul", 2,
		func(v [][]float32) float64 { Mul(v[0], v[1]); return 0 },
		func(v [][]float32) float64 { mulGeneric(v[0], v[1]); return 0 }, 0, false},
	{"mulAdd", 3,
		func(v [][]float32) float64 { MulAdd(v[0], v[1], v[2]); return 0 },
		func(v [][]float32) float64 { mulAddGeneric(v[0], v[1], v[2]); return 0 }, 1e-6, false},
	{"sumSquares", 1,
		func(v [][]float32) float64 { return SumSquares(v[0]) },
		func(v [][]float32) float64 { return sumSquaresGeneric(v[0]) }, 1e-12, false},
	{"max", 1,
		func(v [][]float32) float64 { return float64(Max(v[0])) },
		func(v [][]float32) float64 { return float64(maximumGeneric(v[0])) }, 0, false},
	{"scaleMul", 3,
		func(v [][]float32) float64 { scaleMul(v[0], 1.5, v[1], v[2]); return 0 },
		func(v [][]float32) float64 { scaleMulGeneric(v[0], 1.5, v[1], v[2]); return 0 }, 1e-6, true},
	{"dot3", 3,
		func(v [][]float32) float64 { return float64(dot3(v[0], v[1], v[2])) },
		func(v [][]float32) float64 { return float64(dot3Generic(v[0], v[1], v[2])) }, 1e-4, true},
	{"addMulAxpy", 4,
		func(v [][]float32) float64 { addMulAxpy(v[0], 1.5, v[1], v[2], -0.5, v[3]); return 0 },
		func(v [][]float32) float64 { addMulAxpyGeneric(v[0], 1.5, v[1], v[2], -0.5, v[3]); return 0 }, 1e-5, true},
	{"sum", 1,
		func(v [][]float32) float64 { return Sum(v[0]) },
		func(v [][]float32) float64 { return sumGeneric(v[0]) }, 1e-12, false},
	{"shift", 1,
		func(v [][]float32) float64 { Shift(-0.5, v[0]); return 0 },
		func(v [][]float32) float64 { shiftGeneric(-0.5, v[0]); return 0 }, 0, false},
	{"expSum", 1,
		func(v [][]float32) float64 { return float64(ExpSum(v[0], 0.5)) },
		func(v [][]float32) float64 { return float64(expSumGeneric(v[0], 0.5)) }, 1e-5, false},
	{"rope", 3,
		func(v [][]float32) float64 { Rope(v[0], v[1], v[2]); return 0 },
		func(v [][]float32) float64 { ropeGeneric(v[0], v[1], v[2]); return 0 }, 1e-6, false},
	{"ropeNeox", 3,
		func(v [][]float32) float64 { RopeNeox(v[0], v[1], v[2]); return 0 },
		func(v [][]float32) float64 {
			half := len(v[1])
			ropeNeoxGeneric(v[0][:half], v[0][half:], v[1], v[2])
			return 0
		}, 1e-6, false},
	{"swiglu", 3,
		func(v [][]float32) float64 { SwiGLU(v[0], v[1], v[2]); return 0 },
		func(v [][]float32) float64 { swigluGeneric(v[0], v[1], v[2]); return 0 }, 1e-6, false},
	{"swigluBackward", 5,
		func(v [][]float32) float64 { SwiGLUBackward(v[0], v[1], v[2], v[3], v[4]); return 0 },
		func(v [][]float32) float64 { swigluBackwardGeneric(v[0], v[1], v[2], v[3], v[4]); return 0 }, 1e-5, false},
	{"gated", 3,
		func(v [][]float32) float64 { Gated(v[0], v[1], v[2], GELUGateA, GELUGateB); return 0 },
		func(v [][]float32) float64 { gatedGeneric(v[0], v[1], v[2], GELUGateA, GELUGateB); return 0 }, 1e-6, false},
	{"gatedBackward", 5,
		func(v [][]float32) float64 {
			GatedBackward(v[0], v[1], v[2], v[3], v[4], GELUGateA, GELUGateB)
			return 0
		},
		func(v [][]float32) float64 {
			gatedBackwardGeneric(v[0], v[1], v[2], v[3], v[4], GELUGateA, GELUGateB)
			return 0
		}, 1e-5, false},
	{"sigmoidMul", 3,
		func(v [][]float32) float64 { SigmoidMul(v[0], v[1], v[2]); return 0 },
		func(v [][]float32) float64 { sigmoidMulGeneric(v[0], v[1], v[2]); return 0 }, 1e-6, false},
	{"sigmoidMulBackward", 5,
		func(v [][]float32) float64 { SigmoidMulBackward(v[0], v[1], v[2], v[3], v[4]); return 0 },
		func(v [][]float32) float64 { sigmoidMulBackwardGeneric(v[0], v[1], v[2], v[3], v[4]); return 0 }, 1e-5, false},
	{"clamp", 2,
		func(v [][]float32) float64 { Clamp(v[0], v[1], -0.5, 1); return 0 },
		func(v [][]float32) float64 { clampGeneric(v[0], v[1], -0.5, 1); return 0 }, 0, false},
	{"addWithin", 3,
		func(v [][]float32) float64 { AddWithin(v[0], v[1], v[2], -0.5, 1); return 0 },
		func(v [][]float32) float64 { addWithinGeneric(v[0], v[1], v[2], -0.5, 1); return 0 }, 0, false},
	{"adamw", 4,
		func(v [][]float32) float64 { testStep.Update(v[0], v[1], v[2], v[3]); return 0 },
		func(v [][]float32) float64 {
			c := testStep.coefficients()
			adamwGeneric(v[0], v[1], v[2], v[3], &c)
			return 0
		}, 1e-5, false},
}

// testLengths are lengths around the blocks and the unrolled loops of all kernels.
func testLengths() []int {
	var n []int
	for i := range 70 {
		n = append(n, i)
	}
	return append(n, 127, 128, 129, 255, 256, 257, 1000)
}

func TestVectorKernels(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, c := range vectorCases {
			t.Run(c.name, func(t *testing.T) {
				for _, n := range testLengths() {
					c.check(t, n)
				}
			})
		}
	})
}

// check compares the kernel with its definition on n elements.
func (c vectorCase) check(t *testing.T, n int) {
	t.Helper()
	want := c.inputs(n, uint64(n))
	got := make([][]float32, len(want))
	for i := range got {
		var check func()
		got[i], check = guarded(t, want[i])
		defer check()
	}
	r, s := c.fast(got), c.def(want)
	if !near(r, s, c.tol) {
		t.Fatalf("n = %d: %v, want %v", n, r, s)
	}
	for i := range want {
		for j := range want[i] {
			if !near(float64(got[i][j]), float64(want[i][j]), c.tol) {
				t.Fatalf("n = %d: slice %d, element %d: %v, want %v", n, i, j, got[i][j], want[i][j])
			}
		}
	}
}

func TestDotAgainstFloat64(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		x, y := randoms(1000, 1), randoms(1000, 2)
		var want float64
		for i := range x {
			want += float64(x[i]) * float64(y[i])
		}
		if got := float64(Dot(x, y)); !near(got, want, 1e-4) {
			t.Errorf("Dot = %v, want %v", got, want)
		}
	})
}

func TestMaxOfNothing(t *testing.T) {
	if got := Max(nil); !math.IsInf(float64(got), -1) {
		t.Errorf("Max(nil) = %v", got)
	}
	eachTier(t, func(t *testing.T) {
		x := slices.Repeat([]float32{float32(math.Inf(-1))}, 40)
		if got := Max(x); !math.IsInf(float64(got), -1) {
			t.Errorf("the largest of -Inf is %v", got)
		}
	})
}

func TestUnequalLengthsPanic(t *testing.T) {
	a, b := make([]float32, 3), make([]float32, 4)
	for name, f := range map[string]func(){
		"Dot": func() {
			Dot(a, b)
		}, "Axpy": func() { Axpy(1, a, b) }, "Add": func() { Add(a, b) }, "Mul": func() {
			Mul(a, b)
		}, "RMSNorm": func() { RMSNorm(a, b, a, 0) },
		"RMSNormBackward":    func() { RMSNormBackward(a, a, b, a, 0) },
		"Rope":               func() { Rope(b, a, a) },
		"RopeNeox":           func() { RopeNeox(b, a, a) },
		"SwiGLU":             func() { SwiGLU(a, a, b) },
		"SwiGLUBackward":     func() { SwiGLUBackward(a, a, b, a, a) },
		"LayerNorm":          func() { LayerNorm(a, a, a, b, 0) },
		"LayerNormBackward":  func() { LayerNormBackward(a, a, b, nil, 0, 1) },
		"LayerNormWeights":   func() { LayerNormWeights(a, a, b, 0, 1) },
		"Gated":              func() { Gated(a, b, a, 1, 0) },
		"GatedBackward":      func() { GatedBackward(a, a, a, b, a, 1, 0) },
		"SigmoidMul":         func() { SigmoidMul(a, b, a) },
		"SigmoidMulBackward": func() { SigmoidMulBackward(a, a, b, a, a) },
		"Clamp":              func() { Clamp(a, b, 0, 1) },
		"AddWithin":          func() { AddWithin(a, a, b, 0, 1) },
		"AdamW":              func() { AdamW{}.Update(a, a, b, a) },
		"Gemm":               func() { Gemm(false, false, 2, 2, 2, 1, a, 2, b, 2, 0, b, 2) },
		"GemmWT":             func() { GemmWT(b, b, 1, Dense{2, 2, b}, 0) },
		"GemmW":              func() { GemmW(b, b, 1, Dense{2, 2, b}, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

func BenchmarkVector(b *testing.B) {
	for _, c := range vectorCases {
		for _, n := range []int{256, 4096} {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				v := c.inputs(n, 1)
				switch c.name {
				case "mul", "rope", "ropeNeox": // so that numbers neither grow nor vanish
					for i := 1; i < len(v); i++ {
						copy(v[i], slices.Repeat([]float32{float32(2 - i)}, n))
					}
				}
				for b.Loop() {
					c.fast(v)
				}
				b.ReportMetric(float64(b.N)*float64(n)/b.Elapsed().Seconds()/1e9, "Gelem/s")
			})
		}
	}
}
