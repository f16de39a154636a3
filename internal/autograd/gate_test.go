package autograd

import (
	"math"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/alloctest"
	"github.com/peftconv/peftconv/kernels"
)

var gateGraphs = []graph{
	{"GeGLU", [][2]int{{5, 19}, {5, 19}}, func(t *Tape, p []*Tensor) *Tensor { return t.Gated(GELUGate, p[0], p[1]) }},
	{"swiglu_oai", [][2]int{{5, 300}, {5, 300}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.Gated(OAIGate, t.Scaled(p[0], 4), t.Scaled(p[1], 4))
	}},
	{"ReGLU", [][2]int{{5, 19}, {5, 19}}, func(t *Tape, p []*Tensor) *Tensor { return t.Gated(ReLUGate, p[0], p[1]) }},
	{"relu2 with a gate", [][2]int{{5, 19}, {5, 19}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.Gated(ReLU2Gate, p[0], p[1])
	}},
	{"SwiGLU of one tensor", [][2]int{{5, 19}}, func(t *Tape, p []*Tensor) *Tensor { return t.SwiGLU(p[0], p[0]) }},
	{"GeGLU with a constant gate", [][2]int{{2, 300}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.Gated(GELUGate, NewConst(2, 300, dense(2, 300, 1).Data), p[0])
	}},
	{"GeGLU with a constant factor", [][2]int{{2, 300}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.Gated(GELUGate, p[0], NewConst(2, 300, dense(2, 300, 1).Data))
	}},
	{"gelu", [][2]int{{5, 300}}, func(t *Tape, p []*Tensor) *Tensor { return t.Ungated(GELUGate, p[0]) }},
	{"gelu by erf", [][2]int{{5, 300}}, func(t *Tape, p []*Tensor) *Tensor { return t.Ungated(ErfGate, p[0]) }},
	{"gelu by erf with a factor", [][2]int{{5, 19}, {5, 19}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.Gated(ErfGate, p[0], p[1])
	}},
	{"silu", [][2]int{{5, 300}}, func(t *Tape, p []*Tensor) *Tensor { return t.Ungated(SiLUGate, p[0]) }},
	{"relu2", [][2]int{{5, 300}}, func(t *Tape, p []*Tensor) *Tensor { return t.Ungated(ReLU2Gate, p[0]) }},
	{"SigmoidGate", [][2]int{{5, 19}, {5, 19}}, func(t *Tape, p []*Tensor) *Tensor { return t.SigmoidGate(p[0], p[1]) }},
	{"SigmoidGate of heads", [][2]int{{5, 18}, {5, 3}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.SigmoidGate(p[0], p[1])
	}},
	{"SigmoidGate of rows", [][2]int{{5, 18}, {5, 1}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.SigmoidGate(p[0], p[1])
	}},
	{"SigmoidGate with a constant gate", [][2]int{{2, 300}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.SigmoidGate(p[0], NewConst(2, 300, dense(2, 300, 1).Data))
	}},
	{"SigmoidGate of constants", [][2]int{{2, 300}, {2, 1}}, func(t *Tape, p []*Tensor) *Tensor {
		x := NewConst(2, 300, dense(2, 300, 1).Data)
		return t.Add(t.SigmoidGate(x, p[0]), t.SigmoidGate(x, p[1]))
	}},
	{"Sigmoid", [][2]int{{2, 300}}, func(t *Tape, p []*Tensor) *Tensor { return t.Sigmoid(p[0]) }},
	{"Scaled", [][2]int{{5, 19}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.Add(t.Scaled(p[0], 3), t.Scaled(p[0], -0.5))
	}},
	{"ScaleByRow", [][2]int{{3, 19}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.ScaleByRow(leaf(t, p[0]), []float32{1, -2, 0.5})
	}},
	{"Clamp", [][2]int{{5, 19}}, func(t *Tape, p []*Tensor) *Tensor { return t.Clamp(p[0], 0.8) }},
}

func TestGateGradients(t *testing.T) { checkGradients(t, gateGraphs) }

