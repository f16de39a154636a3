package autograd

import "github.com/peftconv/peftconv/kernels"

// The operations of this file train parameters of a product whose value is computed in another way (straight-through).
// A detached copy of the input goes through the operations of the parameters, and the gradient of the value is passed
// to their result.

// Recording reports whether the tape records.
func (t *Tape) Recording() bool { return t.record }

// Require marks x as needing a gradient, as operations on trainable tensors mark their results. It is for passes that
// are not recorded but whose results are part of one that is.
func (x *Tensor) Require() { x.needs = true }

// Detached is a tensor with the values of x through which no gradient flows.
func (t *Tape) Detached(x *Tensor) *Tensor {
	v := t.view(x)
	v.needs = false
	return v
}

// throughOp hands the gradient of y to z.
type throughOp struct{ y, z *Tensor }

// Through returns y unchanged; backward gives the gradient of y to z, of the same shape, as if z were added to y.
// Nothing else may depend on z.
func (t *Tape) Through(y, z *Tensor) *Tensor {
	if z.Rows != y.Rows || z.Cols != y.Cols {
		panic("autograd: Through: shapes of y and z differ")
	}
	if z.needs {
		y.needs = true
		t.push(&throughOp{y, z})
	}
	return y
}

func (op *throughOp) backward(*Tape) { op.z.Grad = op.y.Grad }

// InputGradient is Linear for a result of which only the gradient is used: it computes no product, and the result (T,
// out) has no values.
func (t *Tape) InputGradient(x *Tensor, w kernels.Weights) *Tensor {
	rows, cols := w.Dims()
	if cols != x.Cols {
		panic("autograd: InputGradient: columns of x and w differ")
	}
	y := t.tensors.next()
	y.Rows, y.Cols = x.Rows, rows
	op := t.pools.linear.take()
	*op = linearOp{x: x, y: y, w: w}
	y.needs = x.needs
	t.keep(op, y.needs)
	return y
}
