package autograd

import (
	"math"

	"github.com/peftconv/peftconv/internal/recurrent"
	"github.com/peftconv/peftconv/kernels"
)

// causalConvOp is a depthwise causal convolution with frozen weights.
type causalConvOp struct {
	x, y *Tensor
	conv recurrent.Conv
}

// CausalConv convolves each column of x (T, C) with its own kernel inside each sequence of a packed batch, y[t] =
// bias + Σ_j w[j]·x[t-kernel+1+j] with zeros before a sequence, and applies SiLU where silu is set. w (C, kernel) and
// bias (C), or nil, are frozen. A state (kernel-1, C) holds the inputs before the one sequence of the batch, oldest
// first, and then the last of it: forward only.
func (t *Tape) CausalConv(x *Tensor, w, bias []float32, kernel int, silu bool, bounds []int32,
	state []float32) *Tensor {
	y := t.Tensor(x.Rows, x.Cols)
	op := t.pools.causalConv.take()
	*op = causalConvOp{x: x, y: y, conv: recurrent.Conv{
		Channels: x.Cols, Kernel: kernel, Weight: w, Bias: bias, SiLU: silu, Bounds: bounds,
	}}
	op.conv.Forward(y.Data, x.Data, state)
	t.lap(PartElementwise)
	y.needs = x.needs && state == nil
	t.keep(op, y.needs)
	return y
}

func (op *causalConvOp) backward(t *Tape) {
	if op.y.Grad != nil {
		op.conv.Backward(t.grad(op.x), op.y.Grad, op.x.Data)
	}
}

// l2NormOp is y = x/|x| in each group of columns.
type l2NormOp struct {
	x, y  *Tensor
	group int
	eps   float32
	rinv  []float32 // (T, groups) 1/|x|
	fresh bool      // the gradient of x is new
}

// L2Norm is y = x/sqrt(Σx²+eps) in each group of columns of each row.
func (t *Tape) L2Norm(x *Tensor, group int, eps float32) *Tensor {
	if group <= 0 || x.Cols%group != 0 {
		panic("autograd: L2Norm: columns are no multiple of the group")
	}
	y := t.Tensor(x.Rows, x.Cols)
	op := t.pools.l2Norm.take()
	*op = l2NormOp{x: x, y: y, group: group, eps: eps, rinv: t.arena.alloc(x.Rows * (x.Cols / group))}
	t.rows(x.Rows, x.Cols, op)
	t.lap(PartElementwise)
	y.needs = x.needs
	t.keep(op, y.needs)
	return y
}

func (op *l2NormOp) rows(from, to int) {
	copy(op.y.Data[from*op.x.Cols:to*op.x.Cols], op.x.Data[from*op.x.Cols:])
	groups := op.x.Cols / op.group
	for i := from * groups; i < to*groups; i++ {
		y := op.y.Data[i*op.group : (i+1)*op.group]
		op.rinv[i] = float32(1 / math.Sqrt(kernels.SumSquares(y)+float64(op.eps)))
		kernels.Scale(op.rinv[i], y)
	}
}

func (op *l2NormOp) backward(t *Tape) {
	if op.y.Grad != nil {
		op.fresh = t.startGrad(op.x)
		t.rows(op.x.Rows, op.x.Cols, (*l2NormBackward)(op))
	}
}

// l2NormBackward adds dx = (dy - x·⟨x, dy⟩/|x|²)/|x|.
type l2NormBackward l2NormOp

func (op *l2NormBackward) rows(from, to int) {
	groups := op.x.Cols / op.group
	for row := from; row < to; row++ {
		all := freshRow(op.x, row, op.fresh)
		for j := range groups {
			i := row*groups + j
			x, dy := op.x.Data[i*op.group:(i+1)*op.group], op.y.Grad[i*op.group:(i+1)*op.group]
			dx, rinv := all[j*op.group:(j+1)*op.group], op.rinv[i]
			kernels.Axpy(rinv, dy, dx)
			kernels.Axpy(-rinv*rinv*rinv*kernels.Dot(x, dy), x, dx)
		}
	}
}

// softplusOp is y = softplus(x + bias)·factor.
type softplusOp struct {
	x, y         *Tensor
	bias, factor []float32
}

// Softplus is y = log(1 + exp(x + bias)), row by row, with frozen bias (Cols) or nil. It is x + bias above 20.
func (t *Tape) Softplus(x *Tensor, bias []float32) *Tensor { return t.DeltaDecay(x, bias, nil) }

// DeltaDecay is y = softplus(x + dt)·a, the logarithm of the decay of a gated delta net, with frozen dt and a (Cols);
// nil: 0 and 1.
func (t *Tape) DeltaDecay(x *Tensor, dt, a []float32) *Tensor {
	if dt != nil && len(dt) != x.Cols || a != nil && len(a) != x.Cols {
		panic("autograd: DeltaDecay: shapes do not fit")
	}
	y := t.Tensor(x.Rows, x.Cols)
	op := t.pools.softplus.take()
	*op = softplusOp{x: x, y: y, bias: dt, factor: a}
	t.rows(x.Rows, x.Cols, op)
	t.lap(PartElementwise)
	y.needs = x.needs
	t.keep(op, y.needs)
	return y
}

// at is x + bias and the factor in column j.
func (op *softplusOp) at(x float32, j int) (sum float64, factor float32) {
	if op.bias != nil {
		x += op.bias[j]
	}
	if op.factor == nil {
		return float64(x), 1
	}
	return float64(x), op.factor[j]
}

// straight is the x above which softplus(x) is x: beyond it they differ by less than 1e-8.
const straight = 20

