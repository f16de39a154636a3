package model

import (
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/quant"
)

// Hooks is what a fine-tuning method hangs on the decoder. Each hook gets what the frozen model computed and returns
// what goes on; it may record operations on the tape. Hooks run again when a layer is recomputed, and must then do the
// same. A type embeds NoHooks and has methods of its own for the hooks that it needs.
type Hooks interface {
	// Begin runs before a forward pass, outside of every checkpoint: what later hooks use of other than parameters is
	// made here.
	Begin(t *autograd.Tape)
	// Weights is the matrix that a frozen linear map multiplies with: w, its own, or another of the same shape.
	Weights(l *Linear, w *quant.Matrix) *quant.Matrix
	// Input is what the frozen matrix w of a linear map is multiplied with instead of x, which must be left as it is. l is
	// nil for the output head.
	Input(t *autograd.Tape, l *Linear, w *quant.Matrix, x *autograd.Tensor) *autograd.Tensor
	// Beside is a low-rank map of the input of a linear map that its Linear hook is going to add with LoRA, with the same
	// tensors and scale and without dropout: both products are then made together. The zero value where there is none.
	Beside(l *Linear) autograd.LowRank
	// Linear gets the input x (T, in) and the product y = x·Wᵀ (T, out) of a linear map, before its bias.
	Linear(t *autograd.Tape, l *Linear, x, y *autograd.Tensor) *autograd.Tensor
	// Norm is the weight (1, D) that a norm multiplies with: w, its own, or another.
	Norm(n *Norm, w *autograd.Tensor) *autograd.Tensor
	// Embedding gets the rows x (T, D) of the embedding table for ids; those of virtual tokens, whose ids are negative,
	// are zero.
	Embedding(t *autograd.Tape, ids []int32, x *autograd.Tensor) *autograd.Tensor
	// Prefix gives keys and values (n, Keys·HeadDim) that the tokens of a layer see before their own, as they are, or nil
	// twice. n is the same in all layers; the positions of the tokens begin at n.
	Prefix(t *autograd.Tape, l *Layer) (keys, values *autograd.Tensor)
	// Part gets what a part of a layer is about to add to the stream, y (T, D), the stream (T, D) and its norm x (T, D),
	// which the part was computed from.
	Part(t *autograd.Tape, l *Layer, p Part, stream, x, y *autograd.Tensor) *autograd.Tensor
	// Stream gets the stream (T, D) after the addition of a part.
	Stream(t *autograd.Tape, l *Layer, p Part, x *autograd.Tensor) *autograd.Tensor
	// Head gets the stream x (T, D) after the final norm and what makes the logits so far: the output head of the model,
	// or what another adapter made of it.
	Head(t *autograd.Tape, x *autograd.Tensor, head Head) Head
}

// Head is what makes the logits (T, n) of the stream x (T, D) after the final norm: x·Wᵀ + U·Bᵀ.
type Head struct {
	W    *quant.Matrix    // (n, D), over whatever the targets are: tokens, or classes
	U, B *autograd.Tensor // (T, r) and (n, r), a low-rank change; nil where there is none
	Grad *autograd.Tensor // collects the gradient of W (n, D), for its full training; nil where it is frozen
}

// Add adds u·bᵀ to the logits, u (T, r) and b (n, r).
func (h *Head) Add(t *autograd.Tape, u, b *autograd.Tensor) {
	if h.U != nil {
		u, b = t.Beside(h.U, u), t.Beside(h.B, b)
	}
	h.U, h.B = u, b
}

// Part is one of the two parts of a layer.
type Part = arch.Part

// The parts of a layer, in order.
const (
	Attention = arch.Attention
	FFN       = arch.FFN
)

// NoHooks is the frozen model as it is.
type NoHooks struct{}

// Begin does nothing.
func (NoHooks) Begin(*autograd.Tape) {}

// Weights is w.
func (NoHooks) Weights(_ *Linear, w *quant.Matrix) *quant.Matrix { return w }

// Input is x.
func (NoHooks) Input(_ *autograd.Tape, _ *Linear, _ *quant.Matrix, x *autograd.Tensor) *autograd.Tensor {
	return x
}

// Beside is none.
func (NoHooks) Beside(*Linear) autograd.LowRank { return autograd.LowRank{} }

// Linear is y.
func (NoHooks) Linear(_ *autograd.Tape, _ *Linear, _, y *autograd.Tensor) *autograd.Tensor { return y }

// Norm is w.
func (NoHooks) Norm(_ *Norm, w *autograd.Tensor) *autograd.Tensor { return w }

// Embedding is x.
func (NoHooks) Embedding(_ *autograd.Tape, _ []int32, x *autograd.Tensor) *autograd.Tensor { return x }

// Prefix is nothing.
func (NoHooks) Prefix(*autograd.Tape, *Layer) (keys, values *autograd.Tensor) { return nil, nil }

// Part is y.
func (NoHooks) Part(_ *autograd.Tape, _ *Layer, _ Part, _, _, y *autograd.Tensor) *autograd.Tensor {
	return y
}

// Stream is x.
func (NoHooks) Stream(_ *autograd.Tape, _ *Layer, _ Part, x *autograd.Tensor) *autograd.Tensor {
	return x
}

// Head is head.
func (NoHooks) Head(_ *autograd.Tape, _ *autograd.Tensor, head Head) Head { return head }
