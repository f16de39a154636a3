package autograd

import (
	"math"
	"testing"
)

// yarnTest extends 64 positions by 8.
var yarnTest = YaRN{Factor: 8, Original: 64, BetaFast: 4, BetaSlow: 1, Share: 1}

var ropeGraphs = []graph{
	{"Rope with YaRN", [][2]int{{9, 16}}, func(t *Tape, p []*Tensor) *Tensor {
		r := Rope{Dim: 8, Base: 100, Neox: true}
		yarnTest.Extend(&r)
		return t.Rope(leaf(t, p[0]), testPos, 8, NewRopeTable(r))
	}},
	{"Rope of the end of a head", [][2]int{{9, 20}}, func(t *Tape, p []*Tensor) *Tensor {
		table := NewRopeTable(Rope{Dim: 6, Offset: 4, Base: 100, Scale: 1, Magnitude: 1.5})
		return t.Rope(leaf(t, p[0]), testPos, 10, table)
	}},
	{"Rope of the middle of a head", [][2]int{{9, 20}}, func(t *Tape, p []*Tensor) *Tensor {
		table := NewRopeTable(Rope{Dim: 4, Offset: 4, Base: 100, Scale: 1, Neox: true})
		return t.Rope(leaf(t, p[0]), testPos, 10, table)
	}},
}

func TestRopeGradients(t *testing.T) { checkGradients(t, ropeGraphs) }

// TestRopeOfPart compares with the rotation written out: of the turned values only, times the magnitude.
func TestRopeOfPart(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, neox := range []bool{false, true} {
		r := Rope{Dim: 6, Offset: 3, Base: 50, Scale: 0.5, Factors: []float32{1, 2, inf}, Neox: neox, Magnitude: 1.25}
		p := randomParams([][2]int{{9, 20}}, 5)[0]
		tape := NewTape()
		y := tape.Rope(leaf(tape, p), testPos, 10, NewRopeTable(r))
		want := make([]float64, 20)
		for row := range 9 {
			for j, v := range p.Row(row) {
				want[j] = float64(v)
			}
			for head := 0; head < 20; head += 10 {
				for i := range 3 {
					a, b := head+3+2*i, head+3+2*i+1
					if neox {
						a, b = head+3+i, head+3+i+3
					}
					angle := 0.0
					if i < 2 {
						angle = float64(testPos[row]) * 0.5 * math.Pow(50, -float64(i)/3) / float64(i+1)
					}
					x, z := want[a], want[b]
					want[a] = 1.25 * (x*math.Cos(angle) - z*math.Sin(angle))
					want[b] = 1.25 * (x*math.Sin(angle) + z*math.Cos(angle))
				}
			}
			for j, v := range y.Row(row) {
				if math.Abs(float64(v)-want[j]) > 1e-5 {
					t.Fatalf("neox %v: row %d, column %d is %g, want %g", neox, row, j, v, want[j])
				}
			}
		}
	}
}

// transformersYaRN is _compute_yarn_parameters of transformers' modeling_rope_utils.py.
func transformersYaRN(dim int, base, factor, original, fast, slow float64) (inverse []float64, attention float64) {
	correction := func(rotations float64) float64 {
		return float64(dim) * math.Log(original/(rotations*2*math.Pi)) / (2 * math.Log(base))
	}
	low, high := math.Max(math.Floor(correction(fast)), 0), math.Min(math.Ceil(correction(slow)), float64(dim-1))
	if low == high {
		high += 0.001
	}
	for i := range dim / 2 {
		frequency := math.Pow(base, float64(2*i)/float64(dim))
		extrapolation, interpolation := 1/frequency, 1/(factor*frequency)
		ramp := math.Min(math.Max((float64(i)-low)/(high-low), 0), 1)
		share := 1 - ramp
		inverse = append(inverse, interpolation*(1-share)+extrapolation*share)
	}
	return inverse, 0.1*math.Log(factor) + 1
}

