package autograd

import "github.com/peftconv/peftconv/kernels"

// virtualOp replaces rows of x by rows of e.
type virtualOp struct {
	x, e  *Tensor
	ids   []int32
	first int32
}

// Virtual writes row j of e (n, D) over every row of x (T, D) whose id is first-j, in place: the embeddings of virtual
// tokens, whose ids are first, first-1 and so on down.
func (t *Tape) Virtual(x *Tensor, ids []int32, e *Tensor, first int32) *Tensor {
	if len(ids) != x.Rows || x.Cols != e.Cols || first >= 0 {
		panic("autograd: Virtual: shapes do not fit")
	}
	op := &virtualOp{x, e, ids, first}
	for i := range ids {
		if j, ok := op.row(i); ok {
			copy(x.Row(i), e.Row(j))
		}
	}
	t.lap(PartEmbedding)
	if e.needs {
		x.needs = true
		t.push(op)
	}
	return x
}

// row is the row of e that row i of x was copied from.
func (op *virtualOp) row(i int) (j int, ok bool) {
	j = int(op.first) - int(op.ids[i])
	return j, j >= 0 && j < op.e.Rows && op.ids[i] < 0
}

// backward moves the gradients of the replaced rows from x to e.
func (op *virtualOp) backward(t *Tape) {
	if op.x.Grad == nil {
		return
	}
	t.grad(op.e)
	for i := range op.ids {
		if j, ok := op.row(i); ok {
			kernels.Add(op.e.gradRow(j), op.x.gradRow(i))
			clear(op.x.gradRow(i))
		}
	}
	t.lap(PartEmbedding)
}

// Hold allocates the gradient of x now, so that the inside of a Checkpoint may use x although it is made outside.
func (t *Tape) Hold(x *Tensor) *Tensor {
	if x.needs && t.record {
		t.grad(x)
	}
	return x
}

// columnsOp is y = the columns of x that index lists.
type columnsOp struct {
	x, y  *Tensor
	index []int
}

// Columns is y (n, len(index)): column j of y is column index[j] of x.
func (t *Tape) Columns(x *Tensor, index []int) *Tensor {
	y := t.Tensor(x.Rows, len(index))
	for i := range x.Rows {
		from, to := x.Row(i), y.Row(i)
		for j, column := range index {
			to[j] = from[column]
		}
	}
	if x.needs {
		y.needs = true
		t.push(&columnsOp{x, y, index})
	}
	return y
}

func (op *columnsOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	t.grad(op.x)
	for i := range op.x.Rows {
		to, from := op.x.gradRow(i), op.y.gradRow(i)
		for j, column := range op.index {
			to[column] += from[j]
		}
	}
}

// dropoutOp is y = drop(x).
type dropoutOp struct {
	x, y *Tensor
	key  uint64
	p    float32
}

// Dropout is y (T, D): x with each value zeroed with probability p and the others divided by 1-p.
func (t *Tape) Dropout(x *Tensor, p float32) *Tensor {
	y := t.Tensor(x.Rows, x.Cols)
	op := &dropoutOp{x, y, t.random.next(), p}
	for i := range x.Rows {
		dropRow(y.Row(i), x.Row(i), op.key, i, p)
	}
	if x.needs {
		y.needs = true
		t.push(op)
	}
	return y
}

func (op *dropoutOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	t.grad(op.x)
	row := make([]float32, op.x.Cols)
	for i := range op.x.Rows {
		dropRow(row, op.y.gradRow(i), op.key, i, op.p)
		kernels.Add(op.x.gradRow(i), row)
	}
}
