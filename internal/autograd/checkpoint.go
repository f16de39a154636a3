package autograd

// checkpointOp remembers how to run a sub-graph again.
type checkpointOp struct {
	x, y   *Tensor
	run    func(x *Tensor) *Tensor
	random random
}

// keptOp is the end of a sub-graph whose inside was kept: the operations on the tape from base on.
type keptOp struct {
	x, in, out *Tensor
	base       int
	spare      []float32 // memory for the gradient of x
}

// Checkpoint is y = run(x) whose inside is not kept: backward runs it a second time and goes through it then
// (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"). run must do the same both times; dropout masks
// repeat. Of what is made outside, it may use x and parameters, nothing else that needs a gradient. Backward uses the
// memory of y for the gradient of x: the data of y are gone after it. On a tape that keeps, backward finds the inside
// as forward left it; the result is the same to the bit.
func (t *Tape) Checkpoint(x *Tensor, run func(x *Tensor) *Tensor) *Tensor {
	y := t.Tensor(x.Rows, x.Cols)
	start, base, recording, random := t.mark(), len(t.ops), t.record, t.random
	t.record = recording && t.keep
	in := t.view(x)
	out := run(in)
	t.record = recording
	if out.Rows != y.Rows || out.Cols != y.Cols {
		panic("autograd: a checkpointed sub-graph changed the shape")
	}
	if out == in {
		t.release(start)
		return x
	}
	if len(t.ops) > base {
		t.push(&keptOp{x, in, out, base, y.Data})
		return out
	}
	copy(y.Data, out.Data)
	y.needs = out.needs
	t.release(start)
	if y.needs {
		t.push(&checkpointOp{x, y, run, random})
	}
	return y
}

// startGrad gives x a gradient, in the given memory where it has none.
func startGrad(x *Tensor, memory []float32) {
	if x.needs && x.Grad == nil {
		x.Grad = memory
		clear(x.Grad)
	}
}

func (op *checkpointOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	startGrad(op.x, op.y.Data)
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

// backward goes through the sub-graph and gives the memory of its gradients back.
func (op *keptOp) backward(t *Tape) {
	if op.out.Grad == nil {
		return
	}
	startGrad(op.x, op.spare)
	op.in.Grad = op.x.Grad
	start := t.mark()
	t.unwind(op.base)
	t.release(start)
}
