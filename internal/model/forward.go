package model

import (
	"fmt"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/kernels"
)

// Hidden runs the decoder over a packed batch and gives the stream after the final norm, (T, D). The ids must be
// below the vocabulary (batch.Check); negative ones are virtual tokens (Hooks.Embedding).
func (m *Model) Hidden(t *autograd.Tape, b *batch.Batch, h Hooks) *autograd.Tensor {
	return m.pass(t, b, h).hidden(b, nil)
}

// hidden is Hidden above what a cache knows, which may be nil.
func (p *pass) hidden(b *batch.Batch, cache LayerCache) *autograd.Tensor {
	m, t, h := p.Model, p.tape, p.hooks
	h.Begin(t)
	x, first := m.start(t, b, h, cache)
	if first == 0 {
		p.embedAgain(b.IDs, x)
	} else if m.second != nil {
		p.embedAgain(b.IDs, m.embed(t, b.IDs, b.Pos, h))
	}
	passes := make([]layerPass, len(m.Layers))
	for i := first; i < len(m.Layers); {
		n := m.together(i)
		t.Mark(i)
		passes[i] = layerPass{p, m.Layers[i : i+n]}
		y := t.CheckpointOf(x, &passes[i])
		if cache != nil && first == 0 && i > 0 && y.NeedsGrad() && !x.NeedsGrad() {
			cache.Store(b, i, x.Data)
		}
		x = y
		i += n
	}
	return m.norm(t, m.Norm, x, h)
}

// pass is the decoder at work on a batch.
func (m *Model) pass(t *autograd.Tape, b *batch.Batch, h Hooks) *pass {
	p := &pass{Model: m, tape: t, hooks: h, bounds: b.Bounds, pos: b.Pos}
	if m.sharesKeys() {
		p.shared = map[int]keysValues{}
	}
	return p
}

// Embedded is the stream (T, D) of a packed batch before the first layer, for RunLayer.
func (m *Model) Embedded(t *autograd.Tape, b *batch.Batch, h Hooks) *autograd.Tensor {
	h.Begin(t)
	return m.embed(t, b.IDs, b.Pos, h)
}

// RunsByLayers reports a model whose layers read more than the stream before them, so that RunLayer cannot run them.
func (m *Model) RunsByLayers() error {
	if m.Spec.LayerEmbedding > 0 {
		return fmt.Errorf("of layers with a second embedding: %w", ErrUnsupported)
	}
	if m.sharesKeys() {
		return fmt.Errorf("of layers that share keys and values: %w", ErrUnsupported)
	}
	return nil
}

// RunLayer is the stream (T, D) of a packed batch after layer i, x being what it is before: a forward pass by single
// layers.
func (m *Model) RunLayer(t *autograd.Tape, b *batch.Batch, h Hooks, i int, x *autograd.Tensor) *autograd.Tensor {
	h.Begin(t)
	return t.CheckpointOf(x, &layerPass{m.pass(t, b, h), m.Layers[i : i+1]})
}

// KeysValues are the keys, turned to their positions, and the values that a layer makes of rows x (n, D) at its input.
func (m *Model) KeysValues(t *autograd.Tape, l *Layer, x *autograd.Tensor, pos []int32,
	h Hooks) (keys, values *autograd.Tensor) {
	p := &pass{Model: m, tape: t, hooks: h, bounds: []int32{0, int32(len(pos))}, pos: pos}
	n := m.norm(t, l.before(), x, h)
	var q *autograd.Tensor
	if l.Linear(arch.QKV) != nil {
		q, _ = p.queries(l, n)
	}
	kv := p.keysValues(l, n, q)
	return kv.keys, kv.values
}

// embed is the stream before the first block, (T, D), of tokens at positions.
func (m *Model) embed(t *autograd.Tape, ids, pos []int32, h Hooks) *autograd.Tensor {
	x := h.Embedding(t, ids, t.Embedding(ids, &m.Embed))
	x = scaled(t, x, m.Spec.EmbeddingScale)
	if m.positions != nil {
		x = t.Add(x, t.Embedding(pos, m.positions))
	}
	return m.norm(t, m.embedNorm, x, h)
}

// scaled is s·x, x where s is 0 or 1.
func scaled(t *autograd.Tape, x *autograd.Tensor, s float32) *autograd.Tensor {
	if s == 0 || s == 1 {
		return x
	}
	return t.Scaled(x, s)
}

// norm is the norm of x with the weight that the hook gives; x where there is none.
func (m *Model) norm(t *autograd.Tape, n *Norm, x *autograd.Tensor, h Hooks) *autograd.Tensor {
	switch {
	case n == nil:
		return x
	case m.Spec.LayerNorm:
		return t.LayerNorm(x, h.Norm(n, n.W), n.B, n.Group, m.Spec.NormEps)
	case n.Group != n.W.Cols:
		return t.GroupRMSNorm(x, h.Norm(n, n.W), n.Group, m.Spec.NormEps)
	}
	return t.RMSNorm(x, h.Norm(n, n.W), m.Spec.NormEps)
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
	return m.LossAbove(t, b, h, nil, nil, scale)
}

