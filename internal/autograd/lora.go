package autograd

import "github.com/peftconv/peftconv/kernels"

// loraOp is y += scale·(drop(x)·aᵀ)·bᵀ.
type loraOp struct {
	y, x, a, b *Tensor
	u          []float32 // (T, r) drop(x)·aᵀ
	scale      float32
	dropout    float32
	key        uint64 // of the dropout mask
}

// LoRA adds a low-rank map to y (T, out), in place: y += scale·(drop(x)·aᵀ)·bᵀ with x (T, in), a (r, in),
// b (out, r) (Hu et al. 2021, "LoRA"). dropout is the probability with which an input value is zeroed (0: none).
func (t *Tape) LoRA(y, x, a, b *Tensor, scale, dropout float32) *Tensor {
	r := a.Rows
	if a.Cols != x.Cols || b.Cols != r || b.Rows != y.Cols {
		panic("autograd: LoRA: shapes of x, y, a and b do not fit")
	}
	op := &loraOp{y: y, x: x, a: a, b: b, scale: scale, dropout: dropout}
	if dropout > 0 {
		op.key = t.random.next()
	}
	op.u = t.arena.alloc(x.Rows * r)
	start := t.mark()
	xd := op.dropped(t)
	kernels.Gemm(false, true, x.Rows, r, x.Cols, 1, xd, x.Cols, a.Data, a.Cols, 0, op.u, r)
	kernels.Gemm(false, true, x.Rows, y.Cols, r, scale, op.u, r, b.Data, r, 1, y.Data, y.Cols)
	t.release(start)
	t.lap(PartLoRA)
	if x.needs || a.needs || b.needs {
		y.needs = true
		t.push(op)
	}
	return y
}

// dropped is drop(x), made anew in scratch memory of the tape.
func (op *loraOp) dropped(t *Tape) []float32 {
	if op.dropout <= 0 {
		return op.x.Data
	}
	xd := t.arena.alloc(len(op.x.Data))
	cols := op.x.Cols
	forRows(op.x.Rows, func(i int) {
		dropRow(xd[i*cols:(i+1)*cols], op.x.Row(i), op.key, i, op.dropout)
	})
	return xd
}

func (op *loraOp) backward(t *Tape) {
	y, x, a, b, r := op.y, op.x, op.a, op.b, op.a.Rows
	if y.Grad == nil {
		return
	}
	rows := x.Rows
	for _, p := range [...]*Tensor{x, a, b} {
		if p.needs {
			t.grad(p) // before the scratch memory below, which is given back
		}
	}
	start := t.mark()
	du := t.arena.alloc(rows * r)
	kernels.Gemm(false, false, rows, r, y.Cols, op.scale, y.Grad, y.Cols, b.Data, r, 0, du, r) // du = scale·dy·b
	if b.needs {                                                                               // db += scale·dyᵀ·u
		kernels.Gemm(true, false, b.Rows, r, rows, op.scale, y.Grad, y.Cols, op.u, r, 1, b.Grad, r)
	}
	if a.needs { // da += duᵀ·drop(x)
		kernels.Gemm(true, false, r, a.Cols, rows, 1, du, r, op.dropped(t), x.Cols, 1, a.Grad, a.Cols)
	}
	if x.needs {
		op.addInputGrad(t, du)
	}
	t.release(start)
}

// addInputGrad is dx += drop'(du·a).
func (op *loraOp) addInputGrad(t *Tape, du []float32) {
	x, a, r := op.x, op.a, op.a.Rows
	if op.dropout <= 0 {
		kernels.Gemm(false, false, x.Rows, x.Cols, r, 1, du, r, a.Data, a.Cols, 1, x.Grad, x.Cols)
		return
	}
	dxd := t.arena.alloc(len(x.Data))
	kernels.Gemm(false, false, x.Rows, x.Cols, r, 1, du, r, a.Data, a.Cols, 0, dxd, x.Cols)
	forRows(x.Rows, func(i int) {
		row := dxd[i*x.Cols : (i+1)*x.Cols]
		dropRow(row, row, op.key, i, op.dropout)
		kernels.Add(x.gradRow(i), row)
	})
}
