package autograd

import "github.com/peftconv/peftconv/kernels"

// addOp is y = a + b.
type addOp struct {
	a, b, y        *Tensor
	freshA, freshB bool // their gradients are new: set, not added to
}

// Add is y = a + b, the residual connection.
func (t *Tape) Add(a, b *Tensor) *Tensor {
	if a.Rows != b.Rows || a.Cols != b.Cols {
		panic("autograd: Add: shapes differ")
	}
	y := t.Tensor(a.Rows, a.Cols)
	op := t.pools.add.take()
	*op = addOp{a: a, b: b, y: y}
	t.rows(y.Rows, y.Cols, op)
	t.lap(PartElementwise)
	y.needs = a.needs || b.needs
	t.keep(op, y.needs)
	return y
}

func (op *addOp) rows(from, to int) {
	for i := from; i < to; i++ {
		y := op.y.Row(i)
		copy(y, op.a.Row(i))
		kernels.Add(y, op.b.Row(i))
	}
}

// backward adds the gradient of y to that of a and gives its memory, which is no longer needed, to b if b has none
// yet.
func (op *addOp) backward(t *Tape) {
	a, b, y := op.a, op.b, op.y
	if y.Grad == nil {
		return
	}
	handed := b.needs && b.Grad == nil && b.spare == nil && b != a
	if a.needs {
		op.freshA = t.startGrad(a)
	}
	if b.needs && !handed {
		op.freshB = t.startGrad(b)
	}
	if a.needs || b.needs && !handed {
		t.rows(y.Rows, y.Cols, (*addBackward)(op))
	}
	if handed {
		b.Grad = y.Grad
	}
}

// addBackward passes rows of gradients on.
type addBackward addOp

func (op *addBackward) rows(from, to int) {
	for i := from; i < to; i++ {
		dy := op.y.gradRow(i)
		if op.a.needs {
			addRow(op.a.gradRow(i), dy, op.freshA)
		}
		if op.b.needs && op.b.Grad != nil {
			addRow(op.b.gradRow(i), dy, op.freshB)
		}
	}
}

// addRow is dst += x, or dst = x for a new dst.
func addRow(dst, x []float32, fresh bool) {
	if fresh {
		copy(dst, x)
		return
	}
	kernels.Add(dst, x)
}

// swigluOp is y = silu(gate)·up.
type swigluOp struct {
	gate, up, y        *Tensor
	freshGate, freshUp bool // their gradients are new
}

// SwiGLU is y = silu(gate)·up, element by element (Shazeer 2020, "GLU Variants Improve Transformer").
func (t *Tape) SwiGLU(gate, up *Tensor) *Tensor {
	if gate.Rows != up.Rows || gate.Cols != up.Cols {
		panic("autograd: SwiGLU: shapes differ")
	}
	y := t.Tensor(gate.Rows, gate.Cols)
	op := t.pools.swiglu.take()
	*op = swigluOp{gate: gate, up: up, y: y}
	t.rows(y.Rows, y.Cols, op)
	t.lap(PartElementwise)
	y.needs = gate.needs || up.needs
	t.keep(op, y.needs)
	return y
}

func (op *swigluOp) rows(from, to int) {
	for i := from; i < to; i++ {
		kernels.SwiGLU(op.y.Row(i), op.gate.Row(i), op.up.Row(i))
	}
}

func (op *swigluOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	op.freshGate, op.freshUp = t.startGrad(op.gate), t.startGrad(op.up)
	t.rows(op.y.Rows, op.y.Cols, (*swigluBackward)(op))
}

type swigluBackward swigluOp

func (op *swigluBackward) rows(from, to int) {
	for i := from; i < to; i++ {
		dgate, dup := freshRow(op.gate, i, op.freshGate), freshRow(op.up, i, op.freshUp)
		kernels.SwiGLUBackward(dgate, dup, op.y.gradRow(i), op.gate.Row(i), op.up.Row(i))
	}
}

// freshRow is row i of the gradient of x, zeroed where the gradient is new.
func freshRow(x *Tensor, i int, fresh bool) []float32 {
	row := x.gradRow(i)
	if fresh {
		clear(row)
	}
	return row
}
