package autograd

import "github.com/peftconv/peftconv/kernels"

// normOp is a norm of groups of columns: y = x/rms(x)·w, or y = (x - mean(x))/deviation(x)·w + b.
type normOp struct {
	x, y  *Tensor
	w, b  *Tensor   // (1, group) for all groups or (1, columns); nil: 1 and 0
	group int       // columns that are normed together
	mean  []float32 // (T, groups) of a LayerNorm; nil: RMSNorm
	rinv  []float32 // (T, groups) 1/rms, or 1/deviation
	eps   float32
	fresh bool // the gradient of x is new
}

// RMSNorm is y = x/sqrt(mean(x²)+eps)·w, row by row, with w (1, D) (Zhang, Sennrich 2019). If x has a multiple of D
// columns, each D of them (a head) are normed for themselves, with the same weights.
func (t *Tape) RMSNorm(x, w *Tensor, eps float32) *Tensor {
	return t.norm(normOp{x: x, w: w, group: w.Cols, eps: eps})
}

// GroupRMSNorm is RMSNorm of each group of columns of x (T, D) for itself, with weights w (1, D) for all columns, or
// (1, group) for all groups, or nil: 1.
func (t *Tape) GroupRMSNorm(x, w *Tensor, group int, eps float32) *Tensor {
	return t.norm(normOp{x: x, w: w, group: group, eps: eps})
}

// LayerNorm is y = (x - mean(x))/sqrt(var(x)+eps)·w + b with the biased variance, row by row, of each group of columns
// of x (T, D) for itself (Ba, Kiros, Hinton 2016). w and b are (1, D), or (1, group) for all groups, or nil: 1 and 0.
func (t *Tape) LayerNorm(x, w, b *Tensor, group int, eps float32) *Tensor {
	op := normOp{x: x, w: w, b: b, group: group, eps: eps}
	op.mean = t.arena.alloc(x.Rows * op.groups())
	return t.norm(op)
}

// groups is the number of groups of a row.
func (op *normOp) groups() int { return op.x.Cols / op.group }

// norm runs a norm.
func (t *Tape) norm(n normOp) *Tensor {
	x := n.x
	if n.group < 1 || x.Cols%n.group != 0 || !n.fits(n.w) || !n.fits(n.b) {
		panic("autograd: norm: weights and columns do not fit")
	}
	op := t.pools.norm.take()
	*op = n
	op.y, op.rinv = t.Tensor(x.Rows, x.Cols), t.arena.alloc(x.Rows*op.groups())
	t.rows(x.Rows, x.Cols, op)
	t.lap(PartElementwise)
	y := op.y
	y.needs = x.needs || op.w != nil && op.w.needs || op.b != nil && op.b.needs
	t.keep(op, y.needs)
	return y
}

// fits reports whether weights or biases are one row for all columns or for each group.
func (op *normOp) fits(w *Tensor) bool {
	return w == nil || w.Rows == 1 && (w.Cols == op.x.Cols || w.Cols == op.group)
}

// part is the weights or biases of group g.
func (op *normOp) part(w *Tensor, g int) []float32 {
	switch {
	case w == nil:
		return nil
	case w.Cols == op.group:
		return w.Data
	}
	return w.Data[g*op.group : (g+1)*op.group]
}

func (op *normOp) rows(from, to int) {
	groups := op.groups()
	for k := from * groups; k < to*groups; k++ {
		at, g := k*op.group, k%groups
		x, y := op.x.Data[at:at+op.group], op.y.Data[at:at+op.group]
		if op.mean == nil {
			op.rinv[k] = kernels.RMSNorm(y, x, op.part(op.w, g), op.eps)
		} else {
			op.mean[k], op.rinv[k] = kernels.LayerNorm(y, x, op.part(op.w, g), op.part(op.b, g), op.eps)
		}
	}
}

func (op *normOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	if op.w != nil && op.w.needs {
		t.grad(op.w)
		t.rows(normTasks(op.w), normWidth*op.x.Rows, (*normWeights)(op))
	}
	if op.b != nil && op.b.needs {
		t.grad(op.b)
		t.rows(normTasks(op.b), normWidth*op.x.Rows, (*normBiases)(op))
	}
	if op.x.needs {
		op.fresh = t.startGrad(op.x)
		t.rows(op.x.Rows, op.x.Cols, (*normBackward)(op))
	}
}

type normBackward normOp

func (n *normBackward) rows(from, to int) {
	op := (*normOp)(n)
	groups := op.groups()
	for i := from; i < to; i++ {
		row := freshRow(op.x, i, op.fresh)
		for g := range groups {
			k, from, to := i*groups+g, g*op.group, (g+1)*op.group
			x, dy, dx, w := op.x.Row(i)[from:to], op.y.gradRow(i)[from:to], row[from:to], op.part(op.w, g)
			if op.mean == nil {
				kernels.RMSNormBackward(dx, dy, x, w, op.rinv[k])
			} else {
				kernels.LayerNormBackward(dx, dy, x, w, op.mean[k], op.rinv[k])
			}
		}
	}
}

// normWidth is the number of weights whose gradient is one task, so that the order of its sum is fixed.
const normWidth = 64

func normTasks(w *Tensor) int { return (w.Cols + normWidth - 1) / normWidth }

// normWeights adds the gradient of the weights, dw += Σ_rows dy·x/rms or dy·(x-mean)/deviation.
type normWeights normOp

func (n *normWeights) rows(from, to int) {
	op := (*normOp)(n)
	for task := from; task < to; task++ {
		op.eachPart(op.w, task, func(dw []float32, at, k int) {
			x, dy, rinv := op.x.Data[at:at+len(dw)], op.y.Grad[at:at+len(dw)], op.rinv[k]
			if op.mean != nil {
				kernels.LayerNormWeights(dw, dy, x, op.mean[k], rinv)
				return
			}
			for j := range dw {
				dw[j] += dy[j] * x[j] * rinv
			}
		})
	}
}

// normBiases adds the gradient of the biases, db += Σ_rows dy.
type normBiases normOp

func (n *normBiases) rows(from, to int) {
	op := (*normOp)(n)
	for task := from; task < to; task++ {
		op.eachPart(op.b, task, func(db []float32, at, _ int) { kernels.Add(db, op.y.Grad[at:at+len(db)]) })
	}
}

// eachPart calls f for what one task has of the gradient of w, row by row: with the parts of w and of a group k, and
// where that part of the group lies in x and y.
func (op *normOp) eachPart(w *Tensor, task int, f func(dw []float32, at, k int)) {
	last, groups := min(w.Cols, (task+1)*normWidth), op.groups()
	for i := range op.x.Rows {
		for from := task * normWidth; from < last; {
			to := min(last, (from/op.group+1)*op.group)
			for g := from / op.group; g < groups; g += w.Cols / op.group {
				f(w.Grad[from:to], i*op.x.Cols+g*op.group+from%op.group, i*groups+g)
			}
			from = to
		}
	}
}
