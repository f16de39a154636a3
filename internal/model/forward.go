package model

import (
	"math"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/kernels"
)

func scoreScale(headDim int) float32 { return float32(1 / math.Sqrt(float64(headDim))) }

// Hidden runs the decoder over a packed batch and gives the stream after the final norm, (T, D). The ids must be
// below the vocabulary (batch.Check); negative ones are virtual tokens (Hooks.Embedding).
func (m *Model) Hidden(t *autograd.Tape, b *batch.Batch, h Hooks) *autograd.Tensor {
	return m.hidden(t, b, h, nil)
}

// hidden is Hidden above what a cache knows, which may be nil.
func (m *Model) hidden(t *autograd.Tape, b *batch.Batch, h Hooks, cache LayerCache) *autograd.Tensor {
	h.Begin(t)
	x, first := m.start(t, b, h, cache)
	passes := make([]layerPass, len(m.Layers))
	for i := first; i < len(m.Layers); i++ {
		passes[i] = layerPass{m, t, b, h, m.Layers[i]}
		y := t.CheckpointOf(x, &passes[i])
		if cache != nil && first == 0 && i > 0 && y.NeedsGrad() && !x.NeedsGrad() {
			cache.Store(b, i, x.Data)
		}
		x = y
	}
	return m.norm(t, m.Norm, x, h)
}

// Embedded is the stream (T, D) of a packed batch before the first layer, for RunLayer.
func (m *Model) Embedded(t *autograd.Tape, b *batch.Batch, h Hooks) *autograd.Tensor {
	h.Begin(t)
	return m.embed(t, b.IDs, h)
}

// RunLayer is the stream (T, D) of a packed batch after layer i, x being what it is before: a forward pass by single
// layers.
func (m *Model) RunLayer(t *autograd.Tape, b *batch.Batch, h Hooks, i int, x *autograd.Tensor) *autograd.Tensor {
	h.Begin(t)
	return t.CheckpointOf(x, &layerPass{m, t, b, h, m.Layers[i]})
}

// layerPass is one layer at work on a batch.
type layerPass struct {
	model *Model
	tape  *autograd.Tape
	batch *batch.Batch
	hooks Hooks
	layer *Layer
}

// Run implements autograd.Subgraph.
func (p *layerPass) Run(x *autograd.Tensor) *autograd.Tensor {
	return p.model.layer(p.tape, p.layer, x, p.hooks, p)
}

// attend implements attender: attention inside each sequence.
func (p *layerPass) attend(q, k, v *autograd.Tensor) *autograd.Tensor {
	q, k = p.layer.turn(p.tape, q, p.batch.Pos), p.layer.turn(p.tape, k, p.batch.Pos)
	return p.layer.attend(p.tape, p.batch.Bounds, q, k, v, p.hooks)
}

// attender does the attention of a layer over the projections before RoPE.
type attender interface {
	attend(q, k, v *autograd.Tensor) *autograd.Tensor
}

// attend is attention inside each sequence, and over the keys and values that the hook puts before it.
func (l *Layer) attend(t *autograd.Tape, bounds []int32, q, k, v *autograd.Tensor, h Hooks) *autograd.Tensor {
	keys, values := h.Prefix(t, l)
	if keys == nil {
		return t.Attention(q, k, v, bounds, l.heads())
	}
	n := keys.Rows
	none := t.Tensor(n, q.Cols)
	clear(none.Data)
	q, k, v = t.Prefix(q, none, bounds), t.Prefix(k, keys, bounds), t.Prefix(v, values, bounds)
	return t.WithoutPrefix(t.Attention(q, k, v, autograd.PrefixBounds(bounds, n), l.heads()), n, bounds)
}

// KeysValues are the keys, turned to their positions, and the values that a layer makes of rows x (n, D) at its input.
func (m *Model) KeysValues(t *autograd.Tape, l *Layer, x *autograd.Tensor, pos []int32,
	h Hooks) (keys, values *autograd.Tensor) {
	a := m.norm(t, l.Norm(arch.AttentionNorm), x, h)
	return l.turn(t, linear(t, l.Linear(arch.Key), a, h), pos), linear(t, l.Linear(arch.Value), a, h)
}

// embed is the stream before the first block, (T, D).
func (m *Model) embed(t *autograd.Tape, ids []int32, h Hooks) *autograd.Tensor {
	return h.Embedding(t, ids, t.Embedding(ids, &m.Embed))
}

// norm is the norm of x with the weight that the hook gives.
func (m *Model) norm(t *autograd.Tape, n *Norm, x *autograd.Tensor, h Hooks) *autograd.Tensor {
	return t.RMSNorm(x, h.Norm(n, n.W), m.Spec.NormEps)
}

