package attach

import (
	"github.com/peftconv/peftconv/internal/autograd"
)

// OptionalLeaf is Leaf, nil where there is no such tensor.
func OptionalLeaf(values, grads []Param, i int) *autograd.Tensor {
	if i < 0 {
		return nil
	}
	return Leaf(values, grads, i)
}

// RowLeaf is a vector on the tape as one row, nil where there is no such tensor.
func RowLeaf(values, grads []Param, i int) *autograd.Tensor {
	if i < 0 {
		return nil
	}
	x := values[i].Data
	if grads == nil {
		return autograd.NewConst(1, len(x), x)
	}
	return autograd.NewParam(1, len(x), x, grads[i].Data)
}

// Leaf is tensor i on the tape: trainable where there are gradients.
func Leaf(values, grads []Param, i int) *autograd.Tensor {
	p := &values[i]
	if grads == nil {
		return autograd.NewConst(p.Rows(), p.Cols(), p.Data)
	}
	return autograd.NewParam(p.Rows(), p.Cols(), p.Data, grads[i].Data)
}
