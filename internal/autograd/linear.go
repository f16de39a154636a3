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
	kernels.GemmWLowRank(t.precision, dx, op.y.Grad, op.x.Rows, op.w, beta, l.Kernel(), du)
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

// denseOp is y = x·wᵀ + b.
type denseOp struct{ x, w, b, y *Tensor }

// Dense is y (T, out) = x (T, in)·wᵀ + b for a trainable matrix w (out, in) and bias b (1, out), which may be nil.
func (t *Tape) Dense(x, w, b *Tensor) *Tensor {
	if w.Cols != x.Cols || b != nil && (b.Rows != 1 || b.Cols != w.Rows) {
		panic("autograd: Dense: shapes of x, w and b do not fit")
	}
	y := t.Tensor(x.Rows, w.Rows)
	kernels.Gemm(false, true, x.Rows, w.Rows, x.Cols, 1, x.Data, x.Cols, w.Data, w.Cols, 0, y.Data, y.Cols)
	if b != nil {
		forRows(y.Rows, func(i int) { kernels.Add(y.Row(i), b.Data) })
	}
	t.lap(PartLoRA)
	if x.needs || w.needs || b != nil && b.needs {
		y.needs = true
		t.push(&denseOp{x, w, b, y})
	}
	return y
}

func (op *denseOp) backward(t *Tape) {
	x, w, b, y := op.x, op.w, op.b, op.y
	if y.Grad == nil {
		return
	}
	if w.needs { // dw += dyᵀ·x
		kernels.Gemm(true, false, w.Rows, w.Cols, x.Rows, 1, y.Grad, y.Cols, x.Data, x.Cols, 1, t.grad(w), w.Cols)
	}
	if b != nil && b.needs {
		addRows(t.grad(b), y)
	}
	if x.needs { // dx += dy·w
		kernels.Gemm(false, false, x.Rows, x.Cols, y.Cols, 1, y.Grad, y.Cols, w.Data, w.Cols, 1, t.grad(x), x.Cols)
	}
	t.lap(PartLoRA)
}

// addRows is sum += the rows of y's gradient, divided along the columns so that the order of the sum is fixed.
func addRows(sum []float32, y *Tensor) {
	const width = 64
	kernels.Parallel((y.Cols+width-1)/width, func(task int) {
		from, to := task*width, min(y.Cols, (task+1)*width)
		for i := range y.Rows {
			kernels.Add(sum[from:to], y.gradRow(i)[from:to])
		}
	})
}
