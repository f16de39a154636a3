package peft

import (
	"slices"

	"github.com/peftconv/peftconv/internal/model"
)

// vectorChange is a change of a tensor with one dimension: the weight of a norm or the bias of a linear map, which the
// base need not have.
type vectorChange struct {
	norm    *model.Norm // one of
	linear  *model.Linear
	change  []float32 // what is added, in the order of the base's rows; or
	factors []float32 // what is multiplied, where there is anything
}

// vectorial is an attachment whose effect, or a part of it, changes of vectors have.
type vectorial interface {
	vectors() []vectorChange
}

// mergePhase says where a change that multiplies stands among those of several adapters: it acts on what the weight has
// become by then.
type mergePhase int

const (
	inputPhase mergePhase = iota // before all others, because they see another input; the last adapter's first
	inOrder                      // in the order of the adapters
	latePhase                    // after all others
)

// multiplier is a delta that multiplies: what other adapters add to a weight as well.
type multiplier interface {
	delta
	// multiply does to rows r0 to r1-1 of a matrix what the delta does to the weight; addRows adds what that changes.
	multiply(x []float32, r0, r1 int)
	phase() mergePhase
}

// inPhases puts the deltas of several adapters, which are in their order, into that in which they act.
func inPhases(deltas []delta) []delta {
	var before, during, after []delta
	for _, d := range deltas {
		phase := inOrder
		if m, ok := d.(multiplier); ok {
			phase = m.phase()
		}
		switch phase {
		case inputPhase:
			before = append([]delta{d}, before...)
		case inOrder:
			during = append(during, d)
		case latePhase:
			after = append(after, d)
		}
	}
	return slices.Concat(before, during, after)
}

// tensor is the name of what changes.
func (v *vectorChange) tensor() string {
	if v.norm != nil {
		return v.norm.Tensor
	}
	return v.linear.BiasTensor()
}

// base is what the base has there; nil where it has nothing.
func (v *vectorChange) base() []float32 {
	if v.norm != nil {
		return v.norm.W.Data
	}
	return v.linear.Bias
}
