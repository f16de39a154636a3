package attach

import (
	"slices"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/quant"
)

// Expanded are tokens with what the adapters add to them.
func Expanded(hooks Stack, ids []int32) []int32 {
	var packed batch.Batch
	packed.Append(ids, nil)
	hooks.Expand(&packed)
	return packed.IDs
}

// Stack is several bound adapters: each hook calls theirs in turn.
type Stack []*Bound

// Expand has the first adapter's virtual tokens stand first.
func (s Stack) Expand(b *batch.Batch) {
	for _, bound := range slices.Backward(s) {
		bound.Expand(b)
	}
}

// Begin implements model.Hooks.
func (s Stack) Begin(t *autograd.Tape) {
	for _, bound := range s {
		bound.Begin(t)
	}
}

// Weights implements model.Hooks.
func (s Stack) Weights(l *model.Linear, w *quant.Matrix) *quant.Matrix {
	for _, bound := range s {
		w = bound.Weights(l, w)
	}
	return w
}

// Input implements model.Hooks.
func (s Stack) Input(t *autograd.Tape, l *model.Linear, w *quant.Matrix, x *autograd.Tensor) *autograd.Tensor {
	for _, bound := range s {
		x = bound.Input(t, l, w, x)
	}
	return x
}

// Beside implements model.Hooks: the map of the first adapter, which is the first to change the product.
func (s Stack) Beside(l *model.Linear) autograd.LowRank {
	if len(s) == 0 {
		return autograd.LowRank{}
	}
	return s[0].Beside(l)
}

// Linear implements model.Hooks.
func (s Stack) Linear(t *autograd.Tape, l *model.Linear, x, y *autograd.Tensor) *autograd.Tensor {
	for _, bound := range s {
		y = bound.Linear(t, l, x, y)
	}
	return y
}

// Norm implements model.Hooks.
func (s Stack) Norm(n *model.Norm, w *autograd.Tensor) *autograd.Tensor {
	for _, bound := range s {
		w = bound.Norm(n, w)
	}
	return w
}

// Embedding implements model.Hooks.
func (s Stack) Embedding(t *autograd.Tape, ids []int32, x *autograd.Tensor) *autograd.Tensor {
	for _, bound := range s {
		x = bound.Embedding(t, ids, x)
	}
	return x
}

// Prefix implements model.Hooks: the prefixes of all adapters, one after the other.
func (s Stack) Prefix(t *autograd.Tape, l *model.Layer) (keys, values *autograd.Tensor) {
	for _, bound := range s {
		k, v := bound.Prefix(t, l)
		switch {
		case k == nil:
		case keys == nil:
			keys, values = k, v
		default:
			keys, values = t.Above(keys, k), t.Above(values, v)
		}
	}
	return keys, values
}

// Part implements model.Hooks.
func (s Stack) Part(t *autograd.Tape, l *model.Layer, p model.Part, stream, x, y *autograd.Tensor) *autograd.Tensor {
	for _, bound := range s {
		y = bound.Part(t, l, p, stream, x, y)
	}
	return y
}

// Stream implements model.Hooks.
func (s Stack) Stream(t *autograd.Tape, l *model.Layer, p model.Part, x *autograd.Tensor) *autograd.Tensor {
	for _, bound := range s {
		x = bound.Stream(t, l, p, x)
	}
	return x
}

// Head implements model.Hooks. A stack is not trained: nothing collects a gradient.
func (s Stack) Head(t *autograd.Tape, x *autograd.Tensor, head model.Head) model.Head {
	for _, bound := range s {
		head = bound.Head(t, x, head)
	}
	head.Grad = nil
	return head
}
