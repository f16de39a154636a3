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

// scaleOp is y = s·x.
type scaleOp struct {
	x, y  *Tensor
	s     float32
	fresh bool // the gradient of x is new
}

// Scaled is y = s·x.
func (t *Tape) Scaled(x *Tensor, s float32) *Tensor {
	y := t.Tensor(x.Rows, x.Cols)
	op := t.pools.scale.take()
	*op = scaleOp{x: x, y: y, s: s}
	t.rows(y.Rows, y.Cols, op)
	t.lap(PartElementwise)
	y.needs = x.needs
	t.keep(op, y.needs)
	return y
}

func (op *scaleOp) rows(from, to int) {
	for i := from; i < to; i++ {
		y := op.y.Row(i)
		copy(y, op.x.Row(i))
		kernels.Scale(op.s, y)
	}
}

func (op *scaleOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	op.fresh = t.startGrad(op.x)
	t.rows(op.y.Rows, op.y.Cols, (*scaleBackward)(op))
}

type scaleBackward scaleOp

func (op *scaleBackward) rows(from, to int) {
	for i := from; i < to; i++ {
		dx, dy := op.x.gradRow(i), op.y.gradRow(i)
		if op.fresh {
			copy(dx, dy)
			kernels.Scale(op.s, dx)
			continue
		}
		for j, g := range dy {
			dx[j] += op.s * g
		}
	}
}

// scaleByRowOp is the scaling of rows by constants.
type scaleByRowOp struct {
	x *Tensor
	f []float32 // (T)
}

// ScaleByRow multiplies each row of x (T, D) by a constant f (T), in place.
func (t *Tape) ScaleByRow(x *Tensor, f []float32) *Tensor {
	if len(f) != x.Rows {
		panic("autograd: ScaleByRow: factors and rows differ")
	}
	op := t.pools.scaleByRow.take()
	*op = scaleByRowOp{x, f}
	t.rows(x.Rows, x.Cols, op)
	t.lap(PartElementwise)
	t.keep(op, x.needs)
	return x
}

func (op *scaleByRowOp) rows(from, to int) {
	for i := from; i < to; i++ {
		kernels.Scale(op.f[i], op.x.Row(i))
	}
}

func (op *scaleByRowOp) backward(t *Tape) {
	if op.x.Grad != nil {
		t.rows(op.x.Rows, op.x.Cols, (*scaleByRowBackward)(op))
	}
}

type scaleByRowBackward scaleByRowOp

func (op *scaleByRowBackward) rows(from, to int) {
	for i := from; i < to; i++ {
		kernels.Scale(op.f[i], op.x.gradRow(i))
	}
}

// clampOp is y = min(max(x, -c), c).
type clampOp struct {
	x, y  *Tensor
	c     float32
	fresh bool // the gradient of x is new
}

// Clamp is y = min(max(x, -c), c), element by element. No gradient passes where x is outside.
func (t *Tape) Clamp(x *Tensor, c float32) *Tensor {
	y := t.Tensor(x.Rows, x.Cols)
	op := t.pools.clamp.take()
	*op = clampOp{x: x, y: y, c: c}
	t.rows(y.Rows, y.Cols, op)
	t.lap(PartElementwise)
	y.needs = x.needs
	t.keep(op, y.needs)
	return y
}

func (op *clampOp) rows(from, to int) {
	for i := from; i < to; i++ {
		kernels.Clamp(op.y.Row(i), op.x.Row(i), -op.c, op.c)
	}
}

func (op *clampOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	op.fresh = t.startGrad(op.x)
	t.rows(op.y.Rows, op.y.Cols, (*clampBackward)(op))
}

type clampBackward clampOp

func (op *clampBackward) rows(from, to int) {
	for i := from; i < to; i++ {
		kernels.AddWithin(freshRow(op.x, i, op.fresh), op.y.gradRow(i), op.x.Row(i), -op.c, op.c)
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