// layer is one block: x + attention(norm(x)), then + ffn(norm(x)).
func (m *Model) layer(t *autograd.Tape, l *Layer, x *autograd.Tensor, h Hooks, a attender) *autograd.Tensor {
	n := m.norm(t, l.Norm(arch.AttentionNorm), x, h)
	q, k := linear(t, l.Linear(arch.Query), n, h), linear(t, l.Linear(arch.Key), n, h)
	v := linear(t, l.Linear(arch.Value), n, h)
	y := linear(t, l.Linear(arch.AttentionOutput), a.attend(q, k, v), h)
	x = t.Add(x, h.Part(t, l, Attention, x, n, y))
	x = h.Stream(t, l, Attention, x)
	f := m.norm(t, l.Norm(arch.FFNNorm), x, h)
	y = t.SwiGLU(linear(t, l.Linear(arch.Gate), f, h), linear(t, l.Linear(arch.Up), f, h))
	x = t.Add(x, h.Part(t, l, FFN, x, f, linear(t, l.Linear(arch.Down), y, h)))
	return h.Stream(t, l, FFN, x)
}

// linear is y = x·Wᵀ, what the hook makes of it, and the bias.
func linear(t *autograd.Tape, l *Linear, x *autograd.Tensor, h Hooks) *autograd.Tensor {
	w := h.Weights(l, &l.W)
	var y *autograd.Tensor
	if low, in := h.Beside(l), h.Input(t, l, w, x); in == x && low.A != nil {
		y = t.LinearLoRA(x, w, low)
	} else {
		y = t.Linear(in, w)
	}
	y = h.Linear(t, l, x, y)
	if l.Bias != nil {
		y = t.AddBias(y, l.Bias)
	}
	return y
}

// Project is a linear map of the model at work with hooks, as inside its layer.
func Project(t *autograd.Tape, l *Linear, x *autograd.Tensor, h Hooks) *autograd.Tensor {
	return linear(t, l, x, h)
}

// Loss runs a batch with targets and gives the summed cross entropy and the number of targets. What the tape
// recorded is left for t.Backward, which starts from the gradient of scale times that sum.
func (m *Model) Loss(t *autograd.Tape, b *batch.Batch, h Hooks, scale float32) (sum float64, targets int) {
	return m.LossAbove(t, b, h, nil, scale)
}

// LossAbove is Loss with a cache of the layers below those that are trained; nil is none.
func (m *Model) LossAbove(t *autograd.Tape, b *batch.Batch, h Hooks, cache LayerCache,
	scale float32) (sum float64, targets int) {
	losses := m.losses(t, b, h, cache, scale)
	for _, loss := range losses {
		sum += float64(loss)
	}
	return sum, len(losses)
}

// Losses is like Loss and gives the loss of every target, in order. The slice lives until the tape's Reset.
func (m *Model) Losses(t *autograd.Tape, b *batch.Batch, h Hooks, scale float32) []float32 {
	return m.losses(t, b, h, nil, scale)
}

func (m *Model) losses(t *autograd.Tape, b *batch.Batch, h Hooks, cache LayerCache, scale float32) []float32 {
	x := m.hidden(t, b, h, cache)
	x, head, gradient := m.logits(t, x, h)
	return t.CrossEntropy(x, head, gradient, b.Targets, scale, autograd.Logits{})
}

// Logits runs a batch and gives the logits (n, V) of the listed rows.
func (m *Model) Logits(t *autograd.Tape, b *batch.Batch, h Hooks, rows []int) *autograd.Tensor {
	x := m.Hidden(t, b, h)
	picked := t.Tensor(len(rows), x.Cols)
	for i, row := range rows {
		copy(picked.Row(i), x.Row(row))
	}
	return m.head(t, picked, h)
}

// head is the logits (T, V) of the stream after the final norm.
func (m *Model) head(t *autograd.Tape, x *autograd.Tensor, h Hooks) *autograd.Tensor {
	x, head, _ := m.logits(t, x, h)
	return t.Linear(x, head)
}

// logits is what the logits are a product of: an input, the matrix that it is multiplied with, and what collects the
// gradient of that. A low-rank change stands beside: x·Wᵀ + u·bᵀ = [x | u]·[W | b]ᵀ.
func (m *Model) logits(t *autograd.Tape, x *autograd.Tensor,
	h Hooks) (in *autograd.Tensor, w kernels.Weights, grad *autograd.Tensor) {
	head := h.Head(t, x, Head{W: &m.Head})
	in = h.Input(t, nil, head.W, x)
	if head.U == nil {
		return in, head.W, head.Grad
	}
	b := head.B
	if b.NeedsGrad() {
		grad = t.Hold(b)
	}
	return t.Beside(in, head.U), autograd.Widened{W: head.W, B: kernels.Dense{Rows: b.Rows, Cols: b.Cols, Data: b.Data}},
		grad
}