func (op *softplusOp) rows(from, to int) {
	for i := from; i < to; i++ {
		y := op.y.Row(i)
		for j, v := range op.x.Row(i) {
			x, factor := op.at(v, j)
			if x <= straight {
				x = math.Log1p(math.Exp(x))
			}
			y[j] = float32(x) * factor
		}
	}
}

func (op *softplusOp) backward(t *Tape) {
	if op.y.Grad != nil {
		t.grad(op.x)
		t.rows(op.x.Rows, op.x.Cols, (*softplusBackward)(op))
	}
}

type softplusBackward softplusOp

func (op *softplusBackward) rows(from, to int) {
	for i := from; i < to; i++ {
		dx, dy := op.x.gradRow(i), op.y.gradRow(i)
		for j, v := range op.x.Row(i) {
			x, factor := (*softplusOp)(op).at(v, j)
			slope := float32(1)
			if x <= straight {
				slope = float32(1 / (1 + math.Exp(-x)))
			}
			dx[j] += dy[j] * factor * slope
		}
	}
}

// deltaOp is a gated delta net.
type deltaOp struct {
	q, k, v, g, beta, y *Tensor
	net                 recurrent.Delta
	starts              []float32 // states at the starts of chunks
}

// GatedDeltaNet runs a gated delta net (see recurrent.Delta) over each sequence of a packed batch: q and k (T,
// KeyHeads·KeyDim) with norm 1 in each head, v (T, ValueHeads·ValueDim), g (T, ValueHeads) the logarithm of the decay,
// at most 0, beta (T, ValueHeads), y (T, ValueHeads·ValueDim). q is scaled by 1/sqrt(KeyDim) here. What is kept for
// backward is the states at the starts of chunks of 64 tokens. A state (ValueHeads, ValueDim, KeyDim) is where the one
// sequence of the batch goes on, and then the state after it: forward only.
func (t *Tape) GatedDeltaNet(q, k, v, g, beta *Tensor, h recurrent.DeltaHeads, bounds []int32,
	state []float32) *Tensor {
	y := t.Tensor(v.Rows, v.Cols)
	op := t.pools.delta.take()
	*op = deltaOp{q: q, k: k, v: v, g: g, beta: beta, y: y, net: recurrent.Delta{
		Heads: h, Q: q.Data, K: k.Data, V: v.Data, G: g.Data, Beta: beta.Data, Bounds: bounds,
	}}
	y.needs = state == nil && (q.needs || k.needs || v.needs || g.needs || beta.needs)
	switch {
	case state != nil:
		op.net.Continue(y.Data, state)
	case y.needs && t.record:
		op.starts = t.arena.alloc(op.net.StartsLen())
		fallthrough
	default:
		op.net.Forward(y.Data, op.starts)
	}
	t.lap(PartAttention)
	t.keep(op, y.needs)
	return y
}

func (op *deltaOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	t.startGrads(op.q, op.k, op.v, op.g, op.beta)
	start := t.mark()
	op.net.Backward(recurrent.DeltaGradients{
		Q: t.gradOrScratch(op.q), K: t.gradOrScratch(op.k), V: t.gradOrScratch(op.v),
		G: t.gradOrScratch(op.g), Beta: t.gradOrScratch(op.beta),
	}, op.y.Grad, op.starts)
	t.release(start)
}

// startGrads makes gradients of those tensors that need one.
func (t *Tape) startGrads(tensors ...*Tensor) {
	for _, x := range tensors {
		if x.needs {
			t.grad(x)
		}
	}
}

// gradOrScratch is the gradient of x, or memory for what nobody needs.
func (t *Tape) gradOrScratch(x *Tensor) []float32 {
	if x.needs {
		return x.Grad
	}
	return t.arena.alloc(len(x.Data))
}

// mambaOp is the scan of a Mamba-2 layer.
type mambaOp struct {
	x, b, c, dt, y *Tensor
	scan           recurrent.Mamba
	starts         []float32 // states at the starts of chunks
}

// Mamba2 runs the scan of a Mamba-2 layer (see recurrent.Mamba) over each sequence of a packed batch: x (T,
// Heads·HeadDim), b and c (T, Groups·State), dt (T, Heads) after its softplus, y (T, Heads·HeadDim); a and d (Heads)
// are frozen, a = -exp(A_log). What is kept for backward is the states at the starts of chunks of 64 tokens. A state
// (Heads, HeadDim, State) is where the one sequence of the batch goes on, and then the state after it: forward only.
func (t *Tape) Mamba2(x, b, c, dt *Tensor, a, d []float32, h recurrent.MambaHeads, bounds []int32,
	state []float32) *Tensor {
	y := t.Tensor(x.Rows, x.Cols)
	op := t.pools.mamba.take()
	*op = mambaOp{x: x, b: b, c: c, dt: dt, y: y, scan: recurrent.Mamba{
		Heads: h, X: x.Data, B: b.Data, C: c.Data, DT: dt.Data, A: a, D: d, Bounds: bounds,
	}}
	y.needs = state == nil && (x.needs || b.needs || c.needs || dt.needs)
	switch {
	case state != nil:
		op.scan.Continue(y.Data, state)
	case y.needs && t.record:
		op.starts = t.arena.alloc(op.scan.StartsLen())
		fallthrough
	default:
		op.scan.Forward(y.Data, op.starts)
	}
	t.lap(PartAttention)
	t.keep(op, y.needs)
	return y
}

func (op *mambaOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	t.startGrads(op.x, op.b, op.c, op.dt)
	start := t.mark()
	op.scan.Backward(recurrent.MambaGradients{
		X: t.gradOrScratch(op.x), B: t.gradOrScratch(op.b), C: t.gradOrScratch(op.c), DT: t.gradOrScratch(op.dt),
	}, op.y.Grad, op.starts, t.arena.alloc(op.scan.SumsLen()))
	t.release(start)
}
