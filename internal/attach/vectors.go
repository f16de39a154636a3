package attach

import (
	"slices"

	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
)

// Moved is the same change as one of the rows of the weight before, where quantized blocks can have it exactly: the
// feed-forward network is linear in the output of its up-projection, so that a scale of the down-projection's input is
// one of these rows. nil where there is no such weight. It is the same only where nothing else changes the weight itself.
func (s *ScaledWeight) Moved() *ScaledWeight {
	if s.Before == nil {
		return nil
	}
	return &ScaledWeight{Linear: s.Before, Rows: s.Columns, late: true}
}

// Multiply multiplies rows r0 to r1-1 of a matrix by the factors.
func (s *ScaledWeight) Multiply(x []float32, r0, r1 int) {
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

func (s *ScaledWeight) Phase() MergePhase {
	switch {
	case s.Columns != nil:
		return InputPhase
	case s.late:
		return latePhase
	}
	return inOrder
}

// AddRows is dst += (factors - 1)·W.
func (s *ScaledWeight) AddRows(dst []float32, r0, r1 int) {
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

// ScalesRows reports whether only rows are multiplied, which the scales of quantized blocks can take up.
func (s *ScaledWeight) ScalesRows() bool { return s.Rows != nil }

// ScaledWeight is the change of a weight whose rows, or columns, are multiplied by factors.
type ScaledWeight struct {
	Linear        *model.Linear
	Rows, Columns []float32 // one of them is nil
	// Before is the weight on whose output the input that columns scale depends linearly; nil where there is none.
	Before *model.Linear
	late   bool // what is scaled comes after everything else that other adapters do to the weight
}

// Factored is a change that is the product of two thin matrices.
type Factored interface {
	// Factors are a (rank, in) and b (out, rank) with ΔW = b·a, rows of b as the base stores them.
	Factors() (a, b []float32, rank int)
}

// VectorChange is a change of a tensor with one dimension: the weight of a norm or the bias of a linear map, which the
// base need not have.
type VectorChange struct {
	Norm    *model.Norm // one of
	Linear  *model.Linear
	Change  []float32 // what is added, in the order of the base's rows; or
	Factors []float32 // what is multiplied, where there is anything
}

// Vectorial is an attachment whose effect, or a part of it, changes of vectors have.
type Vectorial interface {
	Vectors() []VectorChange
}

// MergePhase says where a change that multiplies stands among those of several adapters: it acts on what the weight has
// become by then.
type MergePhase int

const (
	InputPhase MergePhase = iota // before all others, because they see another input; the last adapter's first
	inOrder                      // in the order of the adapters
	latePhase                    // after all others
)

// Multiplier is a delta that multiplies: what other adapters add to a weight as well.
type Multiplier interface {
	Delta
	// Multiply does to rows r0 to r1-1 of a matrix what the delta does to the weight; AddRows adds what that changes.
	Multiply(x []float32, r0, r1 int)
	Phase() MergePhase
}

// InPhases puts the deltas of several adapters, which are in their order, into that in which they act.
func InPhases(deltas []Delta) []Delta {
	var before, during, after []Delta
	for _, d := range deltas {
		phase := inOrder
		if m, ok := d.(Multiplier); ok {
			phase = m.Phase()
		}
		switch phase {
		case InputPhase:
			before = append([]Delta{d}, before...)
		case inOrder:
			during = append(during, d)
		case latePhase:
			after = append(after, d)
		}
	}
	return slices.Concat(before, during, after)
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
