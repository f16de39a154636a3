package autograd

import "github.com/peftconv/peftconv/kernels"

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
