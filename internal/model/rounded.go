package model

import (
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// A session under RuntimeActivations multiplies quantized blocks as they are, with inputs of 8-bit integers. The result
// is that of the rounded inputs and the dequantized weights, but for the order of the sums.

// roundedInputs are an input of some linear maps, rounded once for all of them.
type roundedInputs struct {
	of   *autograd.Tensor
	rows [2]kernels.Rounded // in blocks of 32, and of 256
	have [2]bool
	list []kernels.Product // of the products that are made together
}

// forget drops the input: tensors that are made from now on may have its place.
func (in *roundedInputs) forget() { in.of, in.have = nil, [2]bool{} }

// rounded is x for products with blocks of a kind.
func (in *roundedInputs) rounded(x *autograd.Tensor, kind kernels.BlockKind) *kernels.Rounded {
	if in.of != x {
		in.forget()
		in.of = x
	}
	i := 0
	if kind.IsSuper() {
		i = 1
	}
	if !in.have[i] {
		in.rows[i].Round(x.Data, x.Rows, x.Cols, kind)
		in.have[i] = true
	}
	return &in.rows[i]
}

// multiply is x·wᵀ with x rounded.
func (s *Session) multiply(x *autograd.Tensor, w *quant.Matrix) *autograd.Tensor {
	kind, _, _ := w.Blocks()
	y := s.tape.Tensor(x.Rows, w.Rows)
	s.inputs.rounded(x, kind).Multiply(kernels.Product{Y: y.Data, W: w})
	return y
}

// linear is a linear map of the model at work, or nil where it has to be made of floats: hooks of other activations,
// blocks that have no such product.
func (s *Session) linear(l *Linear, x *autograd.Tensor, h Hooks) *autograd.Tensor {
	r, ok := h.(RuntimeActivations)
	if s == nil || !ok {
		return nil
	}
	t := s.tape
	w := r.Weights(l, &l.W)
	if !w.HasProducts() {
		return nil
	}
	y := s.multiply(r.Hooks.Input(t, l, w, x), w)
	y = r.Hooks.Linear(t, l, x, y)
	if l.Bias != nil {
		y = t.AddBias(y, l.Bias)
	}
	return y
}

// head is the logits (T, V) of the stream after the final norm.
func (s *Session) head(x *autograd.Tensor, h Hooks) *autograd.Tensor {
	m, t := s.model, s.tape
	r, ok := h.(RuntimeActivations)
	if !ok {
		return m.head(t, x, h)
	}
	head := r.Hooks.Head(t, x, Head{W: &m.Head})
	if !head.W.HasProducts() {
		return m.head(t, x, h)
	}
	s.inputs.forget()
	y := s.multiply(r.Hooks.Input(t, nil, head.W, x), head.W)
	if u, b := head.U, head.B; u != nil {
		kernels.Gemm(false, true, u.Rows, b.Rows, u.Cols, 1, u.Data, u.Cols, b.Data, b.Cols, 1, y.Data, y.Cols)
	}
	return t.ApplyLogits(y, m.LogitForm(nil))
}
