package autograd

import (
	"math"
	"testing"
)

// small gives weights that are a tenth of a parameter, so that series in them converge.
func small(t *Tape, p *Tensor) *Tensor { return t.Scaled(p, 0.1) }

func TestMethodGradients(t *testing.T) {
	reversed := []int32{5, 4, 3, 2, 1, 0}
	checkGradients(t, []graph{
		{"ScaleColumns", [][2]int{{20, 70}, {1, 70}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.ScaleColumns(p[0], p[1], 1, nil)
		}},
		{"ScaleColumns of a shifted half", [][2]int{{5, 2}, {1, 2}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.ScaleColumns(p[0], p[1], 0.5, []float32{1, -2})
		}},
		{"AddRow", [][2]int{{5, 70}, {1, 70}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.AddRow(leaf(t, p[0]), p[1], 0.5, nil)
		}},
		{"AddRow in place of another", [][2]int{{5, 2}, {1, 2}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.AddRow(leaf(t, p[0]), p[1], 1, []float32{1, -2})
		}},
		{"ScaleRows", [][2]int{{5, 8}, {5, 1}}, func(t *Tape, p []*Tensor) *Tensor { return t.ScaleRows(p[0], p[1]) }},
		{"MatMul", [][2]int{{5, 8}, {8, 3}}, func(t *Tape, p []*Tensor) *Tensor { return t.MatMul(p[0], p[1]) }},
		{"RowProducts", [][2]int{{3, 70}, {2, 70}}, func(t *Tape, p []*Tensor) *Tensor { return t.RowProducts(p[0], p[1]) }},
		{"ColumnProducts", [][2]int{{5, 3}, {5, 2}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.ColumnProducts(p[0], p[1])
		}},
		{"Kronecker", [][2]int{{5, 12}, {2, 3}, {3, 4}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.Kronecker(t.Linear(p[0], dense(6, 12, 7)), p[0], p[1], p[2], 0.7, nil)
		}},
		{"Kronecker in another order", [][2]int{{5, 12}, {2, 3}, {3, 4}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.Kronecker(t.Linear(p[0], dense(6, 12, 7)), p[0], p[1], p[2], 0.7, reversed)
		}},
		{"VeRA", [][2]int{{5, 8}, {3, 1}, {6, 1}}, func(t *Tape, p []*Tensor) *Tensor { return vera(t, p, 0) }},
		{"VeRA with dropout", [][2]int{{5, 8}, {3, 1}, {6, 1}}, func(t *Tape, p []*Tensor) *Tensor {
			return vera(t, p, 0.5)
		}},
		{"Cayley", [][2]int{{3, 6}}, func(t *Tape, p []*Tensor) *Tensor { return t.Cayley(small(t, p[0]), 4, nil) }},
		{"Cayley's series", [][2]int{{3, 6}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.Cayley(small(t, p[0]), 4, []float32{1, 2, 2, 2, 1})
		}},
		{"Rotate", [][2]int{{5, 12}, {3, 16}}, func(t *Tape, p []*Tensor) *Tensor { return t.Rotate(p[0], p[1], 4, 1) }},
		{"Rotate by half with one matrix", [][2]int{{5, 12}, {1, 16}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.Rotate(p[0], p[1], 4, 0.5)
		}},
	})
}

func vera(t *Tape, p []*Tensor, dropout float32) *Tensor {
	a, b := dense(3, 10, 1), dense(7, 3, 2)
	return t.VeRA(t.Linear(p[0], dense(6, 8, 7)), p[0], NewConst(3, 10, a.Data), NewConst(7, 3, b.Data), p[1], p[2], 0.7,
		dropout)
}

// TestKroneckerIsProduct compares with the product multiplied out.
func TestKroneckerIsProduct(t *testing.T) {
	p := randomParams([][2]int{{5, 12}, {2, 3}, {3, 4}}, 5)
	tape := NewTape()
	y := tape.Tensor(5, 6)
	clear(y.Data)
	tape.Kronecker(y, p[0], p[1], p[2], 2, nil)
	for i := range 5 {
		for o := range 6 {
			want := 0.0
			for c := range 12 {
				want += 2 * float64(p[0].Row(i)[c]) * float64(p[1].Row(o / 3)[c/4]) * float64(p[2].Row(o % 3)[c%4])
			}
			if got := float64(y.Row(i)[o]); math.Abs(got-want) > 1e-5 {
				t.Errorf("y[%d][%d] is %g, expected %g", i, o, got, want)
			}
		}
	}
}

// TestColumnAndRowProducts checks that they factor a Hadamard product of products.
func TestColumnAndRowProducts(t *testing.T) {
	p := randomParams([][2]int{{5, 3}, {3, 4}, {5, 2}, {2, 4}}, 5)
	tape := NewTape()
	got := tape.MatMul(tape.ColumnProducts(p[0], p[2]), tape.RowProducts(p[1], p[3]))
	x, y := tape.MatMul(p[0], p[1]), tape.MatMul(p[2], p[3])
	for i, v := range got.Data {
		if want := x.Data[i] * y.Data[i]; math.Abs(float64(v-want)) > 1e-5 {
			t.Errorf("element %d is %g, expected %g", i, v, want)
		}
	}
}

// TestCayleyIsRotation checks that R·Rᵀ = I, exactly or as far as the series goes, and that the series approaches the
// inverse of the exact rotation.
func TestCayleyIsRotation(t *testing.T) {
	tape := NewTape()
	w := NewConst(1, 6, []float32{0.02, -0.03, 0.01, 0.04, -0.01, 0.02})
	exact := tape.Cayley(w, 4, nil)
	series := tape.Cayley(w, 4, []float32{1, 2, 2, 2, 1})
	for i := range 4 {
		for j := range 4 {
			var own, both float64
			for k := range 4 {
				own += float64(exact.Data[i*4+k]) * float64(exact.Data[j*4+k])
				both += float64(exact.Data[i*4+k]) * float64(series.Data[k*4+j])
			}
			want := 0.0
			if i == j {
				want = 1
			}
			if math.Abs(own-want) > 1e-6 || math.Abs(both-want) > 1e-5 {
				t.Errorf("place %d, %d: R·Rᵀ is %g, R·series %g, expected %g", i, j, own, both, want)
			}
		}
	}
}