// gate64 is f(gate)·up in float64.
func gate64(k GLU, g, u float64) float64 {
	switch k {
	case SiLUGate:
		return g / (1 + math.Exp(-g)) * u
	case GELUGate:
		return 0.5 * g * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(g+0.044715*g*g*g))) * u
	case OAIGate:
		g, u = min(g, 7), min(max(u, -7), 7)
		return g / (1 + math.Exp(-1.702*g)) * (u + 1)
	case ReLUGate:
		return max(g, 0) * u
	case LinearGate:
		return g * u
	case ErfGate:
		return 0.5 * g * (1 + math.Erf(g/math.Sqrt2)) * u
	}
	return max(g, 0) * max(g, 0) * u
}

var allGates = map[string]GLU{
	"silu": SiLUGate, "gelu": GELUGate, "oai": OAIGate, "relu": ReLUGate, "relu2": ReLU2Gate, "linear": LinearGate,
	"gelu by erf": ErfGate,
}

// TestGatedValues compares with float64, also at both sides of the limits and far out.
func TestGatedValues(t *testing.T) {
	ends := []float32{0, -0.01, 6.9, 7, 7.1, -7.1, 10, -10, 40, -40, 1e4, -1e4, 1e10, -1e10}
	for name, k := range allGates {
		gate, up := dense(1, 700, 1).Data, dense(1, 700, 2).Data
		for i, v := range ends {
			gate[i], up[100+i], gate[650+i] = v, v, v
			up[650+i] = v / 1e3
		}
		tape := NewTape()
		y := tape.Gated(k, NewConst(1, 700, gate), NewConst(1, 700, up))
		for i, got := range y.Data {
			want := gate64(k, float64(gate[i]), float64(up[i]))
			if math.Abs(float64(got)-want) > 2e-6*(1+math.Abs(want)) {
				t.Fatalf("%s(%g)·%g = %g, want %g", name, gate[i], up[i], got, want)
			}
		}
		if k == OAIGate {
			continue
		}
		y = tape.Ungated(k, NewConst(1, 700, gate))
		for i, got := range y.Data {
			want := gate64(k, float64(gate[i]), 1)
			if math.Abs(float64(got)-want) > 2e-6*(1+math.Abs(want)) {
				t.Fatalf("%s(%g) = %g, want %g", name, gate[i], got, want)
			}
		}
	}
}

// TestActivationsFarOut wants exactly 0 or x and slopes 0 or 1 where the sigmoid has ended.
func TestActivationsFarOut(t *testing.T) {
	for _, k := range []GLU{SiLUGate, GELUGate} {
		for _, v := range []float32{200, -200, 1e20, -1e20, 3e38, -3e38} {
			x, dx := slices.Repeat([]float32{v}, 20), make([]float32, 20)
			tape := NewTape()
			y := tape.Ungated(k, NewParam(1, 20, x, dx))
			copy(tape.grad(y), ones[:20])
			tape.Backward()
			want, slope := max(v, 0), min(max(v, 0), 1)
			for i := range x {
				if y.Data[i] != want || dx[i] != slope {
					t.Fatalf("activation %d of %g is %g with slope %g, want %g and %g", k, v, y.Data[i], dx[i], want, slope)
				}
			}
		}
	}
}

// TestLimitsStopGradients wants no gradient outside of the limits, and the whole gradient inside.
func TestLimitsStopGradients(t *testing.T) {
	x := []float32{-9, -8, -6, 0, 6, 8, 9}
	check := func(name string, got, want []float32) {
		for i := range got {
			if math.Abs(float64(got[i]-want[i])) > 1e-4 {
				t.Errorf("%s: gradient %v, want %v", name, got, want)
				return
			}
		}
	}
	tape, dx := NewTape(), make([]float32, 7)
	copy(tape.grad(tape.Clamp(NewParam(1, 7, x, dx), 7)), ones[:7])
	tape.Backward()
	check("Clamp", dx, []float32{0, 0, 1, 1, 1, 0, 0})
	clear(dx)
	copy(tape.grad(tape.Gated(OAIGate, NewConst(1, 7, slices.Repeat([]float32{50}, 7)), NewParam(1, 7, x, dx))), ones[:7])
	tape.Backward()
	check("OAIGate", dx, []float32{0, 0, 7, 7, 7, 0, 0})
	clear(dx)
	copy(tape.grad(tape.Gated(OAIGate, NewParam(1, 2, []float32{8, 6.5}, dx[:2]), NewConst(1, 2, ones[:2]))), ones[:2])
	tape.Backward()
	check("OAIGate", dx[:2], []float32{0, 2.00032})
}

