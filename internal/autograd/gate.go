package autograd

import (
	"math"

	"github.com/peftconv/peftconv/kernels"
)

// GLU is a gated activation: y = f(gate)·up, element by element (Shazeer 2020, "GLU Variants Improve Transformer").
type GLU uint8

// The gated activations.
const (
	SiLUGate  GLU = iota // SwiGLU: f = silu
	GELUGate             // GeGLU: f = gelu in the form of the tanh
	OAIGate              // gpt-oss: f(g) = g·sigmoid(1.702g), g = min(gate, 7), times u+1, u = up within ±7
	ReLUGate             // f = relu
	ReLU2Gate            // f = relu², the activation of Nemotron (So et al. 2021, "Primer")
	LinearGate           // f(g) = g: a product
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

// Forward is y = f(gate)·up; up is 1 where it is nil. y may be gate or up.
func (k GLU) Forward(y, gate, up []float32) {
	switch {
	case up == nil || k == OAIGate:
		for at := 0; at < len(y); at += gateChunk {
			to := min(at+gateChunk, len(y))
			u := ones[:to-at]
			if up != nil {
				u = up[at:to]
			}
			k.forwardChunk(y[at:to], gate[at:to], u)
		}
	default:
		k.forwardChunk(y, gate, up)
	}
}

// forwardChunk is Forward with up; of OAIGate for at most gateChunk elements.
func (k GLU) forwardChunk(y, gate, up []float32) {
	switch k {
	case SiLUGate:
		kernels.SwiGLU(y, gate, up)
	case GELUGate:
		kernels.Gated(y, gate, up, kernels.GELUGateA, kernels.GELUGateB)
	case OAIGate:
		var g, u [gateChunk]float32
		n := oaiOperands(&g, &u, gate, up)
		kernels.Gated(y, g[:n], u[:n], oaiSlope, 0)
	case LinearGate:
		for j, g := range gate {
			y[j] = g * up[j]
		}
	default:
		for j, g := range gate {
			g = max(g, 0)
			if k == ReLU2Gate {
				g *= g
			}
			y[j] = g * up[j]
		}
	}
}

// oaiOperands are what OAIGate multiplies.
func oaiOperands(g, u *[gateChunk]float32, gate, up []float32) int {
	for j, v := range gate {
		if v > oaiLimit {
			v = oaiLimit
		}
		g[j], u[j] = v, within(up[j], oaiLimit)+1
	}
	return len(gate)
}

// Backward adds the gradients of Forward to dgate and dup, of which one may be nil if it is not wanted.
func (k GLU) Backward(dgate, dup, dy, gate, up []float32) {
	if dgate != nil && dup != nil && k != OAIGate {
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

// backwardChunk is Backward with all gradients; of OAIGate for at most gateChunk elements.
func (k GLU) backwardChunk(dgate, dup, dy, gate, up []float32) {
	switch k {
	case SiLUGate:
		kernels.SwiGLUBackward(dgate, dup, dy, gate, up)
	case GELUGate:
		kernels.GatedBackward(dgate, dup, dy, gate, up, kernels.GELUGateA, kernels.GELUGateB)
	case OAIGate:
		var g, u, dg, du [gateChunk]float32
		n := oaiOperands(&g, &u, gate, up)
		kernels.GatedBackward(dg[:n], du[:n], dy, g[:n], u[:n], oaiSlope, 0)
		for j := range dy {
			if gate[j] < oaiLimit {
				dgate[j] += dg[j]
			}
			if -oaiLimit < up[j] && up[j] < oaiLimit {
				dup[j] += du[j]
			}
		}
	case ReLUGate:
		for j, d := range dy {
			g := max(gate[j], 0)
			dgate[j] += ifPositive(g, d*up[j])
			dup[j] += d * g
		}
	case ReLU2Gate:
		for j, d := range dy {
			g := max(gate[j], 0)
			dgate[j] += 2 * d * up[j] * g
			dup[j] += d * g * g
		}
	case LinearGate:
		for j, d := range dy {
			dgate[j] += d * up[j]
			dup[j] += d * gate[j]
		}
	}
}

// ifPositive is v where g, which is not negative, is not 0, and otherwise 0. A branch would be guessed wrong half of
// the time.
func ifPositive(g, v float32) float32 {
	mask := -int32(math.Float32bits(g)) >> 31
	return math.Float32frombits(math.Float32bits(v) & uint32(mask))
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
