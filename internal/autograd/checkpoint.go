package autograd

// checkpointOp remembers how to run a sub-graph again.
type checkpointOp struct {
	x, y   *Tensor
	run    func(x *Tensor) *Tensor
	random random
}

// Checkpoint is y = run(x) whose inside is not kept: backward runs it a second time and goes through it then
// (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"). run must do the same both times; dropout
// masks repeat. Of what is made outside, it may use x and parameters, nothing else that needs a gradient. Backward uses the memory of y for the gradient of x: the data of y are gone after it.
func (t *Tape) Checkpoint(x *Tensor, run func(x *Tensor) *Tensor) *Tensor {
	y := t.Tensor(x.Rows, x.Cols)
	start, recording, random := t.mark(), t.record, t.random
	t.record = false
	out := run(t.view(x))
	if out.Rows != y.Rows || out.Cols != y.Cols {
		panic("autograd: a checkpointed sub-graph changed the shape")
	}
	copy(y.Data, out.Data)
	y.needs = out.needs
	t.record = recording
	t.release(start)
	if y.needs {
		t.push(&checkpointOp{x, y, run, random})
	}
	return y
}

func (op *checkpointOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	if op.x.needs && op.x.Grad == nil {
		op.x.Grad = op.y.Data
		clear(op.x.Grad)
	}
	start, base := t.mark(), len(t.ops)
	after := t.random
	t.random = op.random
	in := t.view(op.x)
	in.Grad = op.x.Grad
	out := op.run(in)
	out.Grad = op.y.Grad
	t.unwind(base)
	t.release(start)
	t.random = after
}
