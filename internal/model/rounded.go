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

	made []madeProduct
	list [2][]kernels.Product // that are made together, in blocks of 32 and of 256
}

// madeProduct is a product that was made before its linear map asks for it.
type madeProduct struct {
	l    *Linear
	x, y *autograd.Tensor
	low  autograd.LowRank // that y has already
}

// forget drops the input and the products: tensors that are made from now on may have their places.
func (in *roundedInputs) forget() { in.of, in.have, in.made = nil, [2]bool{}, in.made[:0] }

// rounded is x for products with blocks of a kind.
func (in *roundedInputs) rounded(x *autograd.Tensor, kind kernels.BlockKind) *kernels.Rounded {
	if in.of != x {
		in.of, in.have = x, [2]bool{}
	}
	i := formOf(kind)
	if !in.have[i] {
		in.rows[i].Round(x.Data, x.Rows, x.Cols, kind)
		in.have[i] = true
	}
	return &in.rows[i]
}

// formOf is which of roundedInputs.rows products with blocks of a kind need.
func formOf(kind kernels.BlockKind) int {
	if kind.IsSuper() {
		return 1
	}
	return 0
}

// multiply makes the products of x with the matrices of maps, all at once, with the low-rank maps that the hooks have
// beside them. Maps that are nil, have no such product or another input are left out.
func (s *Session) multiply(r RuntimeActivations, x *autograd.Tensor, maps ...*Linear) {
	in := &s.inputs
	first := len(in.made)
	in.list[0], in.list[1] = in.list[0][:0], in.list[1][:0]
	for _, l := range maps {
		if l == nil {
			continue
		}
		w := r.Weights(l, &l.W)
		if !w.HasProducts() || r.Hooks.Input(s.tape, l, w, x) != x {
			continue
		}
		kind, _, _ := w.Blocks()
		made := madeProduct{l, x, s.tape.Tensor(x.Rows, w.Rows), r.Beside(l)}
		product := kernels.Product{Y: made.y.Data, W: w}
		if made.low.A != nil {
			product.Low, product.X = made.low.Kernel(), x.Data
		}
		in.made = append(in.made, made)
		in.list[formOf(kind)] = append(in.list[formOf(kind)], product)
	}
	if len(in.made) == first {
		return
	}
	for _, list := range &in.list {
		if len(list) > 0 {
			kind, _, _ := list[0].W.Blocks()
			in.rounded(x, kind).Multiply(list...)
		}
		clear(list)
	}
}

// ahead makes the products of a session for linear maps that read the same input, together.
func (p *pass) ahead(x *autograd.Tensor, maps ...*Linear) {
	if r, ok := p.hooks.(RuntimeActivations); ok && p.session != nil {
		p.session.multiply(r, x, maps...)
	}
}

// find is the product of x that was made for a linear map, or nil.
func (in *roundedInputs) find(l *Linear, x *autograd.Tensor) *madeProduct {
	for i := range in.made {
		if m := &in.made[i]; m.l == l && m.x == x {
			return m
		}
	}
	return nil
}

// linear is a linear map of the model at work, or nil where it has to be made of floats: hooks of other activations,
// blocks that have no such product.
func (s *Session) linear(l *Linear, x *autograd.Tensor, h Hooks) *autograd.Tensor {
	r, ok := h.(RuntimeActivations)
	if s == nil || !ok {
		return nil
	}
	t := s.tape
	made := s.inputs.find(l, x)
	if made == nil {
		s.multiply(r, x, l)
		made = s.inputs.find(l, x)
	}
	var y *autograd.Tensor
	switch {
	case made != nil:
		if y = made.y; made.low.A != nil {
			t.Added(y, x, made.low)
		}
	default:
		w := r.Weights(l, &l.W)
		if !w.HasProducts() {
			return nil
		}
		y = s.product(r.Hooks.Input(t, l, w, x), w)
	}
	y = r.Hooks.Linear(t, l, x, y)
	if l.Bias != nil {
		y = t.AddBias(y, l.Bias)
	}
	return y
}

// product is x·wᵀ with x rounded.
func (s *Session) product(x *autograd.Tensor, w *quant.Matrix) *autograd.Tensor {
	kind, _, _ := w.Blocks()
	y := s.tape.Tensor(x.Rows, w.Rows)
	s.inputs.rounded(x, kind).Multiply(kernels.Product{Y: y.Data, W: w})
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
	y := s.product(r.Hooks.Input(t, nil, head.W, x), head.W)
	if u, b := head.U, head.B; u != nil {
		kernels.Gemm(false, true, u.Rows, b.Rows, u.Cols, 1, u.Data, u.Cols, b.Data, b.Cols, 1, y.Data, y.Cols)
	}
	return t.ApplyLogits(y, m.LogitForm(nil))
}
