package autograd

import "testing"

// lstmShapes are those of an LSTM of 3 over 5 rows of 4.
var lstmShapes = [][2]int{{5, 4}, {12, 4}, {12, 3}, {1, 12}, {1, 12}}

func lstmOf(p []*Tensor) LSTMWeights { return LSTMWeights{p[1], p[2], p[3], p[4]} }

var virtualGraphs = []graph{
	{"Virtual", [][2]int{{5, 4}, {2, 4}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.Virtual(leaf(t, p[0]), []int32{-3, -4, 7, -3, 8}, p[1], -3)
	}},
	{"Columns", [][2]int{{3, 6}}, func(t *Tape, p []*Tensor) *Tensor { return t.Columns(p[0], []int{4, 1, 1}) }},
	{"Beside", [][2]int{{3, 2}, {3, 5}}, func(t *Tape, p []*Tensor) *Tensor { return t.Beside(p[0], p[1]) }},
	{"Dropout", [][2]int{{6, 20}}, func(t *Tape, p []*Tensor) *Tensor { return t.Dropout(p[0], 0.3) }},
	{"Above", [][2]int{{3, 4}, {2, 4}}, func(t *Tape, p []*Tensor) *Tensor { return t.Above(p[0], p[1]) }},
	{"Prefix", [][2]int{{9, 4}, {2, 4}}, func(t *Tape, p []*Tensor) *Tensor { return t.Prefix(p[0], p[1], testBounds) }},
	{"WithoutPrefix", [][2]int{{15, 4}}, func(t *Tape, p []*Tensor) *Tensor {
		return t.WithoutPrefix(p[0], 2, testBounds)
	}},
	{"Attention over a prefix", [][2]int{{9, 16}, {9, 8}, {9, 8}, {2, 8}, {2, 8}}, func(t *Tape, p []*Tensor) *Tensor {
		none := NewConst(2, 16, make([]float32, 32))
		q, k, v := t.Prefix(p[0], none, testBounds), t.Prefix(p[1], p[3], testBounds), t.Prefix(p[2], p[4], testBounds)
		y := t.Attention(q, k, v, PrefixBounds(testBounds, 2), Heads{Queries: 4, Keys: 2, Dim: 4, Scale: 0.5})
		return t.WithoutPrefix(y, 2, testBounds)
	}},
	{"Hold", [][2]int{{5, 4}, {5, 4}}, func(t *Tape, p []*Tensor) *Tensor {
		made := t.Hold(t.Activate(p[1], Tanh))
		x := leaf(t, p[0])
		for range 2 {
			x = t.Checkpoint(x, func(x *Tensor) *Tensor { return t.Add(t.Activate(x, SiLU), made) })
		}
		return x
	}},
	{"LSTM", lstmShapes, func(t *Tape, p []*Tensor) *Tensor { return t.LSTM(p[0], lstmOf(p), false) }},
	{"LSTM in reverse", lstmShapes, func(t *Tape, p []*Tensor) *Tensor { return t.LSTM(p[0], lstmOf(p), true) }},
}

// TestVirtualGradients compares the backward of what virtual tokens and prefixes need with central differences.
func TestVirtualGradients(t *testing.T) { checkGradients(t, virtualGraphs) }

// TestPrefixBounds has sequences of 3, 1 and 5 rows with 2 before each.
func TestPrefixBounds(t *testing.T) {
	x, p := NewConst(9, 1, []float32{0, 1, 2, 3, 4, 5, 6, 7, 8}), NewConst(2, 1, []float32{-1, -2})
	tape := NewTape()
	y := tape.Prefix(x, p, testBounds)
	want := []float32{-1, -2, 0, 1, 2, -1, -2, 3, -1, -2, 4, 5, 6, 7, 8}
	for i, v := range y.Data {
		if v != want[i] {
			t.Fatalf("with the prefix: %v, want %v", y.Data, want)
		}
	}
	back := tape.WithoutPrefix(y, 2, testBounds)
	for i, v := range back.Data {
		if v != x.Data[i] {
			t.Fatalf("without it again: %v, want %v", back.Data, x.Data)
		}
	}
	if b := PrefixBounds(testBounds, 2); b[1] != 5 || b[2] != 8 || b[3] != 15 {
		t.Errorf("bounds %v, want 0 5 8 15", b)
	}
}
