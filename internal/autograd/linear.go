package autograd

import "github.com/peftconv/peftconv/kernels"

// linearOp is y = x·wᵀ with a frozen w, and a low-rank map beside it if there is one.
type linearOp struct {
	x, y *Tensor
	w    kernels.Weights
	low  lowRank
}

// Linear is y (T, out) = x (T, in)·wᵀ for a frozen matrix w (out, in).
func (t *Tape) Linear(x *Tensor, w kernels.Weights) *Tensor {
	rows, cols := w.Dims()
	if cols != x.Cols {
		panic("autograd: Linear: columns of x and w differ")
	}
	y := t.Tensor(x.Rows, rows)
	kernels.GemmWTPrec(t.precision, y.Data, x.Data, x.Rows, w, 0)
	t.lap(PartLinear)
	op := t.pools.linear.take()
	*op = linearOp{x: x, y: y, w: w}
	y.needs = x.needs
	t.keep(op, y.needs)
	return y
}

func (op *linearOp) backward(t *Tape) {
	if op.y.Grad == nil || !op.x.needs {
		return
	}
	dx, beta := t.gradBeta(op.x)
	if op.low.A != nil {
		op.backwardBoth(t, dx, beta)
		return
	}
	kernels.GemmWPrec(t.precision, dx, op.y.Grad, op.x.Rows, op.w, beta) // dx += dy·w
}

// backwardBoth is backward with a low-rank map: dx += dy·w + du·a, and the gradients of a and b.
func (op *linearOp) backwardBoth(t *Tape, dx []float32, beta float32) {
	l := &op.low
	l.startGrads(t)
	start := t.mark()
	du := t.arena.alloc(len(l.u))
	kernels.GemmWLowRank(t.precision, dx, op.y.Grad, op.x.Rows, op.w, beta, l.kernel(), du)
	t.lap(PartLinearBackward)
	l.addGrads(op.y.Grad, op.x.Data, du)
	t.release(start)
	t.lap(PartLoRA)
}

// AddBias is y += bias in every row, in place.
func (t *Tape) AddBias(y *Tensor, bias []float32) *Tensor {
	if len(bias) != y.Cols {
		panic("autograd: AddBias: bias and columns differ")
	}
	t.bias = biasTask{y, bias}
	t.rows(y.Rows, y.Cols, &t.bias)
	t.lap(PartElementwise)
	return y
}

// biasTask adds a bias to rows.
type biasTask struct {
	y    *Tensor
	bias []float32
}

func (b *biasTask) rows(from, to int) {
	for i := from; i < to; i++ {
		kernels.Add(b.y.Row(i), b.bias)
	}
}

// tapWeightOp collects the gradient of a linear map's weight.
type tapWeightOp struct{ x, y, w *Tensor }

// TapWeight returns y = x·wᵀ unchanged; backward adds dyᵀ·x to the gradient of w (out, in): full training of a matrix
// whose product Linear computes.
func (t *Tape) TapWeight(y, x, w *Tensor) *Tensor {
	if w.Rows != y.Cols || w.Cols != x.Cols {
		panic("autograd: TapWeight: shapes of x, y and w do not fit")
	}
	y.needs = true
	t.push(&tapWeightOp{x, y, w})
	return y
}

func (op *tapWeightOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	x, y, w := op.x, op.y, op.w
	kernels.Gemm(true, false, w.Rows, w.Cols, x.Rows, 1, y.Grad, y.Cols, x.Data, x.Cols, 1, t.grad(w), w.Cols)
}
