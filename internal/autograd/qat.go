package autograd

import "github.com/peftconv/peftconv/kernels"

// Straight-through estimators. The operations of this file train the parameters of a matrix w of y = x·wᵀ where Linear
// multiplies with w itself: they return y unchanged and pass the gradient of w straight through to its parameters
// (Bengio et al. 2013, "Estimating or Propagating Gradients Through Stochastic Neurons").

// tapValues is about the number of values of a weight's gradient in memory at a time.
const tapValues = 1 << 22

// RowGradient receives the gradient of a matrix, some rows at a time.
type RowGradient interface {
	// AddRows gets rows r0 to r1-1 of the gradient dw (r1-r0, in), which it may overwrite. Rows come in order, each
	// once.
	AddRows(t *Tape, r0, r1 int, dw []float32)
	// Done is called after the last row.
	Done(t *Tape)
}

// tapRowsOp passes on the gradient of a linear map's weight.
type tapRowsOp struct {
	x, y *Tensor
	sink RowGradient
}

// TapRows returns y = x·wᵀ unchanged; backward passes dyᵀ·x, the gradient of w (out, in), to sink, a few megabytes at a
// time. Both are rounded for that (kernels.Precision.ForSums).
func (t *Tape) TapRows(y, x *Tensor, sink RowGradient) *Tensor {
	if x.Rows != y.Rows {
		panic("autograd: TapRows: rows of x and y differ")
	}
	y.needs = true
	t.push(&tapRowsOp{x, y, sink})
	return y
}

func (op *tapRowsOp) backward(t *Tape) {
	x, y := op.x, op.y
	if y.Grad == nil {
		return
	}
	rows := min(y.Cols, max(64, tapValues/x.Cols))
	precision, start := t.precision.ForSums(), t.mark()
	dw := t.arena.alloc(rows * x.Cols)
	for r0 := 0; r0 < y.Cols; r0 += rows {
		r1 := min(y.Cols, r0+rows)
		part := dw[:(r1-r0)*x.Cols]
		kernels.GemmTPrec(precision, r1-r0, x.Cols, x.Rows, y.Grad[r0:], y.Cols, x.Data, 0, part)
		op.sink.AddRows(t, r0, r1, part)
	}
	op.sink.Done(t)
	t.release(start)
}

// Scratch is memory of n values, not zeroed, that lives until the end of the current operation.
func (t *Tape) Scratch(n int) []float32 { return t.arena.alloc(n) }

// tapLowRankOp is the gradient of a low-rank part of a linear map's weight.
type tapLowRankOp struct {
	y, x, a, b *Tensor
	scale      float32
	group      int
}

// TapLowRank returns y = x·wᵀ unchanged; backward adds to a (r, in/group) and b (out, r) the gradients that they would
// have if scale·b·a, each of its columns repeated group times, were added to w (out, in). The last column may be
// repeated fewer times.
func (t *Tape) TapLowRank(y, x, a, b *Tensor, scale float32, group int) *Tensor {
	if a.Cols != (x.Cols+group-1)/group || b.Cols != a.Rows || b.Rows != y.Cols {
		panic("autograd: TapLowRank: shapes of x, y, a and b do not fit")
	}
	y.needs = true
	t.push(&tapLowRankOp{y, x, a, b, scale, group})
	return y
}

func (op *tapLowRankOp) backward(t *Tape) {
	y, a, b := op.y, op.a, op.b
	if y.Grad == nil {
		return
	}
	rows, r := y.Rows, a.Rows
	start := t.mark()
	x := op.pooled(t)
	u, du := t.arena.alloc(rows*r), t.arena.alloc(rows*r)
	kernels.Gemm(false, true, rows, r, a.Cols, 1, x, a.Cols, a.Data, a.Cols, 0, u, r)          // u = x·aᵀ
	kernels.Gemm(false, false, rows, r, y.Cols, op.scale, y.Grad, y.Cols, b.Data, r, 0, du, r) // du = scale·dy·b
	kernels.Gemm(true, false, b.Rows, r, rows, op.scale, y.Grad, y.Cols, u, r, 1, b.Grad, r)   // db += scale·dyᵀ·u
	kernels.Gemm(true, false, r, a.Cols, rows, 1, du, r, x, a.Cols, 1, a.Grad, a.Cols)         // da += duᵀ·x
	t.release(start)
}

// pooled is x (T, in) with the values of each group added up, (T, in/group).
func (op *tapLowRankOp) pooled(t *Tape) []float32 {
	x, group := op.x, op.group
	if group == 1 {
		return x.Data
	}
	cols := op.a.Cols
	sums := t.arena.alloc(x.Rows * cols)
	forRows(x.Rows, func(i int) {
		row := x.Row(i)
		for g := range cols {
			var sum float32
			for _, v := range row[g*group : min((g+1)*group, len(row))] {
				sum += v
			}
			sums[i*cols+g] = sum
		}
	})
	return sums
}

// The operations of this file train parameters of a product whose value is computed in another way (straight-through).
// A detached copy of the input goes through the operations of the parameters, and the gradient of the value is passed
// to their result.

// Recording reports whether the tape records.
func (t *Tape) Recording() bool { return t.record }

// Require marks x as needing a gradient, as operations on trainable tensors mark their results. It is for passes that
// are not recorded but whose results are part of one that is.
func (x *Tensor) Require() { x.needs = true }

// Detached is a tensor with the values of x through which no gradient flows.
func (t *Tape) Detached(x *Tensor) *Tensor {
	v := t.view(x)
	v.needs = false
	return v
}

// throughOp hands the gradient of y to z.
type throughOp struct{ y, z *Tensor }

// Through returns y unchanged; backward gives the gradient of y to z, of the same shape, as if z were added to y.
// Nothing else may depend on z.
func (t *Tape) Through(y, z *Tensor) *Tensor {
	if z.Rows != y.Rows || z.Cols != y.Cols {
		panic("autograd: Through: shapes of y and z differ")
	}
	if z.needs {
		y.needs = true
		t.push(&throughOp{y, z})
	}
	return y
}

func (op *throughOp) backward(*Tape) { op.z.Grad = op.y.Grad }

// InputGradient is Linear for a result of which only the gradient is used: it computes no product, and the result (T,
// out) has no values.
func (t *Tape) InputGradient(x *Tensor, w kernels.Weights) *Tensor {
	rows, cols := w.Dims()
	if cols != x.Cols {
		panic("autograd: InputGradient: columns of x and w differ")
	}
	y := t.tensors.next()
	y.Rows, y.Cols = x.Rows, rows
	op := t.pools.linear.take()
	*op = linearOp{x: x, y: y, w: w}
	y.needs = x.needs
	t.keep(op, y.needs)
	return y
}
