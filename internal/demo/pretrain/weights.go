package pretrain

import (
	"fmt"
	"math"
	"math/bits"
	"unsafe"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
)

// weight is one tensor of the model with its gradient and the optimizer's means, all parts of the four flat slices of
// weights.
type weight struct {
	name       string
	rows, cols int
	std        float64 // of the first values; 0: a norm, which starts at 1
	tensor     *autograd.Tensor
	m, v       []float32
}

// weights are all tensors of the model, in the order of the file.
type weights struct {
	model.NoHooks
	list   []*weight
	byName map[string]*weight
	p, g   []float32
	m, v   []float32
}

// newWeights draws the first weights of a recipe: matrices from a normal distribution, narrower where a layer writes
// into the stream (Radford et al. 2019).
func newWeights(r *Recipe) *weights {
	w := &weights{byName: map[string]*weight{}}
	w.declare(r)
	total := 0
	for _, t := range w.list {
		total += t.rows * t.cols
	}
	w.p, w.g = make([]float32, total), make([]float32, total)
	w.m, w.v = make([]float32, total), make([]float32, total)
	at := 0
	for i, t := range w.list {
		end := at + t.rows*t.cols
		t.tensor = autograd.NewParam(t.rows, t.cols, w.p[at:end], w.g[at:end])
		t.m, t.v = w.m[at:end], w.v[at:end]
		t.fill(r.Seed, uint64(i))
		at = end
	}
	return w
}

func (w *weights) declare(r *Recipe) {
	add := func(name string, rows, cols int, std float64) {
		t := &weight{name: name, rows: rows, cols: cols, std: std}
		w.list = append(w.list, t)
		w.byName[name] = t
	}
	head := r.Width / r.QueryHeads
	in, out := 0.5/math.Sqrt(float64(r.Width)), 0.5/math.Sqrt(float64(2*r.Layers*r.Width))
	add("token_embd.weight", r.Tokens, r.Width, 0.02)
	add("output_norm.weight", 1, r.Width, 0)
	for i := range r.Layers {
		block := fmt.Sprintf("blk.%d.", i)
		add(block+"attn_norm.weight", 1, r.Width, 0)
		add(block+"attn_q.weight", r.Width, r.Width, in)
		add(block+"attn_k.weight", r.KeyHeads*head, r.Width, in)
		add(block+"attn_v.weight", r.KeyHeads*head, r.Width, in)
		add(block+"attn_output.weight", r.Width, r.Width, out)
		add(block+"ffn_norm.weight", 1, r.Width, 0)
		add(block+"ffn_gate.weight", r.FFN, r.Width, in)
		add(block+"ffn_up.weight", r.FFN, r.Width, in)
		add(block+"ffn_down.weight", r.Width, r.FFN, out)
	}
}

func (t *weight) fill(seed, stream uint64) {
	x := t.tensor.Data
	if t.std == 0 {
		for i := range x {
			x[i] = 1
		}
		return
	}
	n := normal{state: seed*0x9e3779b97f4a7c15 + stream + 1}
	for i := range x {
		x[i] = float32(n.next() * t.std)
	}
}

// normal draws sums of twelve uniform numbers, which are as good as normal for first weights and need no function that
// platforms round differently.
type normal struct{ state uint64 }

func (n *normal) next() float64 {
	sum := -6.0
	for range 12 {
		n.state += 0x9e3779b97f4a7c15
		hi, lo := bits.Mul64(n.state^n.state>>29, 0xbf58476d1ce4e5b9)
		z := (hi ^ lo) * 0x94d049bb133111eb
		sum += float64((z^z>>31)>>11) / (1 << 53)
	}
	return sum
}

// shape of a tensor as GGUF has it, the fastest dimension first.
func (t *weight) shape() []int64 {
	if t.rows == 1 {
		return []int64{int64(t.cols)}
	}
	return []int64{int64(t.cols), int64(t.rows)}
}

// bytes is the memory of the weight itself, as a file would hold it on a little-endian machine.
func (t *weight) bytes() []byte {
	x := t.tensor.Data
	return unsafe.Slice((*byte)(unsafe.Pointer(&x[0])), 4*len(x))
}

// attach makes the model compute with these weights, wherever their values go.
func (w *weights) attach(m *model.Model) {
	m.Embed.Type, m.Embed.Data = gguf.F32, w.byName["token_embd.weight"].bytes()
	m.Head = m.Embed
	for _, n := range m.Norms() {
		n.W = w.byName[n.Tensor].tensor
	}
	for _, l := range m.Linears() {
		l.W.Type, l.W.Data = gguf.F32, w.byName[l.Tensor].bytes()
	}
}

// Linear has the gradient of a linear map collected.
func (w *weights) Linear(t *autograd.Tape, l *model.Linear, x, y *autograd.Tensor) *autograd.Tensor {
	return t.TapWeight(y, x, w.byName[l.Tensor].tensor)
}

// Embedding has the gradient of the embedding table collected.
func (w *weights) Embedding(t *autograd.Tape, ids []int32, x *autograd.Tensor) *autograd.Tensor {
	return t.TapEmbedding(x, ids, w.byName["token_embd.weight"].tensor)
}

// Head collects the gradient of the output head in the embedding table: the two are tied.
func (w *weights) Head(_ *autograd.Tape, _ *autograd.Tensor, head model.Head) model.Head {
	head.Grad = w.byName["token_embd.weight"].tensor
	return head
}

// update makes one optimizer step, counted from 0, with the gradient clipped to the recipe's norm, and clears the
// gradient. It gives the norm before clipping.
func (w *weights) update(r *Recipe, step int) float64 {
	norm := math.Sqrt(kernels.SumSquares(w.g))
	if norm > r.Clip {
		kernels.Scale(float32(r.Clip/norm), w.g)
	}
	o := kernels.AdamW{LR: float32(r.rate(step)), Beta1: 0.9, Beta2: r.Beta2, Eps: 1e-8, Step: step + 1}
	for _, t := range w.list {
		o.WeightDecay = r.WeightDecay
		if t.rows == 1 {
			o.WeightDecay = 0
		}
		o.Update(t.tensor.Data, t.tensor.Grad, t.m, t.v)
	}
	clear(w.g)
	return norm
}
