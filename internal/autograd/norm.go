package autograd

import "github.com/peftconv/peftconv/kernels"

// rmsNormOp is y = x/rms(x)·w.
type rmsNormOp struct {
	x, w, y *Tensor
	rinv    []float32 // (T) 1/rms of each row
	eps     float32
	fresh   bool // the gradient of x is new
}

// RMSNorm is y = x/sqrt(mean(x²)+eps)·w, row by row, with w (1, D) (Zhang, Sennrich 2019).
func (t *Tape) RMSNorm(x, w *Tensor, eps float32) *Tensor {
	if w.Cols != x.Cols || w.Rows != 1 {
		panic("autograd: RMSNorm: weight and columns differ")
	}
	y := t.Tensor(x.Rows, x.Cols)
	op := t.pools.rmsNorm.take()
	*op = rmsNormOp{x: x, w: w, y: y, rinv: t.arena.alloc(x.Rows), eps: eps}
	t.rows(x.Rows, x.Cols, op)
	t.lap(PartElementwise)
	y.needs = x.needs || w.needs
	t.keep(op, y.needs)
	return y
}

func (op *rmsNormOp) rows(from, to int) {
	for i := from; i < to; i++ {
		op.rinv[i] = kernels.RMSNorm(op.y.Row(i), op.x.Row(i), op.w.Data, op.eps)
	}
}

func (op *rmsNormOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	if op.w.needs {
		op.addWeightGrad()
	}
	if op.x.needs {
		op.fresh = t.startGrad(op.x)
		t.rows(op.x.Rows, op.x.Cols, (*rmsNormBackward)(op))
	}
}

type rmsNormBackward rmsNormOp

func (op *rmsNormBackward) rows(from, to int) {
	for i := from; i < to; i++ {
		kernels.RMSNormBackward(freshRow(op.x, i, op.fresh), op.y.gradRow(i), op.x.Row(i), op.w.Data, op.rinv[i])
	}
}

// addWeightGrad is dw += Σ_rows dy·x/rms, divided along the columns so that the order of the sum is fixed.
func (op *rmsNormOp) addWeightGrad() {
	const width = 64
	cols := op.x.Cols
	kernels.Parallel((cols+width-1)/width, func(task int) {
		from, to := task*width, min(cols, (task+1)*width)
		dw := op.w.Grad[from:to]
		for i := range op.x.Rows {
			x, dy, rinv := op.x.Row(i)[from:to], op.y.gradRow(i)[from:to], op.rinv[i]
			for j := range dw {
				dw[j] += dy[j] * x[j] * rinv
			}
		}
	})
}