func TestGatePanics(t *testing.T) {
	tape := NewTape()
	x, w := NewConst(2, 6, make([]float32, 12)), NewConst(2, 4, make([]float32, 8))
	for name, f := range map[string]func(){
		"Gated":       func() { tape.Gated(GELUGate, x, w) },
		"Ungated":     func() { tape.Ungated(OAIGate, x) },
		"SigmoidGate": func() { tape.SigmoidGate(x, w) },
		"ScaleByRow":  func() { tape.ScaleByRow(x, []float32{1}) },
		"SplitHeads":  func() { tape.SplitHeads(x, 3, 1, 3) },
		"BesideHeads": func() { tape.BesideHeads(x, w, 3) },
	} {
		wantPanic(t, name, f)
	}
}

// BenchmarkGate has all gates, activations and gates of sigmoids.
func BenchmarkGate(b *testing.B) {
	const rows, width = 256, 4096
	two, one := [][2]int{{rows, width}, {rows, width}}, [][2]int{{rows, width}}
	for name, k := range allGates {
		benchmarkGraph(b, graph{name + " gated", two, func(t *Tape, p []*Tensor) *Tensor {
			return t.Gated(k, p[0], p[1])
		}}, 3*rows*width)
		if k != OAIGate {
			benchmarkGraph(b, graph{name, one, func(t *Tape, p []*Tensor) *Tensor { return t.Ungated(k, p[0]) }}, 2*rows*width)
		}
	}
	for _, g := range []graph{
		{"SigmoidGate", two, func(t *Tape, p []*Tensor) *Tensor { return t.SigmoidGate(p[0], p[1]) }},
		{"SigmoidGate of rows", [][2]int{{rows, width}, {rows, 1}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.SigmoidGate(p[0], p[1])
		}},
		{"Sigmoid", one, func(t *Tape, p []*Tensor) *Tensor { return t.Sigmoid(p[0]) }},
		{"Clamp", one, func(t *Tape, p []*Tensor) *Tensor { return t.Clamp(p[0], 1) }},
		{"Scaled", one, func(t *Tape, p []*Tensor) *Tensor { return t.Scaled(p[0], 0.5) }},
	} {
		benchmarkGraph(b, g, len(g.params)*rows*width+rows*width)
	}
}

// TestOperationsAllocateNothing wants a step like the one before to find all memory that it needs.
func TestOperationsAllocateNothing(t *testing.T) {
	defer kernels.SetThreads(0)
	for _, threads := range []int{1, 3} {
		kernels.SetThreads(threads)
		const rows, width = 64, 300
		p := randomParams([][2]int{{rows, width}, {1, width}, {1, width}, {rows, 1}}, 5)
		tape, factors := NewTape(), make([]float32, rows)
		step := func() {
			tape.Reset(1)
			x := tape.RMSNorm(p[0], p[1], 1e-5)
			x = tape.LayerNorm(x, p[1], p[2], width, 1e-5)
			x = tape.GroupRMSNorm(x, nil, 20, 1e-5)
			for k := range LinearGate + 1 {
				x = tape.Gated(k, x, x)
			}
			x = tape.Ungated(GELUGate, x)
			x = tape.SigmoidGate(x, tape.SigmoidGate(tape.Sigmoid(x), p[3]))
			x = tape.Clamp(tape.ScaleByRow(tape.Scaled(x, 2), factors), 1)
			x = tape.BesideHeads(tape.SplitHeads(x, 3, 50, 100), tape.SplitHeads(x, 3, 0, 50), 3)
			x = tape.RepeatHeads(tape.Split(x, 0, 100), 3)
			tape.startGrad(x)
			tape.Backward()
		}
		if n := alloctest.Steady(20, step); n > 0 {
			t.Errorf("%d threads: a step allocates %g times", threads, n)
		}
	}
}
