package autograd

// Subgraph is a part of a computation with one input and one result.
type Subgraph interface{ Run(x *Tensor) *Tensor }

// subgraph is a function as a Subgraph.
type subgraph func(x *Tensor) *Tensor

// Run calls the function.
func (f subgraph) Run(x *Tensor) *Tensor { return f(x) }

// checkpointOp recomputes a sub-graph in backward.
type checkpointOp struct {
	x, y   *Tensor
	graph  Subgraph
	random random
}

// keptOp is the end of a sub-graph whose inside was kept: the operations on the tape from base on.
type keptOp struct {
	x, in, out *Tensor
	base       int
	spare      []float32 // memory for the gradient of x
}

// Checkpoint is CheckpointOf a function.
func (t *Tape) Checkpoint(x *Tensor, run func(x *Tensor) *Tensor) *Tensor {
	return t.CheckpointOf(x, subgraph(run))
}

// CheckpointOf is y = g.Run(x) whose inside is not kept: backward runs it a second time and then goes back through it
// (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"). Run must do the same both times; dropout masks
// repeat. Of tensors made outside, it may use x and parameters, and nothing else that needs a gradient. Backward
// reuses the memory of y for the gradient of x, so the data of y are overwritten. On a tape with Keep the inside is
// kept instead; the result is the same to the bit.
func (t *Tape) CheckpointOf(x *Tensor, g Subgraph) *Tensor {
	t.goOn()
	y := t.Tensor(x.Rows, x.Cols)
	start, base, recording, random := t.mark(), len(t.ops), t.record, t.random
	t.record = recording && t.keeps
	in := t.view(x)
	out := g.Run(in)
	t.record = recording
	if out.Rows != y.Rows || out.Cols != y.Cols {
		panic("autograd: a checkpointed sub-graph changed the shape")
	}
	if out == in {
		t.release(start)
		return x
	}
	if len(t.ops) > base {
		op := t.pools.kept.take()
		*op = keptOp{x, in, out, base, y.Data}
		t.keep(op, true)
		return out
	}
	copy(y.Data, out.Data)
	y.needs = out.needs
	t.release(start)
	op := t.pools.checkpoint.take()
	*op = checkpointOp{x, y, g, random}
	t.keep(op, y.needs)
	return y
}

// enter prepares in, the inside's view of x, for a gradient: that of x, or a new one in memory that outlives the
// inside.
func enter(in, x *Tensor, memory []float32) {
	in.Grad, in.spare = x.Grad, x.spare
	if in.Grad == nil && in.spare == nil {
		in.spare = memory
	}
}

// leave gives x the gradient that reached its view.
func leave(in, x *Tensor) {
	if in.Grad != nil {
		x.Grad, x.spare = in.Grad, nil
	}
}

func (op *checkpointOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	start, base := t.mark(), len(t.ops)
	after := t.random
	t.random = op.random
	in := t.view(op.x)
	enter(in, op.x, op.y.Data)
	out := op.graph.Run(in)
	out.Grad = op.y.Grad
	t.unwind(base)
	leave(in, op.x)
	t.release(start)
	t.random = after
}

// backward goes through the sub-graph and gives the memory of its gradients back.
func (op *keptOp) backward(t *Tape) {
	if op.out.Grad == nil {
		return
	}
	enter(op.in, op.x, op.spare)
	start := t.mark()
	t.unwind(op.base)
	leave(op.in, op.x)
	t.release(start)
}
