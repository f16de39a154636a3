package autograd

import "testing"

func TestDenseGradients(t *testing.T) {
	checkGradients(t, []graph{
		{"Dense", [][2]int{{20, 8}, {6, 8}, {1, 6}}, func(t *Tape, p []*Tensor) *Tensor { return t.Dense(p[0], p[1], p[2]) }},
		{"Dense without bias", [][2]int{{5, 8}, {70, 8}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.Dense(p[0], p[1], nil)
		}},
		{"two Dense", [][2]int{{5, 8}, {4, 8}, {1, 4}, {8, 4}}, func(t *Tape, p []*Tensor) *Tensor {
			return t.Add(p[0], t.Scaled(t.Dense(t.Activate(t.Dense(p[0], p[1], p[2]), GELU), p[3], nil), 0.3))
		}},
		{"relu", [][2]int{{5, 8}}, func(t *Tape, p []*Tensor) *Tensor { return t.Activate(p[0], ReLU) }},
		{"silu", [][2]int{{5, 8}}, func(t *Tape, p []*Tensor) *Tensor { return t.Activate(p[0], SiLU) }},
		{"gelu", [][2]int{{5, 8}}, func(t *Tape, p []*Tensor) *Tensor { return t.Activate(p[0], GELU) }},
		{"tanh", [][2]int{{5, 8}}, func(t *Tape, p []*Tensor) *Tensor { return t.Activate(p[0], Tanh) }},
	})
}
