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

// Slice is rows·cols values of tensor i, from one on, on the tape as a matrix.
func Slice(values, grads []Param, i, from, rows, cols int) *autograd.Tensor {
	x := values[i].Data[from : from+rows*cols]
	if grads == nil {
		return autograd.NewConst(rows, cols, x)
	}
	return autograd.NewParam(rows, cols, x, grads[i].Data[from:from+rows*cols])
}

// Leaf is tensor i on the tape: trainable where there are gradients.
func Leaf(values, grads []Param, i int) *autograd.Tensor {
	p := &values[i]
	if grads == nil {
		return autograd.NewConst(p.Rows(), p.Cols(), p.Data)
	}
	return autograd.NewParam(p.Rows(), p.Cols(), p.Data, grads[i].Data)
}
