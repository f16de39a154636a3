package autograd

import (
	"math"

	"github.com/peftconv/peftconv/kernels"
)

// GLU is a gated activation: y = f(gate)·up, element by element (Shazeer 2020, "GLU Variants Improve Transformer").
type GLU uint8

// The gated activations.
const (
	SiLUGate   GLU = iota // SwiGLU: f = silu
	GELUGate              // GeGLU: f = gelu in the form of the tanh
	OAIGate               // gpt-oss: f(g) = g·sigmoid(1.702g), g = min(gate, 7), times u+1, u = up within ±7
	ReLUGate              // f = relu
	ReLU2Gate             // f = relu², the activation of Nemotron (So et al. 2021, "Primer")
	LinearGate            // f(g) = g: a product
	ErfGate               // f = gelu in the form of the error function, exactly
)

// The numbers of OAIGate.
const (
	oaiLimit = 7
	oaiSlope = 1.702
)

// gateChunk is the number of elements that buffers of gates have.
const gateChunk = 256

// ones are the up of activations that have none.
var ones = func() (x [gateChunk]float32) {
	for i := range x {
		x[i] = 1
	}
	return x
}()

// whole reports whether the kernel of the gate takes a row at once, without buffers.
func (k GLU) whole() bool { return k == SiLUGate || k == GELUGate }

// Forward is y = f(gate)·up; up is 1 where it is nil. y may be gate or up.
func (k GLU) Forward(y, gate, up []float32) {
	if up != nil && k.whole() {
		k.forwardChunk(y, gate, up)
		return
	}
	for at := 0; at < len(y); at += gateChunk {
		to := min(at+gateChunk, len(y))
		u := ones[:to-at]
		if up != nil {
			u = up[at:to]
		}
		k.forwardChunk(y[at:to], gate[at:to], u)
	}
}

// forwardChunk is Forward with up; unless the gate is whole, for at most gateChunk elements.
func (k GLU) forwardChunk(y, gate, up []float32) {
	switch k {
	case SiLUGate:
		kernels.SwiGLU(y, gate, up)
	case GELUGate:
		kernels.Gated(y, gate, up, kernels.GELUGateA, kernels.GELUGateB)
	case OAIGate:
		var b gateBuffers
		g, u := b.oai(gate, up)
		kernels.Gated(y, g, u, oaiSlope, 0)
	case LinearGate:
		if &y[0] != &up[0] {
			copy(y, gate)
			gate = up
		}
		kernels.Mul(y, gate)
	case ErfGate:
		for i, g := range gate {
			value, _ := GELU.F(float64(g))
			y[i] = float32(value) * up[i]
		}
	case ReLUGate, ReLU2Gate:
		var b gateBuffers
		g := b.relu(gate)
		if k == ReLU2Gate {
			kernels.Mul(g, g)
		}
		kernels.Mul(g, up)
		copy(y, g)
	}
}

// gateBuffers are the operands of a chunk.
type gateBuffers struct{ g, u [gateChunk]float32 }

var inf = float32(math.Inf(1))

// oai is what OAIGate multiplies.
func (b *gateBuffers) oai(gate, up []float32) (g, u []float32) {
	g, u = b.g[:len(gate)], b.u[:len(up)]
	kernels.Clamp(g, gate, -inf, oaiLimit)
	kernels.Clamp(u, up, -oaiLimit, oaiLimit)
	kernels.Shift(1, u)
	return g, u
}

// relu is max(gate, 0).
func (b *gateBuffers) relu(gate []float32) []float32 {
	g := b.g[:len(gate)]
	kernels.Clamp(g, gate, 0, inf)
	return g
}

// product is x·y.
func (b *gateBuffers) product(x, y []float32) []float32 {
	u := b.u[:len(x)]
	copy(u, x)
	kernels.Mul(u, y)
	return u
}

// Backward adds the gradients of Forward to dgate and dup, of which one may be nil if it is not wanted.
func (k GLU) Backward(dgate, dup, dy, gate, up []float32) {
	if dgate != nil && dup != nil && k.whole() {
		k.backwardChunk(dgate, dup, dy, gate, up)
		return
	}
	for at := 0; at < len(dy); at += gateChunk {
		to := min(at+gateChunk, len(dy))
		var unwanted [gateChunk]float32
		dg, du, u := unwanted[:to-at], unwanted[:to-at], ones[:to-at]
		if dgate != nil {
			dg = dgate[at:to]
		}
		if dup != nil {
			du = dup[at:to]
		}
		if up != nil {
			u = up[at:to]
		}
		k.backwardChunk(dg, du, dy[at:to], gate[at:to], u)
	}
}

