package autograd

import "github.com/peftconv/peftconv/kernels"

// matMulOp is y = a·b.
type matMulOp struct{ a, b, y *Tensor }

// MatMul is y (m, n) = a (m, k)·b (k, n), with gradients for both.
func (t *Tape) MatMul(a, b *Tensor) *Tensor {
	if a.Cols != b.Rows {
		panic("autograd: MatMul: columns of a and rows of b differ")
	}
	y := t.Tensor(a.Rows, b.Cols)
	kernels.Gemm(false, false, a.Rows, b.Cols, a.Cols, 1, a.Data, a.Cols, b.Data, b.Cols, 0, y.Data, y.Cols)
	t.lap(PartLoRA)
	if a.needs || b.needs {
		y.needs = true
		t.push(&matMulOp{a, b, y})
	}
	return y
}

func (op *matMulOp) backward(t *Tape) {
	a, b, y := op.a, op.b, op.y
	if y.Grad == nil {
		return
	}
	if a.needs { // da += dy·bᵀ
		kernels.Gemm(false, true, a.Rows, a.Cols, b.Cols, 1, y.Grad, y.Cols, b.Data, b.Cols, 1, t.grad(a), a.Cols)
	}
	if b.needs { // db += aᵀ·dy
		kernels.Gemm(true, false, b.Rows, b.Cols, a.Rows, 1, a.Data, a.Cols, y.Grad, y.Cols, 1, t.grad(b), b.Cols)
	}
	t.lap(PartLoRA)
}

// rowProductsOp is row (i, j) of y = row i of a times row j of b.
type rowProductsOp struct{ a, b, y *Tensor }

// RowProducts is y (p·q, n) whose row i·q+j is row i of a (p, n) times row j of b (q, n), element by element (the
// Khatri-Rao product of aᵀ and bᵀ, transposed).
func (t *Tape) RowProducts(a, b *Tensor) *Tensor {
	if a.Cols != b.Cols {
		panic("autograd: RowProducts: columns differ")
	}
	y := t.Tensor(a.Rows*b.Rows, a.Cols)
	forRows(y.Rows, func(k int) {
		copy(y.Row(k), a.Row(k/b.Rows))
		kernels.Mul(y.Row(k), b.Row(k%b.Rows))
	})
	t.lap(PartLoRA)
	if a.needs || b.needs {
		y.needs = true
		t.push(&rowProductsOp{a, b, y})
	}
	return y
}

func (op *rowProductsOp) backward(t *Tape) {
	a, b, y := op.a, op.b, op.y
	if y.Grad == nil {
		return
	}
	for _, x := range []*Tensor{a, b} {
		if x.needs {
			t.grad(x)
		}
	}
	forColumns(y.Cols, func(from, to int) {
		for k := range y.Rows {
			i, j := k/b.Rows, k%b.Rows
			dy := y.gradRow(k)[from:to]
			addProduct(a, i, dy, b.Row(j)[from:to], from)
			addProduct(b, j, dy, a.Row(i)[from:to], from)
		}
	})
	t.lap(PartLoRA)
}

// addProduct adds dy·v to the gradient of x in row i, from a column on.
func addProduct(x *Tensor, i int, dy, v []float32, from int) {
	if !x.needs {
		return
	}
	dx := x.gradRow(i)[from:]
	for c, g := range dy {
		dx[c] += g * v[c]
	}
}

// columnProductsOp is column (i, j) of y = column i of a times column j of b.
type columnProductsOp struct{ a, b, y *Tensor }

// ColumnProducts is y (m, p·q) whose column i·q+j is column i of a (m, p) times column j of b (m, q), element by
// element (the face-splitting product). With RowProducts it factors an element-wise product of products: (a·c)⊙(b·d) =
// ColumnProducts(a, b)·RowProducts(c, d).
func (t *Tape) ColumnProducts(a, b *Tensor) *Tensor {
	if a.Rows != b.Rows {
		panic("autograd: ColumnProducts: rows differ")
	}
	y := t.Tensor(a.Rows, a.Cols*b.Cols)
	forRows(y.Rows, func(m int) {
		row := y.Row(m)
		for i, v := range a.Row(m) {
			for j, w := range b.Row(m) {
				row[i*b.Cols+j] = v * w
			}
		}
	})
	t.lap(PartLoRA)
	if a.needs || b.needs {
		y.needs = true
		t.push(&columnProductsOp{a, b, y})
	}
	return y
}

