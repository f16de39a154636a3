package peft

import (
	"strings"

	"github.com/peftconv/peftconv/internal/model"
)

// vectorChange is a change of a tensor with one dimension: the weight of a norm or the bias of a linear map, which the
// base need not have.
type vectorChange struct {
	norm   *model.Norm // one of
	linear *model.Linear
	change []float32 // what is added, in the order of the base's rows
}

// vectorial is an attachment whose effect, or a part of it, changes of vectors have.
type vectorial interface {
	vectors() []vectorChange
}

// biasTensor is the name that the bias of a linear map has in the file of its weight.
func biasTensor(l *model.Linear) string { return strings.TrimSuffix(l.Tensor, ".weight") + ".bias" }

// tensor is the name of what changes.
func (v *vectorChange) tensor() string {
	if v.norm != nil {
		return v.norm.Tensor
	}
	return biasTensor(v.linear)
}

// base is what the base has there; nil where it has nothing.
func (v *vectorChange) base() []float32 {
	if v.norm != nil {
		return v.norm.W.Data
	}
	return v.linear.Bias
}
