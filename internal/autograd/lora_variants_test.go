package autograd

import (
	"math"
	"testing"

	"github.com/peftconv/peftconv/kernels"
)

func TestLoRAVariantGradients(t *testing.T) {
	ids := []int32{4, 0, -1, 4, 2}
	checkGradients(t, []graph{
		{"Magnitude", [][2]int{{5, 8}, {1, 8}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.Magnitude(p[0], p[1], []float32{1, 2, -1, 0.5, 1, 1, 3, 0.1})
		}},
		{"EmbeddingLoRA", [][2]int{{3, 6}, {8, 3}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.EmbeddingLoRA(t.Embedding(ids, dense(6, 8, 3)), ids, p[0], p[1], 0.7)
		}},
		{"ReplaceRows", [][2]int{{5, 8}, {2, 8}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.ReplaceRows(leaf(t, p[0]), p[1], []int{-1, 1, 0, 1, -1})
		}},
	})
}

// TestCrossEntropyOfLowRankHead: the logits x·Wᵀ + (x·aᵀ)·bᵀ, b being the last columns of a wider matrix.
func TestCrossEntropyOfLowRankHead(t *testing.T) {
	params := randomParams([][2]int{{4, 300}, {2, 300}, {11, 2}}, 7)
	h, a, b := params[0], params[1], params[2]
	tape := NewTape()
	loss := func(record bool) (sum float64) {
		tape.Reset(0)
		tape.Record(record)
		w := kernels.Widened{W: dense(11, 300, 3), B: kernels.Dense{Rows: 11, Cols: 2, Data: b.Data}}
		for _, l := range tape.CrossEntropy(tape.Beside(h, tape.Dense(h, a, nil)), w, b, []int32{3, 0, 10, 3}, 1, Logits{}) {
			sum += float64(l)
		}
		return sum
	}
	whole := dense(11, 300, 3)
	kernels.Gemm(false, false, 11, 300, 2, 1, b.Data, 2, a.Data, 300, 1, whole.Data, 300)
	want := plainCrossEntropy(h, &Tensor{Rows: 11, Cols: 300, Data: whole.Data}, []int32{3, 0, 10, 3})
	if got := loss(true); math.Abs(got-want) > 1e-5*want {
		t.Errorf("loss %g, want %g", got, want)
	}
	tape.Backward()
	for i, p := range params {
		checkDirection(t, i, p, func() float64 { return loss(false) })
	}
}
