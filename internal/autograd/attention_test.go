package autograd

import (
	"math"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/alloctest"
)

// attentionHeads are heads with each of what is not in every model, and with all of it.
var attentionHeads = []struct {
	name string
	Heads
}{
	{"a window", Heads{Window: 2}},
	{"values of their own size", Heads{ValueDim: 6}},
	{"a cap", Heads{Cap: 1.5}},
	{"sinks", Heads{Sinks: []float32{1, -1, 3, 0}}},
	{"slopes", Heads{Slopes: []float32{0.5, 0.1, 1, 0}}},
	{"all", Heads{Window: 3, ValueDim: 3, Cap: 1.5, Sinks: []float32{1, -1, 2, 0}, Slopes: []float32{0.5, 0.1, 1, 0}}},
}

// all fills in what the heads have in common.
func (h Heads) all() Heads {
	h.Queries, h.Keys, h.Dim, h.Scale = 4, 2, 4, 0.5
	return h
}

// TestAttentionGradients compares the backward of attention with central differences.
func TestAttentionGradients(t *testing.T) {
	var graphs []graph
	for _, c := range attentionHeads {
		h := c.all()
		shapes := [][2]int{{9, 16}, {9, 8}, {9, 2 * h.valueDim()}}
		graphs = append(graphs, graph{"Attention with " + c.name, shapes, func(t *Tape, p []*Tensor) *Tensor {
			return t.Attention(p[0], p[1], p[2], testBounds, h)
		}})
		prefixed := append(slices.Clone(shapes), [2]int{2, 8}, [2]int{2, 2 * h.valueDim()})
		graphs = append(graphs, graph{"over a prefix with " + c.name, prefixed, func(t *Tape, p []*Tensor) *Tensor {
			return attendOverPrefix(t, p, h)
		}})
	}
	long := Heads{Queries: 2, Keys: 1, Dim: 2, ValueDim: 3, Scale: 0.5, Window: 70, Cap: 2, Sinks: []float32{1, 2}}
	shapes := [][2]int{{130, 4}, {130, 2}, {130, 3}}
	graphs = append(graphs, graph{"Attention over two blocks", shapes, func(t *Tape, p []*Tensor) *Tensor {
		return t.Attention(p[0], p[1], p[2], []int32{0, 130}, long)
	}})
	checkGradients(t, graphs)
}

// attendOverPrefix is attention of p[0], p[1] and p[2] with the keys p[3] and values p[4] before each sequence.
func attendOverPrefix(t *Tape, p []*Tensor, h Heads) *Tensor {
	none := NewConst(2, 16, make([]float32, 32))
	q, k, v := t.Prefix(p[0], none, testBounds), t.Prefix(p[1], p[3], testBounds), t.Prefix(p[2], p[4], testBounds)
	return t.WithoutPrefix(t.Attention(q, k, v, PrefixBounds(testBounds, 2), h), 2, testBounds)
}

// TestAttentionWindowOverPrefix wants windows to count from the start of the prefix: a token sees as much of it as is
// less than the window away.
func TestAttentionWindowOverPrefix(t *testing.T) {
	h := Heads{Window: 4}.all()
	p := randomParams([][2]int{{9, 16}, {9, 8}, {9, 8}, {2, 8}, {2, 8}}, 5)
	tape := NewTape()
	before := slices.Clone(attendOverPrefix(tape, p, h).Data)
	for row := range 2 {
		for i := range 8 {
			p[4].Row(row)[i] += 10
		}
		after := slices.Clone(attendOverPrefix(tape, p, h).Data)
		for i, pos := range testPos {
			sees := int(pos)+2-row < h.Window
			if same := slices.Equal(before[i*16:(i+1)*16], after[i*16:(i+1)*16]); same == sees {
				t.Errorf("token %d at position %d: sees row %d of the prefix: %v, want %v", i, pos, row, !same, sees)
			}
		}
		before = after
	}
}

// TestCachedAttentionHeads compares attention over a cache, one token and several at a time, with attention over the
// whole sequence.
func TestCachedAttentionHeads(t *testing.T) {
	const rows = 60
	for _, c := range attentionHeads {
		h := c.all()
		dim := h.valueDim()
		p := randomParams([][2]int{{rows, 16}, {rows, 8}, {rows, 2 * dim}}, 5)
		tape := NewTape()
		want := slices.Clone(tape.Attention(p[0], p[1], p[2], []int32{0, rows}, h).Data)
		var got []float32
		for _, n := range []int{4, 1, 30, 1, 24} {
			past := len(got) / (4 * dim)
			q := NewConst(n, 16, p[0].Data[past*16:(past+n)*16])
			got = append(got, cachedAttention(tape, q, p[1].Data, p[2].Data, past, h).Data...)
		}
		if len(got) != len(want) {
			t.Fatalf("%s: %d values, want %d", c.name, len(got), len(want))
		}
		for i := range want {
			if !(math.Abs(float64(want[i]-got[i])) <= 1e-5) {
				t.Fatalf("%s: value %d is %g over the cache, %g at once", c.name, i, got[i], want[i])
			}
		}
	}
}

// TestAttentionAllocatesNothing wants steps like the one before to find all memory that they need.
func TestAttentionAllocatesNothing(t *testing.T) {
	for _, c := range attentionHeads {
		h := c.all()
		p := randomParams([][2]int{{9, 16}, {9, 8}, {9, 2 * h.valueDim()}}, 5)
		tape := NewTape()
		step := func() {
			tape.Reset(1)
			y := tape.Attention(p[0], p[1], p[2], testBounds, h)
			clear(tape.grad(y))
			cachedAttention(tape, p[0], p[1].Data, p[2].Data, 0, h)
			tape.Backward()
		}
		if n := alloctest.Steady(20, step); n > 0 {
			t.Errorf("a step with %s allocates %g times", c.name, n)
		}
	}
}
