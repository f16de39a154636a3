package autograd

import "github.com/peftconv/peftconv/kernels"

// addOp is y = a + b.
type addOp struct{ a, b, y *Tensor }

// Add is y = a + b, the residual connection.
func (t *Tape) Add(a, b *Tensor) *Tensor {
	if a.Rows != b.Rows || a.Cols != b.Cols {
		panic("autograd: Add: shapes differ")
	}
	y := t.Tensor(a.Rows, a.Cols)
	forRows(a.Rows, func(i int) {
		copy(y.Row(i), a.Row(i))
		kernels.Add(y.Row(i), b.Row(i))
	})
	t.lap(PartElementwise)
	if a.needs || b.needs {
		y.needs = true
		t.push(&addOp{a, b, y})
	}
	return y
}

func (op *addOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	t.addGrad(op.a, op.y.Grad)
	t.addGrad(op.b, op.y.Grad)
}

// addGrad is dx += g where x wants a gradient.
func (t *Tape) addGrad(x *Tensor, g []float32) {
	if !x.needs {
		return
	}
	fresh := x.Grad == nil
	if fresh {
		x.Grad = t.arena.alloc(len(g))
	}
	forRows(x.Rows, func(i int) {
		row := g[i*x.Cols : (i+1)*x.Cols]
		if fresh {
			copy(x.gradRow(i), row)
		} else {
			kernels.Add(x.gradRow(i), row)
		}
	})
}

// swigluOp is y = silu(gate)·up.
type swigluOp struct{ gate, up, y *Tensor }

// SwiGLU is y = silu(gate)·up, element by element (Shazeer 2020, "GLU Variants Improve Transformer").
func (t *Tape) SwiGLU(gate, up *Tensor) *Tensor {
	if gate.Rows != up.Rows || gate.Cols != up.Cols {
		panic("autograd: SwiGLU: shapes differ")
	}
	y := t.Tensor(gate.Rows, gate.Cols)
	forRows(y.Rows, func(i int) { kernels.SwiGLU(y.Row(i), gate.Row(i), up.Row(i)) })
	t.lap(PartElementwise)
	if gate.needs || up.needs {
		y.needs = true
		t.push(&swigluOp{gate, up, y})
	}
	return y
}

func (op *swigluOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	t.grad(op.gate)
	t.grad(op.up)
	forRows(op.y.Rows, func(i int) {
		kernels.SwiGLUBackward(op.gate.gradRow(i), op.up.gradRow(i), op.y.gradRow(i), op.gate.Row(i), op.up.Row(i))
	})
}
