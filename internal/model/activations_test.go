package model

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/quant"
)

// TestActivationRounding wants every value within half a step of its block's grid, extremes kept, and none of
// it for float32 weights.
func TestActivationRounding(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	x := autograd.NewConst(2, 512, make([]float32, 1024))
	for i := range x.Data {
		x.Data[i] = float32(rng.NormFloat64())
	}
	clear(x.Data[512:768])
	x.Data[3] = -9
	cases := []struct {
		kind  gguf.Type
		block int
		steps float64 // a block's largest value in steps; 0: relative precision of 2^-11
	}{{gguf.Q8_0, 32, 127}, {gguf.Q4_1, 32, 127}, {gguf.Q4_K, 256, 127}, {gguf.F16, 32, 0}}
	for _, c := range cases {
		w := &quant.Matrix{Type: c.kind}
		y := RuntimeActivations{NoHooks{}}.Input(autograd.NewTape(), nil, w, x)
		same := 0
		for at := 0; at < len(x.Data); at += c.block {
			top := 0.0
			for _, v := range x.Data[at : at+c.block] {
				top = max(top, math.Abs(float64(v)))
			}
			for i := at; i < at+c.block; i++ {
				limit := math.Abs(float64(x.Data[i])) / 2048
				if c.steps > 0 {
					limit = top / c.steps * 0.57 // half a step, and the step itself rounded to half precision
				}
				if diff := math.Abs(float64(x.Data[i] - y.Data[i])); diff > limit {
					t.Fatalf("%s: value %d is %g after rounding %g, further than %g", c.kind, i, y.Data[i], x.Data[i], limit)
				}
				if x.Data[i] == y.Data[i] {
					same++
				}
			}
		}
		if same > 400 {
			t.Errorf("%s: %d of 1024 values were not rounded at all", c.kind, same)
		}
	}
	if y := (RuntimeActivations{NoHooks{}}).Input(autograd.NewTape(), nil, &quant.Matrix{Type: gguf.F32}, x); y != x {
		t.Error("the input of float32 weights was changed")
	}
}

// doubled doubles inputs.
type doubled struct{ NoHooks }

func (doubled) Input(t *autograd.Tape, _ *Linear, _ *quant.Matrix, x *autograd.Tensor) *autograd.Tensor {
	return t.Add(x, x)
}

// TestActivationsOfHooks: what is rounded is what the hooks make of the input.
func TestActivationsOfHooks(t *testing.T) {
	x := autograd.NewConst(1, 32, make([]float32, 32))
	x.Data[3] = 1.5
	for _, kind := range []gguf.Type{gguf.F32, gguf.Q8_0} {
		y := RuntimeActivations{doubled{}}.Input(autograd.NewTape(), nil, &quant.Matrix{Type: kind}, x)
		if y.Data[3] < 2.99 || y.Data[3] > 3.01 {
			t.Errorf("over %v the input is %v, expected 3", kind, y.Data[3])
		}
	}
}

// TestHalvesToEven wants the runtime's rounding of halves, which is not that of the blocks in files.
func TestHalvesToEven(t *testing.T) {
	x := make([]float32, 64)
	copy(x, []float32{127, 0.5, 1.5, 2.5, -2.5, -3.5})
	y := make([]float32, 64)
	roundQ8(y, x)
	for i, want := range []float32{127, 0, 2, 2, -2, -4, 0} {
		if y[i] != want {
			t.Errorf("%v is rounded to %v, expected %v", x[i], y[i], want)
		}
	}
}

// TestMinima holds products with blocks that have minima against the runtime's arithmetic: integers, steps in half
// precision, and the sum of a block's inputs in half precision.
func TestMinima(t *testing.T) {
	const rows, cols, tokens = 6, 128, 5
	rng := rand.New(rand.NewPCG(2, 2))
	random := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		return x
	}
	half := func(v float32) float64 {
		x := []float32{v}
		roundThrough(gguf.F16, x, x)
		return float64(x[0])
	}
	for _, kind := range []gguf.Type{gguf.Q4_0, gguf.Q4_1, gguf.Q5_1} {
		data := make([]byte, rows*cols/32*kind.BlockSize())
		quant.Quantize(kind, data, random(rows*cols), cols, nil)
		w, err := quant.NewMatrix(kind, rows, cols, data)
		if err != nil {
			t.Fatal(err)
		}
		x := autograd.NewConst(tokens, cols, random(tokens*cols))
		y := Project(autograd.NewTape(), &Linear{W: w}, x, RuntimeActivations{NoHooks{}})
		head := RuntimeActivations{NoHooks{}}.Head(autograd.NewTape(), x, Head{W: &w})
		weights := make([]float32, cols)
		for r := range rows {
			w.Row(weights, r)
			for i := range tokens {
				want, besides := 0.0, 0.0 // the product; what of it rounded inputs and weights alone do not give
				for at := 0; at < cols; at += 32 {
					block := x.Row(i)[at : at+32]
					top := float32(0)
					for _, v := range block {
						top = max(top, v, -v)
					}
					step, minimum, sum := top/127, 0.0, 0.0
					if hasMinima(kind) {
						var m [cols / 32]float32
						minima(m[:], &w, r)
						minimum = float64(m[at/32])
					}
					for j, v := range block {
						code := math.RoundToEven(float64(v * (127 / top)))
						sum += code
						want += (float64(weights[at+j]) - minimum) * half(step) * code
					}
					want += minimum * half(float32(float64(step)*sum))
					besides += minimum * (half(float32(float64(step)*sum)) - half(step)*sum)
				}
				if got := float64(y.Row(i)[r]); math.Abs(got-want) > 2e-5 {
					t.Errorf("%v: product %d of token %d is %.7g, expected %.7g", kind, r, i, got, want)
				}
				if head.U == nil {
					if besides != 0 {
						t.Errorf("%v: nothing is added to the products of the head", kind)
					}
					continue
				}
				added := 0.0
				for k, u := range head.U.Row(i) {
					added += float64(u) * float64(head.B.Row(r)[k])
				}
				if math.Abs(added-besides) > 1e-5 {
					t.Errorf("%v: %.4g is added to logit %d of token %d, expected %.4g", kind, added, r, i, besides)
				}
			}
		}
	}
}