// backwardChunk is Backward with all gradients; unless the gate is whole, for at most gateChunk elements.
func (k GLU) backwardChunk(dgate, dup, dy, gate, up []float32) {
	switch k {
	case SiLUGate:
		kernels.SwiGLUBackward(dgate, dup, dy, gate, up)
	case GELUGate:
		kernels.GatedBackward(dgate, dup, dy, gate, up, kernels.GELUGateA, kernels.GELUGateB)
	case OAIGate:
		var b, d gateBuffers
		g, u := b.oai(gate, up)
		dg, du := d.g[:len(g)], d.u[:len(u)]
		kernels.GatedBackward(dg, du, dy, g, u, oaiSlope, 0)
		kernels.AddWithin(dgate, dg, gate, -inf, oaiLimit)
		kernels.AddWithin(dup, du, up, -oaiLimit, oaiLimit)
	case LinearGate:
		kernels.MulAdd(dgate, dy, up)
		kernels.MulAdd(dup, dy, gate)
	case ErfGate:
		for i, g := range gate {
			value, slope := GELU.F(float64(g))
			dgate[i] += dy[i] * up[i] * float32(slope)
			dup[i] += dy[i] * float32(value)
		}
	case ReLUGate:
		var b gateBuffers
		kernels.AddWithin(dgate, b.product(dy, up), gate, math.SmallestNonzeroFloat32, inf)
		kernels.Add(dup, b.product(dy, b.relu(gate)))
	case ReLU2Gate:
		var b gateBuffers
		g := b.relu(gate)
		d := b.product(dy, g)
		kernels.Mul(g, d) // dy·g²
		kernels.Add(dup, g)
		kernels.Mul(d, up)
		kernels.Axpy(2, d, dgate)
	}
}

// gatedOp is y = f(gate)·up; without up, y = f(gate).
type gatedOp struct {
	kind               GLU
	gate, up, y        *Tensor
	freshGate, freshUp bool // their gradients are new
}

// SwiGLU is y = silu(gate)·up, element by element.
func (t *Tape) SwiGLU(gate, up *Tensor) *Tensor { return t.Gated(SiLUGate, gate, up) }

// Gated is y = f(gate)·up, element by element, with the function f of the kind.
func (t *Tape) Gated(kind GLU, gate, up *Tensor) *Tensor {
	if gate.Rows != up.Rows || gate.Cols != up.Cols {
		panic("autograd: Gated: shapes differ")
	}
	return t.gated(kind, gate, up)
}

// Ungated is y = f(x), element by element, with the function f of the kind. OAIGate has none.
func (t *Tape) Ungated(kind GLU, x *Tensor) *Tensor {
	if kind == OAIGate {
		panic("autograd: Ungated: OAIGate needs a second factor")
	}
	return t.gated(kind, x, nil)
}

func (t *Tape) gated(kind GLU, gate, up *Tensor) *Tensor {
	y := t.Tensor(gate.Rows, gate.Cols)
	op := t.pools.gated.take()
	*op = gatedOp{kind: kind, gate: gate, up: up, y: y}
	t.rows(y.Rows, y.Cols, op)
	t.lap(PartElementwise)
	y.needs = gate.needs || up != nil && up.needs
	t.keep(op, y.needs)
	return y
}

func (op *gatedOp) rows(from, to int) {
	for i := from; i < to; i++ {
		op.kind.Forward(op.y.Row(i), op.gate.Row(i), rowOf(op.up, i))
	}
}

// rowOf is row i of x, or nil without x.
func rowOf(x *Tensor, i int) []float32 {
	if x == nil {
		return nil
	}
	return x.Row(i)
}

func (op *gatedOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	op.freshGate = op.gate.needs && t.startGrad(op.gate)
	op.freshUp = op.up != nil && op.up.needs && t.startGrad(op.up)
	t.rows(op.y.Rows, op.y.Cols, (*gatedBackward)(op))
}

type gatedBackward gatedOp

func (op *gatedBackward) rows(from, to int) {
	for i := from; i < to; i++ {
		var dgate, dup []float32
		if op.gate.needs {
			dgate = freshRow(op.gate, i, op.freshGate)
		}
		if op.up != nil && op.up.needs {
			dup = freshRow(op.up, i, op.freshUp)
		}
		op.kind.Backward(dgate, dup, op.y.gradRow(i), op.gate.Row(i), rowOf(op.up, i))
	}
}

