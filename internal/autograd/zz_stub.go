package autograd

import "github.com/peftconv/peftconv/internal/recurrent"

type Logits struct {
	Scale, Cap float32
	Bias       []float32
}

func (t *Tape) ApplyLogits(y *Tensor, l Logits) *Tensor { return y }
func (t *Tape) CausalConv(x *Tensor, w, bias []float32, kernel int, silu bool, bounds []int32, state []float32) *Tensor {
	return x
}
func (t *Tape) L2Norm(x *Tensor, group int, eps float32) *Tensor { return x }
func (t *Tape) GatedDeltaNet(q, k, v, g, beta *Tensor, h recurrent.DeltaHeads, bounds []int32, state []float32) *Tensor {
	return v
}
func (t *Tape) DeltaDecay(al *Tensor, dt, a []float32) *Tensor { return al }
func (t *Tape) Softplus(x *Tensor, dt []float32) *Tensor       { return x }
func (t *Tape) Multiply(a, b *Tensor) *Tensor                  { return a }
func (t *Tape) Mamba2(x, b, c, dt *Tensor, a, d []float32, h recurrent.MambaHeads, bounds []int32, state []float32) *Tensor {
	return x
}
