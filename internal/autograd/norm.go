package autograd

import "github.com/peftconv/peftconv/kernels"

// rmsNormOp is y = x/rms(x)·w.
type rmsNormOp struct {
	x, w, y *Tensor
	rinv    []float32 // (T) 1/rms of each row
}

// RMSNorm is y = x/sqrt(mean(x²)+eps)·w, row by row, with w (1, D) (Zhang, Sennrich 2019).
func (t *Tape) RMSNorm(x, w *Tensor, eps float32) *Tensor {
	if w.Cols != x.Cols || w.Rows != 1 {
		panic("autograd: RMSNorm: weight and columns differ")
	}
	y := t.Tensor(x.Rows, x.Cols)
	rinv := t.arena.alloc(x.Rows)
	forRows(x.Rows, func(i int) { rinv[i] = kernels.RMSNorm(y.Row(i), x.Row(i), w.Data, eps) })
	t.lap(PartElementwise)
	if x.needs || w.needs {
		y.needs = true
		t.push(&rmsNormOp{x, w, y, rinv})
	}
	return y
}

func (op *rmsNormOp) backward(t *Tape) {
	x, w, y := op.x, op.w, op.y
	if y.Grad == nil {
		return
	}
	if w.needs {
		op.addWeightGrad()
	}
	if !x.needs {
		return
	}
	t.grad(x)
	forRows(x.Rows, func(i int) { kernels.RMSNormBackward(x.gradRow(i), y.gradRow(i), x.Row(i), w.Data, op.rinv[i]) })
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
