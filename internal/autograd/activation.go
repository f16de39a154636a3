package autograd

import "math"

// Activation is a function of one number with its derivative.
type Activation struct {
	Name string
	// F gives the value and the derivative at x.
	F func(x float64) (y, dy float64)
}

// The activations that adapters and prompt encoders use.
var (
	ReLU = Activation{"relu", func(x float64) (y, dy float64) {
		if x > 0 {
			return x, 1
		}
		return 0, 0
	}}
	// SiLU is x·sigmoid(x), also called swish (Elfwing et al. 2017).
	SiLU = Activation{"silu", func(x float64) (y, dy float64) {
		s := 1 / (1 + math.Exp(-x))
		return x * s, s * (1 + x*(1-s))
	}}
	// GELU is x·Φ(x) (Hendrycks, Gimpel 2016), exactly.
	GELU = Activation{"gelu", func(x float64) (y, dy float64) {
		cdf := 0.5 * math.Erfc(-x/math.Sqrt2)
		return x * cdf, cdf + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
	}}
	Tanh = Activation{"tanh", func(x float64) (y, dy float64) {
		y = math.Tanh(x)
		return y, 1 - y*y
	}}
)

// activateOp is y = f(x).
type activateOp struct {
	x, y *Tensor
	f    Activation
}

// Activate is y = f(x), element by element.
func (t *Tape) Activate(x *Tensor, f Activation) *Tensor {
	y := t.Tensor(x.Rows, x.Cols)
	forRows(x.Rows, func(i int) {
		in, out := x.Row(i), y.Row(i)
		for j, v := range in {
			value, _ := f.F(float64(v))
			out[j] = float32(value)
		}
	})
	t.lap(PartElementwise)
	if x.needs {
		y.needs = true
		t.push(&activateOp{x, y, f})
	}
	return y
}

func (op *activateOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	t.grad(op.x)
	forRows(op.x.Rows, func(i int) {
		dx, dy := op.x.gradRow(i), op.y.gradRow(i)
		for j, v := range op.x.Row(i) {
			_, slope := op.f.F(float64(v))
			dx[j] += dy[j] * float32(slope)
		}
	})
	t.lap(PartElementwise)
}
