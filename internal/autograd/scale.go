package autograd

import "github.com/peftconv/peftconv/kernels"

// scaleColumnsOp is y = x·f + shift·(f-1), f = 1 + strength·(w-1).
type scaleColumnsOp struct {
	x, w, y  *Tensor
	strength float32
	shift    []float32
	factor   []float32 // (n) f
}

// ScaleColumns multiplies each column of x (T, n) by a factor f = 1 + strength·(w-1) from w (1, n). If a bias is added
// later that the factor should scale too, it is given as shift (n), and the result is y = (x + shift)·f - shift; nil
// is none.
func (t *Tape) ScaleColumns(x, w *Tensor, strength float32, shift []float32) *Tensor {
	if w.Rows != 1 || w.Cols != x.Cols || shift != nil && len(shift) != x.Cols {
		panic("autograd: ScaleColumns: factors and columns differ")
	}
	y := t.Tensor(x.Rows, x.Cols)
	op := &scaleColumnsOp{x, w, y, strength, shift, t.arena.alloc(x.Cols)}
	for j, v := range w.Data {
		op.factor[j] = 1 + strength*(v-1)
	}
	t.rows(x.Rows, x.Cols, op)
	t.lap(PartLoRA)
	if x.needs || w.needs {
		y.needs = true
		t.push(op)
	}
	return y
}

func (op *scaleColumnsOp) rows(from, to int) {
	for i := from; i < to; i++ {
		x, y := op.x.Row(i), op.y.Row(i)
		if op.shift == nil {
			for j, f := range op.factor {
				y[j] = x[j] * f
			}
			continue
		}
		for j, f := range op.factor {
			y[j] = x[j]*f + op.shift[j]*(f-1)
		}
	}
}

func (op *scaleColumnsOp) backward(t *Tape) {
	x, y := op.x, op.y
	if y.Grad == nil {
		return
	}
	if op.w.needs {
		t.grad(op.w)
		op.addFactorGrad()
	}
	if x.needs {
		t.grad(x)
		forRows(x.Rows, func(i int) {
			dx, dy := x.gradRow(i), y.gradRow(i)
			for j, f := range op.factor {
				dx[j] += dy[j] * f
			}
		})
	}
	t.lap(PartLoRA)
}

// addFactorGrad is dw += strength·Σ_rows dy·(x + shift).
func (op *scaleColumnsOp) addFactorGrad() {
	forColumns(op.x.Cols, func(from, to int) {
		dw := op.w.Grad[from:to]
		for i := range op.x.Rows {
			x, dy := op.x.Row(i)[from:to], op.y.gradRow(i)[from:to]
			for j := range dw {
				v := x[j]
				if op.shift != nil {
					v += op.shift[from+j]
				}
				dw[j] += op.strength * dy[j] * v
			}
		}
	})
}

// columnsPerTask is the number of columns of one task of forColumns.
const columnsPerTask = 64

// forColumns runs f on stretches of columns 0 to n-1, so that sums over rows have a fixed order.
func forColumns(n int, f func(from, to int)) {
	kernels.Parallel((n+columnsPerTask-1)/columnsPerTask, func(task int) {
		f(task*columnsPerTask, min(n, (task+1)*columnsPerTask))
	})
}

// addRowOp is y += strength·(b - minus).
type addRowOp struct {
	y, b     *Tensor
	strength float32
}

// AddRow is y += strength·(b - minus) in every row of y (T, n), in place, with b (1, n) and minus (n) or nil, which is
// 0: a trainable bias that replaces another one that is added later.
func (t *Tape) AddRow(y, b *Tensor, strength float32, minus []float32) *Tensor {
	if b.Rows != 1 || b.Cols != y.Cols || minus != nil && len(minus) != y.Cols {
		panic("autograd: AddRow: row and columns differ")
	}
	row := t.arena.alloc(y.Cols)
	for j, v := range b.Data {
		if minus != nil {
			v -= minus[j]
		}
		row[j] = strength * v
	}
	t.AddBias(y, row)
	if b.needs {
		y.needs = true
		t.push(&addRowOp{y, b, strength})
	}
	return y
}

func (op *addRowOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	t.grad(op.b)
	forColumns(op.y.Cols, func(from, to int) {
		for i := range op.y.Rows {
			kernels.Axpy(op.strength, op.y.gradRow(i)[from:to], op.b.Grad[from:to])
		}
	})
	t.lap(PartLoRA)
}

// scaleRowsOp is y = e·a, row by row.
type scaleRowsOp struct{ a, e, y *Tensor }

// ScaleRows multiplies each row of a (r, n) by its value of e (r, 1).
func (t *Tape) ScaleRows(a, e *Tensor) *Tensor {
	if e.Rows != a.Rows || e.Cols != 1 {
		panic("autograd: ScaleRows: factors and rows differ")
	}
	y := t.Tensor(a.Rows, a.Cols)
	for i, f := range e.Data {
		copy(y.Row(i), a.Row(i))
		kernels.Scale(f, y.Row(i))
	}
	if a.needs || e.needs {
		y.needs = true
		t.push(&scaleRowsOp{a, e, y})
	}
	return y
}

func (op *scaleRowsOp) backward(t *Tape) {
	a, e, y := op.a, op.e, op.y
	if y.Grad == nil {
		return
	}
	for i, f := range e.Data {
		if e.needs {
			t.grad(e)[i] += kernels.Dot(y.gradRow(i), a.Row(i))
		}
		if a.needs {
			t.grad(a)
			kernels.Axpy(f, y.gradRow(i), a.gradRow(i))
		}
	}
}
