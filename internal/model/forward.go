package model

import (
	"math"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/quant"
)

// Hooks is what a fine-tuning method hangs on the decoder. Each hook gets what the frozen model computed and
// returns what goes on; it may record operations on the tape. Hooks run again when a layer is recomputed, and must
// then do the same.
type Hooks interface {
	// Linear gets the input x (T, in) and the product y = x·Wᵀ (T, out) of a linear map, before its bias.
	Linear(t *autograd.Tape, l *Linear, x, y *autograd.Tensor) *autograd.Tensor
}

// EmbeddingHooks are hooks that also change what the embedding table gives: x (T, D) for ids.
type EmbeddingHooks interface {
	Hooks
	Embedding(t *autograd.Tape, ids []int32, x *autograd.Tensor) *autograd.Tensor
}

// HeadHooks are hooks that collect the gradient of the output head, for its full training.
type HeadHooks interface {
	Hooks
	HeadGradient() *autograd.Tensor // (V, D)
}

// NoHooks is the frozen model as it is.
type NoHooks struct{}

// Linear returns y.
func (NoHooks) Linear(_ *autograd.Tape, _ *Linear, _, y *autograd.Tensor) *autograd.Tensor { return y }

func scoreScale(headDim int) float32 { return float32(1 / math.Sqrt(float64(headDim))) }

// Hidden runs the decoder over a packed batch and gives the stream after the final norm, (T, D). The ids must be
// below the vocabulary (batch.Check).
func (m *Model) Hidden(t *autograd.Tape, b *batch.Batch, h Hooks) *autograd.Tensor {
	heads := m.heads()
	x := m.embed(t, b.IDs, h)
	for _, layer := range m.Layers {
		x = t.Checkpoint(x, func(x *autograd.Tensor) *autograd.Tensor {
			return m.layer(t, layer, x, h, func(q, k, v *autograd.Tensor) *autograd.Tensor {
				q = t.Rope(q, b.Pos, m.Spec.HeadDim, m.rope)
				k = t.Rope(k, b.Pos, m.Spec.HeadDim, m.rope)
				return t.Attention(q, k, v, b.Bounds, heads)
			})
		})
	}
	return t.RMSNorm(x, m.Norm, m.Spec.NormEps)
}

// embed is the stream before the first block, (T, D).
func (m *Model) embed(t *autograd.Tape, ids []int32, h Hooks) *autograd.Tensor {
	x := t.Embedding(ids, &m.Embed)
	if e, ok := h.(EmbeddingHooks); ok {
		x = e.Embedding(t, ids, x)
	}
	return x
}

// layer is one block: x + attention(norm(x)), then + ffn(norm(x)). attend gets the projections before RoPE.
func (m *Model) layer(t *autograd.Tape, l *Layer, x *autograd.Tensor, h Hooks,
	attend func(q, k, v *autograd.Tensor) *autograd.Tensor) *autograd.Tensor {
	a := t.RMSNorm(x, l.AttnNorm, m.Spec.NormEps)
	y := attend(linear(t, l.Q, a, h), linear(t, l.K, a, h), linear(t, l.V, a, h))
	x = t.Add(x, linear(t, l.O, y, h))
	f := t.RMSNorm(x, l.FFNNorm, m.Spec.NormEps)
	f = t.SwiGLU(linear(t, l.Gate, f, h), linear(t, l.Up, f, h))
	return t.Add(x, linear(t, l.Down, f, h))
}

// linear is y = x·Wᵀ, what the hook makes of it, and the bias.
func linear(t *autograd.Tape, l *Linear, x *autograd.Tensor, h Hooks) *autograd.Tensor {
	y := h.Linear(t, l, x, t.Linear(input(t, &l.W, x, h), &l.W))
	if l.Bias != nil {
		y = t.AddBias(y, l.Bias)
	}
	return y
}

// input is what the frozen matrix w is multiplied with.
func input(t *autograd.Tape, w *quant.Matrix, x *autograd.Tensor, h Hooks) *autograd.Tensor {
	if r, ok := h.(InputHooks); ok {
		return r.Input(t, w, x)
	}
	return x
}

// Loss runs a batch with targets and gives the summed cross entropy and the number of targets. What the tape
// recorded is left for t.Backward, which starts from the gradient of scale times that sum.
func (m *Model) Loss(t *autograd.Tape, b *batch.Batch, h Hooks, scale float32) (sum float64, targets int) {
	losses := m.Losses(t, b, h, scale)
	for _, loss := range losses {
		sum += float64(loss)
	}
	return sum, len(losses)
}

// Losses is like Loss and gives the loss of every target, in order. The slice lives until the tape's Reset.
func (m *Model) Losses(t *autograd.Tape, b *batch.Batch, h Hooks, scale float32) []float32 {
	x := m.Hidden(t, b, h)
	var head *autograd.Tensor
	if collector, ok := h.(HeadHooks); ok {
		head = collector.HeadGradient()
	}
	x = input(t, &m.Head, x, h)
	return t.CrossEntropy(x, &m.Head, head, b.Targets, scale)
}

// Logits runs a batch and gives the logits (n, V) of the listed rows.
func (m *Model) Logits(t *autograd.Tape, b *batch.Batch, h Hooks, rows []int) *autograd.Tensor {
	x := m.Hidden(t, b, h)
	picked := t.Tensor(len(rows), x.Cols)
	for i, row := range rows {
		copy(picked.Row(i), x.Row(row))
	}
	return t.Linear(input(t, &m.Head, picked, h), &m.Head)
}
