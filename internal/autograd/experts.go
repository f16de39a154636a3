package autograd

import "github.com/peftconv/peftconv/kernels"

// gatherOp is y = some rows of x.
type gatherOp struct {
	x, y   *Tensor
	tokens []int32 // (n) row of x, ascending
}

// Gather is y (n, D): the rows of x (T, D) that an expert computes, of which there may be none.
func (t *Tape) Gather(x *Tensor, rt *Routing, expert int) *Tensor {
	if x.Rows != rt.Weights.Rows {
		panic("autograd: Gather: rows of x and tokens differ")
	}
	op := t.pools.gather.take()
	*op = gatherOp{x: x, tokens: rt.Tokens(expert)}
	y := t.Tensor(len(op.tokens), x.Cols)
	op.y = y
	t.rows(y.Rows, y.Cols, op)
	t.lap(PartElementwise)
	y.needs = x.needs
	t.keep(op, y.needs)
	return y
}

func (op *gatherOp) rows(from, to int) {
	for i := from; i < to; i++ {
		copy(op.y.Row(i), op.x.Row(int(op.tokens[i])))
	}
}

func (op *gatherOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	t.grad(op.x)
	t.rows(op.y.Rows, op.y.Cols, (*gatherBackward)(op))
}

// gatherBackward adds rows of gradients. No two are the same row of x.
type gatherBackward gatherOp

func (op *gatherBackward) rows(from, to int) {
	for i := from; i < to; i++ {
		kernels.Add(op.x.gradRow(int(op.tokens[i])), op.y.gradRow(i))
	}
}

// combineOp is y = Σ weight·output of each token's experts.
type combineOp struct {
	routing *Routing
	outputs []*Tensor
	fresh   []bool // the gradient of an output is new
	y       *Tensor
	first   bool // the gradient of the weights is new
}

// Combine is y (T, D): for each token the sum of what its experts computed, times their weights, the best expert
// first. outputs has for each expert the results (n, D) for the rows that Gather gives it; those of an expert without
// rows may be nil. Gradients reach the outputs and the weights.
func (t *Tape) Combine(rt *Routing, outputs []*Tensor) *Tensor {
	var some *Tensor
	needs := rt.Weights.needs
	if len(outputs) != rt.Experts() {
		panic("autograd: Combine: outputs and experts differ")
	}
	for e, x := range outputs {
		switch n := len(rt.Tokens(e)); {
		case n == 0:
			continue
		case x == nil || x.Rows != n || some != nil && x.Cols != some.Cols:
			panic("autograd: Combine: an output does not fit")
		}
		some, needs = x, needs || x.needs
	}
	if some == nil {
		panic("autograd: Combine: there are no tokens")
	}
	y := t.Tensor(rt.Weights.Rows, some.Cols)
	op := t.pools.combine.take()
	*op = combineOp{routing: rt, outputs: append(op.outputs[:0], outputs...), fresh: op.fresh[:0], y: y}
	t.rows(y.Rows, rt.Weights.Cols*y.Cols, op)
	t.lap(PartElementwise)
	y.needs = needs
	t.keep(op, needs)
	return y
}

func (op *combineOp) rows(from, to int) {
	used := op.routing.Weights.Cols
	for i := from; i < to; i++ {
		y := op.y.Row(i)
		clear(y)
		for j, w := range op.routing.Weights.Row(i) {
			e, row := op.routing.row(i*used + j)
			kernels.Axpy(w, op.outputs[e].Row(row), y)
		}
	}
}

func (op *combineOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	for e, x := range op.outputs {
		fresh := false
		if len(op.routing.Tokens(e)) > 0 && x.needs {
			fresh = t.startGrad(x)
		}
		op.fresh = append(op.fresh, fresh)
	}
	if op.routing.Weights.needs {
		op.first = t.startGrad(op.routing.Weights)
	}
	t.rows(op.y.Rows, 2*op.routing.Weights.Cols*op.y.Cols, (*combineBackward)(op))
}

// combineBackward passes the gradients of tokens on: to rows of outputs that are no other token's, and to its weights.
type combineBackward combineOp

func (op *combineBackward) rows(from, to int) {
	weights := op.routing.Weights
	for i := from; i < to; i++ {
		dy := op.y.gradRow(i)
		for j, w := range weights.Row(i) {
			e, row := op.routing.row(i*weights.Cols + j)
			x := op.outputs[e]
			if weights.needs {
				addTo(&weights.gradRow(i)[j], kernels.Dot(dy, x.Row(row)), op.first)
			}
			if x.needs {
				kernels.Axpy(w, dy, freshRow(x, row, op.fresh[e]))
			}
		}
	}
}

// addTo is dst += x, or dst = x for a new dst.
func addTo(dst *float32, x float32, fresh bool) {
	if fresh {
		*dst = x
		return
	}
	*dst += x
}