func (op *columnProductsOp) backward(t *Tape) {
	a, b, y := op.a, op.b, op.y
	if y.Grad == nil {
		return
	}
	for _, x := range []*Tensor{a, b} {
		if x.needs {
			t.grad(x)
		}
	}
	forRows(y.Rows, func(m int) {
		for i, v := range a.Row(m) {
			dy := y.gradRow(m)[i*b.Cols : (i+1)*b.Cols]
			if a.needs {
				a.gradRow(m)[i] += kernels.Dot(dy, b.Row(m))
			}
			if b.needs {
				kernels.Axpy(v, dy, b.gradRow(m))
			}
		}
	})
	t.lap(PartLoRA)
}

// kroneckerOp is y += scale·x·(w1 ⊗ w2)ᵀ.
type kroneckerOp struct {
	y, x, w1, w2 *Tensor
	scale        float32
	order        []int32
	z            []float32 // (c, T, b) z[i] = x[:, i]·w2ᵀ
}

// Kronecker adds a map whose matrix is the Kronecker product of w1 (a, c) and w2 (b, d) to y (T, a·b), in place: y +=
// scale·x·(w1 ⊗ w2)ᵀ with x (T, c·d). If y has its columns in another order, order is the column of each output of the
// product; nil: the same order. The matrix itself is never computed.
func (t *Tape) Kronecker(y, x, w1, w2 *Tensor, scale float32, order []int32) *Tensor {
	if w1.Rows*w2.Rows != y.Cols || w1.Cols*w2.Cols != x.Cols || order != nil && len(order) != y.Cols {
		panic("autograd: Kronecker: shapes of x, y, w1 and w2 do not fit")
	}
	T, a, b, c, d := x.Rows, w1.Rows, w2.Rows, w1.Cols, w2.Cols
	op := &kroneckerOp{y: y, x: x, w1: w1, w2: w2, scale: scale, order: order, z: t.arena.alloc(c * T * b)}
	for i := range c {
		kernels.Gemm(false, true, T, b, d, 1, x.Data[i*d:], x.Cols, w2.Data, d, 0, op.z[i*T*b:], b)
	}
	start := t.mark()
	out := t.arena.alloc(a * T * b)
	kernels.Gemm(false, false, a, T*b, c, scale, w1.Data, c, op.z, T*b, 0, out, T*b)
	forRows(T, func(row int) { op.exchange(y.Row(row), out, row, true) })
	t.release(start)
	t.lap(PartLoRA)
	if x.needs || w1.needs || w2.needs {
		y.needs = true
		t.push(op)
	}
	return y
}

// exchange adds the values of a token in out (a, T, b) to a row of y, or copies them from it.
func (op *kroneckerOp) exchange(y, out []float32, row int, add bool) {
	T, b := op.x.Rows, op.w2.Rows
	for i := range op.w1.Rows {
		part := out[(i*T+row)*b:][:b]
		for j := range part {
			at := i*b + j
			if op.order != nil {
				at = int(op.order[at])
			}
			if add {
				y[at] += part[j]
			} else {
				part[j] = y[at]
			}
		}
	}
}

func (op *kroneckerOp) backward(t *Tape) {
	x, y, w1, w2 := op.x, op.y, op.w1, op.w2
	if y.Grad == nil {
		return
	}
	for _, p := range []*Tensor{x, w1, w2} {
		if p.needs {
			t.grad(p)
		}
	}
	T, a, b, c, d := x.Rows, w1.Rows, w2.Rows, w1.Cols, w2.Cols
	start := t.mark()
	dy, dz := t.arena.alloc(a*T*b), t.arena.alloc(c*T*b)
	forRows(T, func(row int) { op.exchange(y.gradRow(row), dy, row, false) })
	if w1.needs { // dw1 += scale·dy·zᵀ
		kernels.Gemm(false, true, a, c, T*b, op.scale, dy, T*b, op.z, T*b, 1, w1.Grad, c)
	}
	kernels.Gemm(true, false, c, T*b, a, op.scale, w1.Data, c, dy, T*b, 0, dz, T*b) // dz = scale·w1ᵀ·dy
	for i := range c {
		if w2.needs { // dw2 += dz[i]ᵀ·x[:, i]
			kernels.Gemm(true, false, b, d, T, 1, dz[i*T*b:], b, x.Data[i*d:], x.Cols, 1, w2.Grad, d)
		}
		if x.needs { // dx[:, i] += dz[i]·w2
			kernels.Gemm(false, false, T, d, b, 1, dz[i*T*b:], b, w2.Data, d, 1, x.Grad[i*d:], x.Cols)
		}
	}
	t.release(start)
	t.lap(PartLoRA)
}
