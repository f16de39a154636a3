package autograd

import "github.com/peftconv/peftconv/kernels"

// magnitudeOp is y = x·(m·inverse), column by column.
type magnitudeOp struct {
	x, m, y *Tensor
	inverse []float32
}

// Magnitude scales each column of x (T, n) to the magnitude m (1, n): y = x·m·inverse, where inverse (n) is the
// inverse of a norm that counts as a constant (Liu et al. 2024, "DoRA").
func (t *Tape) Magnitude(x, m *Tensor, inverse []float32) *Tensor {
	if m.Rows != 1 || m.Cols != x.Cols || len(inverse) != x.Cols {
		panic("autograd: Magnitude: shapes do not fit")
	}
	y := t.Tensor(x.Rows, x.Cols)
	op := &magnitudeOp{x, m, y, inverse}
	t.rows(x.Rows, x.Cols, op)
	t.lap(PartLoRA)
	if x.needs || m.needs {
		y.needs = true
		t.push(op)
	}
	return y
}

func (op *magnitudeOp) rows(from, to int) {
	for i := from; i < to; i++ {
		x, y := op.x.Row(i), op.y.Row(i)
		for j, m := range op.m.Data {
			y[j] = x[j] * (m * op.inverse[j])
		}
	}
}

func (op *magnitudeOp) backward(t *Tape) {
	x, m, y := op.x, op.m, op.y
	if y.Grad == nil {
		return
	}
	if m.needs {
		t.grad(m)
		forColumns(x.Cols, func(from, to int) {
			for i := range x.Rows {
				row, dy := x.Row(i), y.gradRow(i)
				for j := from; j < to; j++ {
					m.Grad[j] += dy[j] * row[j] * op.inverse[j]
				}
			}
		})
	}
	if x.needs {
		t.grad(x)
		t.rows(x.Rows, x.Cols, (*magnitudeBackward)(op))
	}
	t.lap(PartLoRA)
}

type magnitudeBackward magnitudeOp

func (op *magnitudeBackward) rows(from, to int) {
	for i := from; i < to; i++ {
		dx, dy := op.x.gradRow(i), op.y.gradRow(i)
		for j, m := range op.m.Data {
			dx[j] += dy[j] * (m * op.inverse[j])
		}
	}
}

// embeddingLoRAOp is x += scale·a[:, ids]ᵀ·bᵀ.
type embeddingLoRAOp struct {
	x, a, b *Tensor
	ids     []int32
	u       []float32 // (T, r) the columns of a
	scale   float32
}

// EmbeddingLoRA adds a low-rank change to rows x (T, D) of an embedding table, in place: x += scale·a[:, ids]ᵀ·bᵀ with
// a (r, V) and b (D, r). Rows with negative ids stay as they are.
func (t *Tape) EmbeddingLoRA(x *Tensor, ids []int32, a, b *Tensor, scale float32) *Tensor {
	r := a.Rows
	if len(ids) != x.Rows || b.Rows != x.Cols || b.Cols != r {
		panic("autograd: EmbeddingLoRA: shapes do not fit")
	}
	op := &embeddingLoRAOp{x, a, b, ids, t.arena.alloc(x.Rows * r), scale}
	for i, id := range ids {
		for k := range r {
			op.u[i*r+k] = 0
			if id >= 0 {
				op.u[i*r+k] = a.Data[k*a.Cols+int(id)]
			}
		}
	}
	kernels.Gemm(false, true, x.Rows, x.Cols, r, scale, op.u, r, b.Data, r, 1, x.Data, x.Cols)
	t.lap(PartEmbedding)
	if a.needs || b.needs {
		x.needs = true
		t.push(op)
	}
	return x
}

func (op *embeddingLoRAOp) backward(t *Tape) {
	x, a, b, r := op.x, op.a, op.b, op.a.Rows
	if x.Grad == nil {
		return
	}
	if b.needs { // db += scale·dxᵀ·u
		kernels.Gemm(true, false, b.Rows, r, x.Rows, op.scale, x.Grad, x.Cols, op.u, r, 1, t.grad(b), r)
	}
	if a.needs {
		t.grad(a)
		start := t.mark()
		du := t.arena.alloc(x.Rows * r)
		kernels.Gemm(false, false, x.Rows, r, x.Cols, op.scale, x.Grad, x.Cols, b.Data, r, 0, du, r)
		for i, id := range op.ids {
			for k := 0; id >= 0 && k < r; k++ {
				a.Grad[k*a.Cols+int(id)] += du[i*r+k]
			}
		}
		t.release(start)
	}
	t.lap(PartEmbedding)
}

// replaceRowsOp replaces rows of x by rows of e.
type replaceRowsOp struct {
	x, e *Tensor
	from []int // (T) row of e that row i of x is, or -1
}

// ReplaceRows writes row j of e (n, D) over every row i of x (T, D) with from[i] = j, in place; -1 leaves a row as it
// is.
func (t *Tape) ReplaceRows(x, e *Tensor, from []int) *Tensor {
	if len(from) != x.Rows || e.Cols != x.Cols {
		panic("autograd: ReplaceRows: shapes do not fit")
	}
	for i, j := range from {
		if j >= 0 {
			copy(x.Row(i), e.Row(j))
		}
	}
	t.lap(PartEmbedding)
	if e.needs {
		x.needs = true
		t.push(&replaceRowsOp{x, e, from})
	}
	return x
}

// backward moves the gradients of the replaced rows from x to e.
func (op *replaceRowsOp) backward(t *Tape) {
	if op.x.Grad == nil {
		return
	}
	t.grad(op.e)
	for i, j := range op.from {
		if j >= 0 {
			kernels.Add(op.e.gradRow(j), op.x.gradRow(i))
			clear(op.x.gradRow(i))
		}
	}
	t.lap(PartEmbedding)
}