// LossAbove is Loss with a cache of the layers below those that are trained, and with the load-balance loss of the
// routers, which is in the gradient and not in the sum; nil is none. With a cache, layers that do not run have none.
func (m *Model) LossAbove(t *autograd.Tape, b *batch.Batch, h Hooks, cache LayerCache, balance *Balance,
	scale float32) (sum float64, targets int) {
	return m.LossBy(t, b, h, cache, balance, nil, scale)
}

// LossBy is LossAbove by another criterion than cross entropy; nil is that one.
func (m *Model) LossBy(t *autograd.Tape, b *batch.Batch, h Hooks, cache LayerCache, balance *Balance,
	by autograd.Criterion, scale float32) (sum float64, targets int) {
	losses := m.losses(t, b, h, cache, balance, by, scale)
	for _, loss := range losses {
		sum += float64(loss)
	}
	return sum, len(losses)
}

// Losses is like Loss and gives the loss of every target, in order. The slice lives until the tape's Reset.
func (m *Model) Losses(t *autograd.Tape, b *batch.Batch, h Hooks, scale float32) []float32 {
	return m.losses(t, b, h, nil, nil, nil, scale)
}

func (m *Model) losses(t *autograd.Tape, b *batch.Batch, h Hooks, cache LayerCache, balance *Balance,
	by autograd.Criterion, scale float32) []float32 {
	p := m.pass(t, b, h)
	p.balances(balance, b, scale)
	x := p.hidden(b, cache)
	x, head, gradient := m.logits(t, x, h)
	return t.Loss(x, head, gradient, b.Targets, scale, m.LogitForm(nil), by)
}

// LogitForm is what becomes of the products that logits are made of; rows are the tokens that they are of, nil: all.
func (m *Model) LogitForm(rows []int32) autograd.Logits {
	form := autograd.Logits{Scale: m.Spec.LogitScale, Cap: m.Spec.LogitCap, Bias: m.Bias}
	if rows != nil && m.Bias != nil {
		form.Bias = make([]float32, len(rows))
		for i, r := range rows {
			form.Bias[i] = m.Bias[r]
		}
	}
	return form
}

// Logits runs a batch and gives the logits (n, V) of the listed rows.
func (m *Model) Logits(t *autograd.Tape, b *batch.Batch, h Hooks, rows []int) *autograd.Tensor {
	return m.head(t, m.picked(t, b, h, rows), h)
}

// EachLogits runs a batch and calls f with the logits (V) of each of the listed rows, in any order and from several
// goroutines. f may overwrite them. Not all are in memory at once.
func (m *Model) EachLogits(t *autograd.Tape, b *batch.Batch, h Hooks, rows []int, f func(i int, logits []float32)) {
	var l LogitRows
	l.Run(m, t, b, h, rows)
	l.Each(len(rows), f)
}

// LogitRows gives the logits of some rows of a batch, block by block. Its memory is used again by the next Run.
type LogitRows struct {
	Precision kernels.Precision // of the products with the head

	model *Model
	in    *autograd.Tensor // (n, D), what is multiplied by the head
	head  kernels.Weights
	tape  *autograd.Tape // of a block
	part  autograd.Tensor
}

// Run runs a batch up to the head, for the listed rows, on a tape that does not record. What it gives lives until that
// tape's Reset.
func (l *LogitRows) Run(m *Model, t *autograd.Tape, b *batch.Batch, h Hooks, rows []int) {
	l.model = m
	l.in, l.head, _ = m.logits(t, m.picked(t, b, h, rows), h)
	if l.tape == nil {
		l.tape = autograd.NewTape()
		l.tape.Record(false)
	}
}

// Block is the logits (n, V) of n rows from number first on. It lives until the next one.
func (l *LogitRows) Block(first, n int) *autograd.Tensor {
	l.tape.Reset(0)
	l.tape.Precision(l.Precision)
	cols := l.in.Cols
	l.part = *autograd.NewConst(n, cols, l.in.Data[first*cols:(first+n)*cols])
	return l.tape.ApplyLogits(l.tape.Linear(&l.part, l.head), l.model.LogitForm(nil))
}

// Each calls f with the logits (V) of the first n rows, as EachLogits does.
func (l *LogitRows) Each(n int, f func(i int, logits []float32)) {
	most := max(autograd.LogitFloats/l.model.Spec.Vocab, 1)
	for from := 0; from < n; from += most {
		y := l.Block(from, min(most, n-from))
		kernels.Parallel(y.Rows, func(i int) { f(from+i, y.Row(i)) })
	}
}

// picked are some rows of the stream after the final norm.
func (m *Model) picked(t *autograd.Tape, b *batch.Batch, h Hooks, rows []int) *autograd.Tensor {
	x := m.Hidden(t, b, h)
	picked := t.Tensor(len(rows), x.Cols)
	for i, row := range rows {
		copy(picked.Row(i), x.Row(row))
	}
	return picked
}

// head is the logits (T, V) of the stream after the final norm.
func (m *Model) head(t *autograd.Tape, x *autograd.Tensor, h Hooks) *autograd.Tensor {
	x, head, _ := m.logits(t, x, h)
	return t.ApplyLogits(t.Linear(x, head), m.LogitForm(nil))
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
	return t.Beside(in, head.U), kernels.Widened{W: head.W, B: kernels.Dense{Rows: b.Rows, Cols: b.Cols, Data: b.Data}},
		grad
}
