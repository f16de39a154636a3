package autograd

import "github.com/peftconv/peftconv/kernels"

// veraOp is y += scale·b·(bigB·(d·(bigA·drop(x)))).
type veraOp struct {
	y, x, a, b, lambdaD, lambdaB *Tensor
	scale, dropout               float32
	key                          uint64
	u                            []float32 // (T, r) drop(x)·aᵀ
}

// VeRA adds a low-rank map of two frozen matrices with trainable vectors to y (T, out), in place (Kopiczko et al.
// 2023, "VeRA"): y += scale·(((drop(x)·aᵀ)·d)·bᵀ)·l with x (T, in), d (r, 1) and l (out, 1) factors of columns, a (r,
// in or more) and b (out or more, r); only their first columns and rows are used.
func (t *Tape) VeRA(y, x, a, b, d, l *Tensor, scale, dropout float32) *Tensor {
	r := a.Rows
	if a.Cols < x.Cols || b.Cols != r || b.Rows < y.Cols || len(d.Data) != r || len(l.Data) != y.Cols {
		panic("autograd: VeRA: shapes of x, y, a, b, d and l do not fit")
	}
	op := &veraOp{y: y, x: x, a: a, b: b, lambdaD: d, lambdaB: l, scale: scale, dropout: dropout}
	if dropout > 0 {
		op.key = t.random.next()
	}
	op.u = t.arena.alloc(x.Rows * r)
	start := t.mark()
	kernels.Gemm(false, true, x.Rows, r, x.Cols, 1, op.dropped(t), x.Cols, a.Data, a.Cols, 0, op.u, r)
	z := op.product(t)
	forRows(y.Rows, func(i int) {
		row := z[i*y.Cols : (i+1)*y.Cols]
		kernels.Mul(row, l.Data)
		kernels.Axpy(scale, row, y.Row(i))
	})
	t.release(start)
	t.lap(PartLoRA)
	if x.needs || d.needs || l.needs {
		y.needs = true
		t.push(op)
	}
	return y
}

// dropped is drop(x), in scratch memory of the tape.
func (op *veraOp) dropped(t *Tape) []float32 {
	if op.dropout <= 0 {
		return op.x.Data
	}
	xd, cols := t.arena.alloc(len(op.x.Data)), op.x.Cols
	forRows(op.x.Rows, func(i int) { dropRow(xd[i*cols:(i+1)*cols], op.x.Row(i), op.key, i, op.dropout) })
	return xd
}

// product is z (T, out) = (u·d)·bᵀ, in scratch memory of the tape.
func (op *veraOp) product(t *Tape) []float32 {
	T, r, out := op.x.Rows, op.a.Rows, op.y.Cols
	v, z := t.arena.alloc(T*r), t.arena.alloc(T*out)
	copy(v, op.u)
	forRows(T, func(i int) { kernels.Mul(v[i*r:(i+1)*r], op.lambdaD.Data) })
	kernels.Gemm(false, true, T, out, r, 1, v, r, op.b.Data, r, 0, z, out)
	return z
}

func (op *veraOp) backward(t *Tape) {
	x, y, d, l := op.x, op.y, op.lambdaD, op.lambdaB
	if y.Grad == nil {
		return
	}
	if x.needs {
		t.grad(x)
	}
	T, r, out := x.Rows, op.a.Rows, y.Cols
	start := t.mark()
	if l.needs { // dl += scale·Σ dy·z
		sumProducts(l.Grad, y.Grad, op.product(t), T, op.scale)
	}
	dz, dv := t.arena.alloc(T*out), t.arena.alloc(T*r)
	copy(dz, y.Grad)
	forRows(T, func(i int) { kernels.Mul(dz[i*out:(i+1)*out], l.Data) })
	kernels.Gemm(false, false, T, r, out, op.scale, dz, out, op.b.Data, r, 0, dv, r)
	if d.needs { // dd += Σ dv·u
		sumProducts(d.Grad, dv, op.u, T, 1)
	}
	if x.needs {
		forRows(T, func(i int) { kernels.Mul(dv[i*r:(i+1)*r], d.Data) })
		op.addInputGrad(t, dv)
	}
	t.release(start)
	t.lap(PartLoRA)
}

// addInputGrad is dx += drop'(du·a).
func (op *veraOp) addInputGrad(t *Tape, du []float32) {
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

// sumProducts is sum += scale·Σ_rows p·q of two matrices with rows rows, column by column.
func sumProducts(sum, p, q []float32, rows int, scale float32) {
	cols := len(sum)
	forColumns(cols, func(from, to int) {
		for i := range rows {
			for j := from; j < to; j++ {
				sum[j] += scale * p[i*cols+j] * q[i*cols+j]
			}
		}
	})
}