// TestYaRN compares angles and magnitude with those of transformers, and the ends of the ramp with known ones.
func TestYaRN(t *testing.T) {
	for _, c := range []struct {
		name           string
		dim            int
		base           float64
		factor, window float64
		low, high      float64
	}{
		{"Llama 2", 128, 1e4, 16, 4096, 20, 46},
		{"Qwen 2.5", 128, 1e6, 4, 32768, 23, 40},
		{"short", 8, 100, 8, 64, 0, 3},
		{"one pair", 2, 100, 8, 8, 0, 1},
	} {
		r := Rope{Dim: c.dim, Base: c.base}
		YaRN{Factor: c.factor, Original: c.window, BetaFast: 32, BetaSlow: 1, Share: 1}.Extend(&r)
		if r.Ramp.Low != c.low || r.Ramp.High != c.high {
			t.Errorf("%s: the ramp is from %g to %g, want %g to %g", c.name, r.Ramp.Low, r.Ramp.High, c.low, c.high)
		}
		want, magnitude := transformersYaRN(c.dim, c.base, c.factor, c.window, 32, 1)
		for i, angle := range r.Angles() {
			if math.Abs(angle-want[i]) > 1e-7*want[i] {
				t.Errorf("%s: angle %d is %g, want %g", c.name, i, angle, want[i])
			}
		}
		if math.Abs(r.Magnitude-magnitude) > 1e-12 {
			t.Errorf("%s: magnitude %g, want %g", c.name, r.Magnitude, magnitude)
		}
	}
}

// TestYaRNMagnitude has the numbers of configurations, computed by hand: ln(40) = 3.688879454113936.
func TestYaRNMagnitude(t *testing.T) {
	const ln40 = 3.688879454113936
	for _, c := range []struct {
		name string
		y    YaRN
		want float64
	}{
		{"plain", YaRN{Factor: 40, Share: 1}, 1 + 0.1*ln40},
		{"with an attention factor", YaRN{Factor: 40, Share: 1, Attention: 0.5}, 0.5 + 0.05*ln40},
		{"no ramp", YaRN{Factor: 40, Attention: 0.5}, 0.5},
		{"shorter", YaRN{Factor: 0.5, Share: 1}, 1},
		{"DeepSeek V2", YaRN{Factor: 40, Share: 1, Multiplier: 0.707, AllMultiplier: 0.707}, 1},
		{"multiplier of all", YaRN{Factor: 40, Share: 1, AllMultiplier: 0.5}, (1 + 0.1*ln40) / (1 + 0.05*ln40)},
		{"both multipliers", YaRN{Factor: 40, Share: 1, Multiplier: 2, AllMultiplier: 1}, (1 + 0.2*ln40) / (1 + 0.1*ln40)},
	} {
		if got := c.y.Magnitude(); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%s: magnitude %g, want %g", c.name, got, c.want)
		}
	}
}

// TestRampShare wants a share of the ramp, as ggml's extrapolation factor.
func TestRampShare(t *testing.T) {
	r := Rope{Dim: 8, Base: 100, Scale: 0.25, Ramp: Ramp{Share: 0.5, Low: 1, High: 3}}
	for i, mix := range []float64{0.5, 0.5, 0.25, 0} {
		theta := math.Pow(100, -float64(i)/4)
		if want := theta * (mix + 0.25*(1-mix)); math.Abs(r.Angles()[i]-want) > 1e-7*want {
			t.Errorf("angle %d is %g, want %g", i, r.Angles()[i], want)
		}
	}
}

func TestRopePanics(t *testing.T) {
	tape, x := NewTape(), NewConst(1, 8, make([]float32, 8))
	wantPanic(t, "factors", func() { NewRopeTable(Rope{Dim: 8, Base: 10, Scale: 1, Factors: []float32{1}}) })
	wantPanic(t, "offset", func() {
		tape.Rope(x, []int32{0}, 8, NewRopeTable(Rope{Dim: 4, Offset: 5, Base: 10, Scale: 1}))
	})
}

func BenchmarkRope(b *testing.B) {
	const rows, heads, dim = 256, 32, 128
	pos := make([]int32, rows)
	for i := range pos {
		pos[i] = int32(i)
	}
	for name, r := range map[string]Rope{
		"halves":     {Dim: dim, Base: 1e4, Scale: 1, Neox: true},
		"neighbours": {Dim: dim, Base: 1e4, Scale: 1},
		"partial":    {Dim: dim / 2, Offset: dim / 2, Base: 1e4, Scale: 1},
	} {
		table := NewRopeTable(r)
		benchmarkGraph(b, graph{name, [][2]int{{rows, heads * dim}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.Rope(t.view(p[0]), pos, dim, table)
		}}, 2*rows*heads*r.Dim)
	}
}
