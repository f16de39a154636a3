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