// sigmoidGateOp is y = x·sigmoid(gate); without x, y = sigmoid(gate).
type sigmoidGateOp struct {
	x, gate, y        *Tensor
	freshX, freshGate bool // their gradients are new
}

// SigmoidGate is y = x·sigmoid(gate) for x (T, D). gate is (T, D), or has fewer columns, each of which scales as many
// columns of x: (T, H) for heads, (T, 1) for rows.
func (t *Tape) SigmoidGate(x, gate *Tensor) *Tensor {
	if gate.Rows != x.Rows || gate.Cols == 0 || x.Cols%gate.Cols != 0 {
		panic("autograd: SigmoidGate: shapes do not fit")
	}
	return t.sigmoidGate(x, gate, x.Cols)
}

// Sigmoid is y = 1/(1+exp(-x)), element by element.
func (t *Tape) Sigmoid(x *Tensor) *Tensor { return t.sigmoidGate(nil, x, x.Cols) }

func (t *Tape) sigmoidGate(x, gate *Tensor, cols int) *Tensor {
	y := t.Tensor(gate.Rows, cols)
	op := t.pools.sigmoidGate.take()
	*op = sigmoidGateOp{x: x, gate: gate, y: y}
	t.rows(y.Rows, y.Cols, op)
	t.lap(PartElementwise)
	y.needs = gate.needs || x != nil && x.needs
	t.keep(op, y.needs)
	return y
}

func (op *sigmoidGateOp) rows(from, to int) {
	width := op.y.Cols / max(op.gate.Cols, 1)
	for i := from; i < to; i++ {
		y, gate := op.y.Row(i), op.gate.Row(i)
		switch {
		case op.x == nil:
			for at := 0; at < len(y); at += gateChunk {
				to := min(at+gateChunk, len(y))
				kernels.SigmoidMul(y[at:to], ones[:to-at], gate[at:to])
			}
		case width == 1:
			kernels.SigmoidMul(y, op.x.Row(i), gate)
		default:
			copy(y, op.x.Row(i))
			for g, s := range gate {
				kernels.Scale(sigmoid(s), y[g*width:(g+1)*width])
			}
		}
	}
}

func (op *sigmoidGateOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	op.freshX = op.x != nil && op.x.needs && t.startGrad(op.x)
	op.freshGate = op.gate.needs && t.startGrad(op.gate)
	t.rows(op.y.Rows, op.y.Cols, (*sigmoidGateBackward)(op))
}

type sigmoidGateBackward sigmoidGateOp

func (op *sigmoidGateBackward) rows(from, to int) {
	width := op.y.Cols / max(op.gate.Cols, 1)
	for i := from; i < to; i++ {
		var dx, dgate []float32
		if op.x != nil && op.x.needs {
			dx = freshRow(op.x, i, op.freshX)
		}
		if op.gate.needs {
			dgate = freshRow(op.gate, i, op.freshGate)
		}
		dy, gate, x := op.y.gradRow(i), op.gate.Row(i), rowOf(op.x, i)
		if width == 1 {
			sigmoidBackward(dx, dgate, dy, x, gate)
			continue
		}
		for g, v := range gate {
			s, from, to := sigmoid(v), g*width, (g+1)*width
			if dx != nil {
				kernels.Axpy(s, dy[from:to], dx[from:to])
			}
			if dgate != nil {
				dgate[g] += s * (1 - s) * kernels.Dot(dy[from:to], x[from:to])
			}
		}
	}
}

// sigmoidBackward adds the gradients of x·sigmoid(gate) to dx and dgate, where they are not nil; x is 1 where it is
// nil.
func sigmoidBackward(dx, dgate, dy, x, gate []float32) {
	if dx != nil && dgate != nil {
		kernels.SigmoidMulBackward(dx, dgate, dy, x, gate)
		return
	}
	for at := 0; at < len(dy); at += gateChunk {
		to := min(at+gateChunk, len(dy))
		var unwanted [gateChunk]float32
		d, dg, v := unwanted[:to-at], unwanted[:to-at], ones[:to-at]
		if dx != nil {
			d = dx[at:to]
		}
		if dgate != nil {
			dg = dgate[at:to]
		}
		if x != nil {
			v = x[at:to]
		}
		kernels.SigmoidMulBackward(d, dg, dy[at:to], v, gate[at:to])
	}
}
