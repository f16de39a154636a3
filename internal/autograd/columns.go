package autograd

import "github.com/peftconv/peftconv/kernels"

// splitOp is y = some columns of every head of x.
type splitOp struct {
	x, y  *Tensor
	heads int
	from  int // the first of the columns in a head
	fresh bool
}

// Split is the columns from to to-1 of x (T, D): y (T, to-from).
func (t *Tape) Split(x *Tensor, from, to int) *Tensor { return t.SplitHeads(x, 1, from, to) }

// SplitHeads is the columns from to to-1 of every head of x (T, heads·d): y (T, heads·(to-from)).
func (t *Tape) SplitHeads(x *Tensor, heads, from, to int) *Tensor {
	if heads < 1 || x.Cols%heads != 0 || from < 0 || from > to || to > x.Cols/heads {
		panic("autograd: SplitHeads: columns are not there")
	}
	y := t.Tensor(x.Rows, heads*(to-from))
	op := t.pools.split.take()
	*op = splitOp{x: x, y: y, heads: heads, from: from}
	t.rows(y.Rows, y.Cols, op)
	t.lap(PartElementwise)
	y.needs = x.needs
	t.keep(op, y.needs)
	return y
}

func (op *splitOp) rows(from, to int) {
	d, n := op.x.Cols/op.heads, op.y.Cols/op.heads
	for i := from; i < to; i++ {
		x, y := op.x.Row(i), op.y.Row(i)
		for h := range op.heads {
			copy(y[h*n:(h+1)*n], x[h*d+op.from:])
		}
	}
}

// backward zeroes the gradient of x where it is new: the first of several splits does this for all of them.
func (op *splitOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	op.fresh = t.startGrad(op.x)
	t.rows(op.x.Rows, op.x.Cols, (*splitBackward)(op))
}

type splitBackward splitOp

func (op *splitBackward) rows(from, to int) {
	d, n := op.x.Cols/op.heads, op.y.Cols/op.heads
	for i := from; i < to; i++ {
		dx, dy := freshRow(op.x, i, op.fresh), op.y.gradRow(i)
		for h := range op.heads {
			kernels.Add(dx[h*d+op.from:][:n], dy[h*n:(h+1)*n])
		}
	}
}

// besideOp is y = [a | b] in every head.
type besideOp struct {
	a, b, y        *Tensor
	heads          int
	freshA, freshB bool // their gradients are new
}

// Beside is y (T, A+B): in each row the row of a (T, A), then that of b (T, B).
func (t *Tape) Beside(a, b *Tensor) *Tensor { return t.BesideHeads(a, b, 1) }

// BesideHeads puts the columns of a head of b beside those of the same head of a, (T, heads·n) and (T, heads·m) to (T,
// heads·(n+m)).
func (t *Tape) BesideHeads(a, b *Tensor, heads int) *Tensor {
	if a.Rows != b.Rows || heads < 1 || a.Cols%heads != 0 || b.Cols%heads != 0 {
		panic("autograd: BesideHeads: shapes do not fit")
	}
	y := t.Tensor(a.Rows, a.Cols+b.Cols)
	op := t.pools.beside.take()
	*op = besideOp{a: a, b: b, y: y, heads: heads}
	t.rows(y.Rows, y.Cols, op)
	t.lap(PartElementwise)
	y.needs = a.needs || b.needs
	t.keep(op, y.needs)
	return y
}

func (op *besideOp) rows(from, to int) {
	n, m := op.a.Cols/op.heads, op.b.Cols/op.heads
	for i := from; i < to; i++ {
		y, a, b := op.y.Row(i), op.a.Row(i), op.b.Row(i)
		for h := range op.heads {
			copy(y[h*(n+m):], a[h*n:(h+1)*n])
			copy(y[h*(n+m)+n:], b[h*m:(h+1)*m])
		}
	}
}

func (op *besideOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	op.freshA = op.a.needs && t.startGrad(op.a)
	op.freshB = op.b.needs && t.startGrad(op.b)
	t.rows(op.y.Rows, op.y.Cols, (*besideBackward)(op))
}

type besideBackward besideOp

func (op *besideBackward) rows(from, to int) {
	n, m := op.a.Cols/op.heads, op.b.Cols/op.heads
	for i := from; i < to; i++ {
		dy := op.y.gradRow(i)
		if op.a.needs {
			da := freshRow(op.a, i, op.freshA)
			for h := range op.heads {
				kernels.Add(da[h*n:(h+1)*n], dy[h*(n+m):][:n])
			}
		}
		if op.b.needs {
			db := freshRow(op.b, i, op.freshB)
			for h := range op.heads {
				kernels.Add(db[h*m:(h+1)*m], dy[h*(n+m)+n:][:m])
			}
		}
	}
}

// repeatOp is y = [x | x | ...].
type repeatOp struct {
	x, y  *Tensor
	n     int
	fresh bool
}

// RepeatHeads is y (T, n·d): the columns of x (T, d) n times, one after the other.
func (t *Tape) RepeatHeads(x *Tensor, n int) *Tensor {
	y := t.Tensor(x.Rows, n*x.Cols)
	op := t.pools.repeat.take()
	*op = repeatOp{x: x, y: y, n: n}
	t.rows(y.Rows, y.Cols, op)
	t.lap(PartElementwise)
	y.needs = x.needs
	t.keep(op, y.needs)
	return y
}

func (op *repeatOp) rows(from, to int) {
	for i := from; i < to; i++ {
		x, y := op.x.Row(i), op.y.Row(i)
		for k := range op.n {
			copy(y[k*len(x):], x)
		}
	}
}

func (op *repeatOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	op.fresh = t.startGrad(op.x)
	t.rows(op.y.Rows, op.y.Cols, (*repeatBackward)(op))
}

type repeatBackward repeatOp

func (op *repeatBackward) rows(from, to int) {
	d := op.x.Cols
	for i := from; i < to; i++ {
		dx, dy := freshRow(op.x, i, op.fresh), op.y.gradRow(i)
		for k := range op.n {
			kernels.Add(dx, dy[k*d:(k+1)*d])
		}
	}
}
