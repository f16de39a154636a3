package autograd

import "github.com/peftconv/peftconv/kernels"

// LowRank is a map scale·(x·Aᵀ)·Bᵀ with A (r, in) and B (out, r).
type LowRank struct {
	A, B  *Tensor
	Scale float32
}

// LinearLoRA is Linear and LoRA without dropout in one: y (T, out) = x (T, in)·wᵀ + scale·(x·aᵀ)·bᵀ. A following LoRA
// with the same y, x and tensors does nothing.
func (t *Tape) LinearLoRA(x *Tensor, w kernels.Weights, l LowRank) *Tensor {
	rows, cols := w.Dims()
	if cols != x.Cols || l.A.Cols != cols || l.B.Cols != l.A.Rows || l.B.Rows != rows {
		panic("autograd: LinearLoRA: shapes of x, w, a and b do not fit")
	}
	y := t.Tensor(x.Rows, rows)
	low := lowRank{l, t.arena.alloc(x.Rows * l.A.Rows)}
	kernels.GemmWTLowRank(t.precision, y.Data, x.Data, x.Rows, w, 0, low.Kernel(), low.u)
	t.lap(PartLinear)
	y.needs = x.needs || l.A.needs || l.B.needs
	if x.needs {
		op := t.pools.linear.take()
		*op = linearOp{x: x, y: y, w: w, low: low}
		t.keep(op, true)
	} else {
		op := t.pools.lora.take()
		*op = loraOp{y: y, x: x, low: low}
		t.keep(op, y.needs)
	}
	t.Added(y, x, l)
	return y
}

// Added says that y has the low-rank map of x already: a LoRA with the same tensors that follows does nothing.
func (t *Tape) Added(y, x *Tensor, l LowRank) { t.done = doneLoRA{y, x, l} }

// Kernel is the map for package kernels.
func (l *LowRank) Kernel() kernels.LowRank {
	return kernels.LowRank{Rank: l.A.Rows, A: l.A.Data, B: l.B.Data, Scale: l.Scale}
}

// doneLoRA is a map that has been added.
type doneLoRA struct {
	y, x *Tensor
	l    LowRank
}

// lowRank is a LowRank in use.
type lowRank struct {
	LowRank
	u []float32 // (T, r) x·Aᵀ
}

// startGrads allocates the gradients of A and B, if they need any.
func (l *lowRank) startGrads(t *Tape) {
	for _, p := range [...]*Tensor{l.A, l.B} {
		if p.needs {
			t.grad(p)
		}
	}
}

// addGrads adds to the gradients of A and B: dA += duᵀ·x and dB += scale·dyᵀ·u.
func (l *lowRank) addGrads(dy, x, du []float32) {
	r, in, out := l.A.Rows, l.A.Cols, l.B.Rows
	rows := len(du) / r
	if l.B.needs {
		kernels.Gemm(true, false, out, r, rows, l.Scale, dy, out, l.u, r, 1, l.B.Grad, r)
	}
	if l.A.needs {
		kernels.Gemm(true, false, r, in, rows, 1, du, r, x, in, 1, l.A.Grad, in)
	}
}

// loraOp is y += scale·(drop(x)·aᵀ)·bᵀ.
type loraOp struct {
	y, x    *Tensor
	low     lowRank
	dropout float32
	key     uint64 // of the dropout mask
}

// LoRA adds a low-rank map to y (T, out), in place: y += scale·(drop(x)·aᵀ)·bᵀ with x (T, in), a (r, in), b (out, r)
// (Hu et al. 2021, "LoRA"). dropout is the probability with which an input value is zeroed (0: none). Right after the
// Linear that made y from x, and without dropout, the backward of the two is fused.
func (t *Tape) LoRA(y, x, a, b *Tensor, scale, dropout float32) *Tensor {
	if a.Cols != x.Cols || b.Cols != a.Rows || b.Rows != y.Cols {
		panic("autograd: LoRA: shapes of x, y, a and b do not fit")
	}
	l := LowRank{a, b, scale}
	if dropout <= 0 && t.done == (doneLoRA{y, x, l}) {
		t.done = doneLoRA{}
		return y
	}
	low := lowRank{l, t.arena.alloc(x.Rows * a.Rows)}
	if linear := t.linearOf(y, x); linear != nil && dropout <= 0 {
		low.add(y, x.Data)
		t.lap(PartLoRA)
		linear.low = low
		return y
	}
	op := t.pools.lora.take()
	*op = loraOp{y: y, x: x, low: low, dropout: dropout}
	if dropout > 0 {
		op.key = t.random.next()
	}
	start := t.mark()
	low.add(y, op.dropped(t))
	t.release(start)
	t.lap(PartLoRA)
	needed := x.needs || a.needs || b.needs
	y.needs = y.needs || needed
	t.keep(op, needed)
	return y
}

// linearOf is the last operation if it is the Linear that made y from x, without a LoRA yet.
func (t *Tape) linearOf(y, x *Tensor) *linearOp {
	if len(t.ops) == 0 {
		return nil
	}
	op, ok := t.ops[len(t.ops)-1].(*linearOp)
	if !ok || op.y != y || op.x != x || op.low.A != nil {
		return nil
	}
	return op
}

// add is u = x·aᵀ, y += scale·u·bᵀ.
func (l *lowRank) add(y *Tensor, x []float32) {
	kernels.AddLowRank(y.Data, x, y.Rows, l.Kernel(), l.u)
}

// dropped is drop(x), recomputed in scratch memory of the tape.
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
	y, x, l := op.y, op.x, &op.low
	if y.Grad == nil {
		return
	}
	if x.needs {
		t.grad(x) // before the scratch memory below, which is given back
	}
	l.startGrads(t)
	start := t.mark()
	du := t.arena.alloc(len(l.u))
	r := l.A.Rows
	kernels.Gemm(false, false, x.Rows, r, y.Cols, l.Scale, y.Grad, y.Cols, l.B.Data, r, 0, du, r) // du = scale·dy·b
	l.addGrads(y.Grad, op.dropped(t), du)
	if x.needs {
		op.addInputGrad(t, du)
	}
	t.release(start)
}

// addInputGrad is dx += drop'(du·a).
func (op *loraOp) addInputGrad(t *Tape, du []float32) {
	x, a, r := op.x, op.low.A, op.low.A.Rows
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
