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
