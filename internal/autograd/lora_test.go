package autograd

import (
	"math"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/kernels"
)

// largest is the largest difference of two slices, as a share of the largest number of the second.
func largest(x, want []float32) float64 {
	var difference, size float64
	for i, v := range want {
		difference = max(difference, math.Abs(float64(x[i]-v)))
		size = max(size, math.Abs(float64(v)))
	}
	return difference / size
}

// TestLoRAWithLinear compares a LoRA that is made with its Linear, and one that only goes backward with it, with one
// that a hardly ever dropping dropout keeps apart: below trained tensors, at the bottom of them, and without a backward
// pass.
func TestLoRAWithLinear(t *testing.T) {
	const rows, in, out, rank, vocab = 40, 70, 50, 4, 30
	step := func(dropout float32, product func(t *Tape, x *Tensor, w kernels.Weights, l LowRank) *Tensor, bottom,
		record bool) [][]float32 {
		p := randomParams([][2]int{{rows, in}, {rank, in}, {out, rank}}, 5)
		tape := NewTape()
		tape.Record(record)
		x := leaf(tape, p[0])
		if bottom {
			x = NewConst(rows, in, p[0].Data)
		}
		y := tape.LoRA(product(tape, x, dense(out, in, 1), LowRank{p[1], p[2], 0.5}), x, p[1], p[2], 0.5, dropout)
		losses := tape.CrossEntropy(y, dense(vocab, out, 2), nil, make([]int32, rows), 1, Logits{})
		all := [][]float32{slices.Clone(losses), slices.Clone(y.Data)}
		if record {
			tape.Backward()
		}
		return append(all, x.Grad, p[1].Grad, p[2].Grad)
	}
	linear := func(t *Tape, x *Tensor, w kernels.Weights, _ LowRank) *Tensor { return t.Linear(x, w) }
	for _, c := range []struct{ bottom, record bool }{{false, true}, {true, true}, {false, false}} {
		apart := step(1e-12, linear, c.bottom, c.record)
		for name, got := range map[string][][]float32{
			"backward with Linear": step(0, linear, c.bottom, c.record),
			"made with it":         step(0, (*Tape).LinearLoRA, c.bottom, c.record),
		} {
			for i := range got {
				if len(got[i]) != len(apart[i]) {
					t.Fatalf("%+v, %s: result %d has %d numbers, want %d", c, name, i, len(got[i]), len(apart[i]))
				}
				if d := largest(got[i], apart[i]); d > 1e-5 {
					t.Errorf("%+v, %s: result %d is off by %v", c, name, i, d)
				}
			}
		}
	}
}

// TestLogitsInBytes wants the gradient of the loss to survive products of bytes: its thousands of small numbers count
// together as much as the large one.
func TestLogitsInBytes(t *testing.T) {
	const rows, width, vocab = 40, 64, 3000
	gradient := func(p kernels.Precision) []float32 {
		params := randomParams([][2]int{{rows, width}}, 5)
		kernels.Scale(0.1, params[0].Data) // logits near 1
		w := dense(vocab, width, 2)
		for i := range w.Data {
			w.Data[i]++ // or the small numbers add up to nothing
		}
		tape := NewTape()
		tape.Precision(p)
		x := leaf(tape, params[0])
		tape.CrossEntropy(x, w, nil, make([]int32, rows), 1, Logits{})
		tape.Backward()
		return x.Grad
	}
	if d := largest(gradient(kernels.Int8), gradient(kernels.F32)); d > 0.02 {
		t.Errorf("the gradient is off by %v", d)
	}
}
