package autograd

import (
	"slices"
	"testing"
)

var columnGraphs = []graph{
	{"Split", [][2]int{{4, 10}}, func(t *Tape, p []*Tensor) *Tensor {
		x := leaf(t, p[0]) // columns 2 to 4 are in both parts, 8 and 9 in none
		return t.Beside(t.Split(x, 2, 8), t.Split(x, 0, 5))
	}},
	{"SplitHeads", [][2]int{{4, 30}}, func(t *Tape, p []*Tensor) *Tensor {
		x := leaf(t, p[0])
		return t.SwiGLU(t.SplitHeads(x, 3, 0, 5), t.SplitHeads(x, 3, 5, 10))
	}},
	{"BesideHeads", [][2]int{{4, 6}, {4, 9}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.BesideHeads(p[0], p[1], 3)
	}},
	{"BesideHeads of a constant", [][2]int{{4, 6}}, func(t *Tape, p []*Tensor) *Tensor {
		c := NewConst(4, 3, make([]float32, 12))
		return t.BesideHeads(c, t.BesideHeads(p[0], c, 3), 3)
	}},
	{"RepeatHeads", [][2]int{{4, 6}}, func(t *Tape, p []*Tensor) *Tensor { return t.RepeatHeads(p[0], 3) }},
	{"key of one head for all", [][2]int{{4, 6}, {4, 2}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.BesideHeads(p[0], t.RepeatHeads(p[1], 3), 3)
	}},
}

func TestColumnGradients(t *testing.T) { checkGradients(t, columnGraphs) }

// TestColumns compares with the order of columns written out.
func TestColumns(t *testing.T) {
	row := func(first float32, n int) *Tensor {
		x := make([]float32, 2*n)
		for i := range x {
			x[i] = first + float32(i%n+i/n*100)
		}
		return NewConst(2, n, x)
	}
	tape := NewTape()
	for name, c := range map[string]struct {
		y    *Tensor
		want []float32
	}{
		"Split":      {tape.Split(row(0, 6), 2, 4), []float32{2, 3, 102, 103}},
		"SplitHeads": {tape.SplitHeads(row(0, 6), 2, 1, 3), []float32{1, 2, 4, 5, 101, 102, 104, 105}},
		"BesideHeads": {tape.BesideHeads(row(0, 4), row(10, 2), 2),
			[]float32{0, 1, 10, 2, 3, 11, 100, 101, 110, 102, 103, 111}},
		"RepeatHeads": {tape.RepeatHeads(row(0, 2), 3), []float32{0, 1, 0, 1, 0, 1, 100, 101, 100, 101, 100, 101}},
	} {
		if !slices.Equal(c.y.Data, c.want) {
			t.Errorf("%s: %v, want %v", name, c.y.Data, c.want)
		}
	}
}

// TestSplitsUndoBeside wants the same values, and the whole gradient, back.
func TestSplitsUndoBeside(t *testing.T) {
	p := randomParams([][2]int{{4, 6}, {4, 9}}, 5)
	tape := NewTape()
	y := tape.BesideHeads(p[0], p[1], 3)
	a, b := tape.SplitHeads(y, 3, 0, 2), tape.SplitHeads(y, 3, 2, 5)
	if !slices.Equal(a.Data, p[0].Data) || !slices.Equal(b.Data, p[1].Data) {
		t.Fatal("columns differ from what was put together")
	}
	copy(tape.grad(a), p[0].Data)
	copy(tape.grad(b), p[1].Data)
	tape.Backward()
	if !slices.Equal(p[0].Grad, p[0].Data) || !slices.Equal(p[1].Grad, p[1].Data) {
		t.Fatal("gradients differ from those given")
	}
}

func BenchmarkColumns(b *testing.B) {
	const rows, heads, d = 256, 32, 128
	for _, g := range []graph{
		{"SplitHeads", [][2]int{{rows, heads * d}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.SplitHeads(p[0], heads, 0, d)
		}},
		{"BesideHeads", [][2]int{{rows, heads * d / 2}, {rows, heads * d / 2}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.BesideHeads(p[0], p[1], heads)
		}},
		{"RepeatHeads", [][2]int{{rows, d}}, func(t *Tape, p []*Tensor) *Tensor { return t.RepeatHeads(p[0], heads) }},
	} {
		benchmarkGraph(b, g, 2*rows*heads*d)
	}
}
