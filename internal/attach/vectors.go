package attach

import (
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
)

// Scaling is the change of a weight whose rows, or columns, are multiplied by factors.
type Scaling struct {
	Linear        *model.Linear
	Rows, Columns []float32 // one of them is nil
	// Before is the weight on whose output the input that columns scale depends linearly; nil where there is none.
	Before *model.Linear
	late   bool // the scaling applies after all other changes of the weight
}

// Moved is the same change as one of the rows of the weight before, where quantized blocks can store it exactly: the
// feed-forward network is linear in the output of its up-projection, so that a scale of the down-projection's input is
// one of these rows. nil where there is no such weight. It is the same only where nothing else changes the weight
// itself.
func (s *Scaling) Moved() *Scaling {
	if s.Before == nil {
		return nil
	}
	return &Scaling{Linear: s.Before, Rows: s.Columns, late: true}
}

// multiply multiplies rows r0 to r1-1 of a matrix by the factors.
func (s *Scaling) multiply(x []float32, r0, r1 int) {
	cols := s.Linear.W.Cols
	for r := r0; r < r1; r++ {
		row := x[(r-r0)*cols:][:cols]
		if s.Rows != nil {
			kernels.Scale(s.Rows[r], row)
		} else {
			kernels.Mul(row, s.Columns)
		}
	}
}

// Change is the scaling as a change of its weight.
func (s *Scaling) Change() Change {
	c := Change{AddRows: s.addRows, Multiply: s.multiply, Scaling: s}
	switch {
	case s.Columns != nil:
		c.Phase = InputPhase
	case s.late:
		c.Phase = LatePhase
	}
	return c
}

// addRows is dst += (factors - 1)·W.
func (s *Scaling) addRows(dst []float32, r0, r1 int) {
	w := &s.Linear.W
	row := make([]float32, w.Cols)
	for r := r0; r < r1; r++ {
		w.Row(row, r)
		to := dst[(r-r0)*w.Cols:][:w.Cols]
		if s.Rows != nil {
			lowrank.FusedAxpy(s.Rows[r]-1, row, to)
			continue
		}
		for j, f := range s.Columns {
			to[j] += float32((f - 1) * row[j])
		}
	}
}

// VectorChange is a change of a tensor with one dimension: the weight of a norm or the bias of a linear map, which the
// base need not have.
type VectorChange struct {
	Norm    *model.Norm // one of
	Linear  *model.Linear
	Change  []float32 // what is added, in the order of the base's rows; or
	Factors []float32 // what is multiplied, where there is anything
}

// Tensor is the name of what changes.
func (v *VectorChange) Tensor() string {
	if v.Norm != nil {
		return v.Norm.Tensor
	}
	return v.Linear.BiasTensor()
}

// Base is what the base has there; nil where it has nothing.
func (v *VectorChange) Base() []float32 {
	if v.Norm != nil {
		return v.Norm.W.Data
	}
	return v.Linear.Bias
}
