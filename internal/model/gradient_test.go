package model_test

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
)

// someArchs are the models of all architectures; the short test has a third of them.
func someArchs() (some []archtest.Model) {
	for i, m := range archtest.All() {
		if !testing.Short() || i%3 == 0 {
			some = append(some, m)
		}
	}
	return some
}

// TestDefinition compares logits with those of the definition.
func TestDefinition(t *testing.T) {
	for _, c := range someArchs() {
		t.Run(c.Name, func(t *testing.T) {
			m, f := example(t, func(path string) { c.Write(t, path) })
			b := packed(lengths...)
			rows := make([]int, b.Tokens())
			for i := range rows {
				rows[i] = i
			}
			tape := autograd.NewTape()
			tape.Record(false)
			got := m.Logits(tape, b, model.NoHooks{}, rows)
			worst, largest := 0.0, 0.0
			for i, want := range newDefinition(m, f, b).logits(-1) {
				for j, w := range want {
					worst = max(worst, math.Abs(float64(got.Row(i)[j])-w))
					largest = max(largest, math.Abs(w))
				}
			}
			if !(worst <= 2e-5*largest) {
				t.Errorf("logits differ by %.2g of the largest, %.3g", worst/largest, largest)
			}
		})
	}
}

// trainAll trains everything in full: linear maps, norms and their biases, the embedding table and the head.
type trainAll struct {
	model.NoHooks
	maps        map[*model.Linear]*autograd.Tensor
	norms       map[*model.Norm]*autograd.Tensor
	embed, head *autograd.Tensor
}

func newTrainAll(m *model.Model) *trainAll {
	h := &trainAll{maps: map[*model.Linear]*autograd.Tensor{}, norms: map[*model.Norm]*autograd.Tensor{}}
	h.embed = param(m.Embed.Rows, m.Embed.Cols, model.Dequantized(&m.Embed))
	h.head = param(m.Head.Rows, m.Head.Cols, model.Dequantized(&m.Head))
	return h
}

func param(rows, cols int, data []float32) *autograd.Tensor {
	return autograd.NewParam(rows, cols, data, make([]float32, rows*cols))
}

func (h *trainAll) Linear(t *autograd.Tape, l *model.Linear, x, y *autograd.Tensor) *autograd.Tensor {
	if h.maps[l] == nil {
		h.maps[l] = param(l.W.Rows, l.W.Cols, model.Dequantized(&l.W))
	}
	return t.TapWeight(y, x, h.maps[l])
}

func (h *trainAll) Norm(n *model.Norm, w *autograd.Tensor) *autograd.Tensor {
	if h.norms[n] == nil {
		h.norms[n] = param(1, w.Cols, w.Data)
		if n.B != nil {
			n.B = param(1, n.B.Cols, n.B.Data)
		}
	}
	return h.norms[n]
}

func (h *trainAll) Embedding(t *autograd.Tape, ids []int32, x *autograd.Tensor) *autograd.Tensor {
	return t.TapEmbedding(x, ids, h.embed)
}

func (h *trainAll) Head(_ *autograd.Tape, _ *autograd.Tensor, head model.Head) model.Head {
	head.Grad = h.head
	return head
}

// trained is a tensor whose gradient is tested: its values in the definition, and the gradient of the tape.
type trained struct {
	name   string
	layer  int // -1 where it is in none
	values []float64
	grad   []float32
}

// all are the tensors of the hooks, those of the last layer first: what the definition keeps of layers below a tensor's
// stays true while it is moved.
func (h *trainAll) all(d *definition) []trained {
	list := []trained{{"embedding", -1, d.embed.x, h.embed.Grad}, {"head", len(d.Layers) - 1, d.head.x, h.head.Grad}}
	for l, p := range h.maps {
		name := fmt.Sprintf("%s of layer %d, expert %d", l.Role, l.Layer, l.Expert)
		list = append(list, trained{name, l.Layer, d.maps[l].x, p.Grad})
	}
	for n, p := range h.norms {
		name := fmt.Sprintf("%s of layer %d", n.Role, n.Layer)
		list = append(list, trained{name, n.Layer, d.norms[n][0], p.Grad})
		if n.B != nil {
			list = append(list, trained{name + ", bias", n.Layer, d.norms[n][1], n.B.Grad})
		}
	}
	slices.SortFunc(list, func(a, b trained) int {
		return cmp.Or(cmp.Compare(b.layer, a.layer), cmp.Compare(a.name, b.name))
	})
	return list
}

// slope compares the derivative of the loss in a random direction with what the gradient says. The difference is in
// parts of what is usual in a random direction: the norm of the gradient, but at least that of scale.
func (p *trained) slope(d *definition, scale float64) (difference float64) {
	h := fnv.New64a()
	h.Write([]byte(p.name))
	random := rand.New(rand.NewPCG(h.Sum64(), 1))
	const step = 1e-6
	was := append([]float64(nil), p.values...)
	direction := make([]float64, len(was))
	want, norm := 0.0, 0.0
	for i, g := range p.grad {
		direction[i] = random.NormFloat64()
		want += direction[i] * float64(g)
		norm += float64(g) * float64(g)
	}
	at := func(step float64) float64 {
		for i := range was {
			p.values[i] = was[i] + step*direction[i]
		}
		return d.loss(p.layer)
	}
	got := (at(step) - at(-step)) / (2 * step)
	copy(p.values, was)
	return math.Abs(got-want) / max(math.Sqrt(norm), scale)
}

// TestGradients compares the gradients of everything that can be trained with central differences of the definition.
func TestGradients(t *testing.T) {
	for _, c := range someArchs() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			m, f := example(t, func(path string) { c.Write(t, path) })
			if len(m.Layers) > 16 {
				t.Skip("the differences of so many layers take minutes; they are of kinds that other models have")
			}
			b := packed(lengths...)
			d := newDefinition(m, f, b)
			h := newTrainAll(m)
			tape := autograd.NewTape()
			sum, _ := m.Loss(tape, b, h, 1)
			tape.Backward()
			if want := d.loss(-1); math.Abs(sum-want) > 1e-5*want {
				t.Errorf("the loss is %g, expected %g", sum, want)
			}
			list, total := h.all(d), 0.0
			for _, p := range list {
				for _, g := range p.grad {
					total += float64(g) * float64(g)
				}
			}
			worst, where := 0.0, ""
			for i := range list {
				diff := list[i].slope(d, 1e-4*math.Sqrt(total))
				if !(diff <= 1e-4) {
					t.Errorf("%s: a slope differs by %.2g", list[i].name, diff)
				}
				if diff > worst {
					worst, where = diff, list[i].name
				}
			}
			t.Logf("%d tensors, the worst is %s by %.2g", len(list), where, worst)
		})
	}
}

// TestBalance compares the load-balance loss of routers and its gradient with those of the definition, and wants the
// same of layers that are computed again.
func TestBalance(t *testing.T) {
	for _, c := range someArchs() {
		t.Run(c.Name, func(t *testing.T) {
			m, f := example(t, func(path string) { c.Write(t, path) })
			if m.Routers() == 0 {
				t.Skip("no experts")
			}
			b := packed(lengths...)
			d := newDefinition(m, f, b)
			d.aux = 0.5
			var all [2]*trainAll
			var balance model.Balance
			for i := range all {
				all[i] = newTrainAll(m)
				tape := autograd.NewTape()
				tape.Keep(i == 1)
				balance = model.Balance{Coefficient: d.aux}
				sum, n := m.LossAbove(tape, b, all[i], nil, &balance, 1)
				tape.Backward()
				want := d.loss(-1) - d.aux*d.balance()*float64(n)
				if math.Abs(sum-want) > 1e-5*want || math.Abs(balance.Mean()-d.balance()) > 1e-5*d.balance() {
					t.Errorf("loss %g, balance %g, expected %g and %g", sum, balance.Mean(), want, d.balance())
				}
			}
			if !slices.Equal(all[0].embed.Grad, all[1].embed.Grad) {
				t.Error("layers that are computed again have other gradients")
			}
			for _, p := range all[0].all(d) {
				if !strings.HasPrefix(p.name, "router") && p.name != "embedding" {
					continue
				}
				if diff := p.slope(d, 0); !(diff <= 1e-4) {
					t.Errorf("%s: a slope differs by %.2g", p.name, diff)
				}
			}
		})
	}
}

// flat are all gradients and logits of a batch, one after the other, in the order of the hooks' tensors.
func flat(m *model.Model, b *batch.Batch, keep bool) (gradients, losses []float32) {
	h, tape := newTrainAll(m), autograd.NewTape()
	tape.Keep(keep)
	losses = slices.Clone(m.Losses(tape, b, h, 1))
	tape.Backward()
	gradients = append(slices.Clone(h.embed.Grad), h.head.Grad...)
	for _, layer := range m.Layers {
		for _, l := range layer.Linears() {
			if p := h.maps[l]; p != nil {
				gradients = append(gradients, p.Grad...)
			} else {
				gradients = append(gradients, make([]float32, l.W.Rows*l.W.Cols)...) // of an expert without tokens
			}
		}
		for _, n := range layer.Norms() {
			gradients = append(gradients, h.norms[n].Grad...)
		}
	}
	return gradients, losses
}

// TestSameGradients: neither recomputation, nor threads, nor the order of sequences changes a bit of a loss, nor what
// is beside a sequence; gradients are sums over the sequences.
func TestSameGradients(t *testing.T) {
	defer kernels.SetThreads(0)
	for _, c := range someArchs() {
		t.Run(c.Name, func(t *testing.T) {
			m, _ := example(t, func(path string) { c.Write(t, path) })
			kernels.SetThreads(1)
			want, losses := flat(m, packed(lengths...), false)
			for threads := range 4 {
				if threads == 0 || threads == 2 {
					continue
				}
				kernels.SetThreads(threads)
				got, again := flat(m, packed(lengths...), threads == 3)
				if !slices.Equal(got, want) || !slices.Equal(again, losses) {
					t.Errorf("other gradients or losses with %d threads, or where activations are kept", threads)
				}
				got, _ = flat(m, packed(lengths...), threads != 3)
				if !slices.Equal(got, want) {
					t.Errorf("other gradients with %d threads, or where activations are kept", threads)
				}
			}
			sum, alone := make([]float32, len(want)), [][]float32{}
			for _, n := range lengths {
				g, l := flat(m, packed(n), false)
				kernels.Add(sum, g)
				alone = append(alone, l)
			}
			near(t, "losses beside another sequence", losses, slices.Concat(alone[0], alone[1]), 1e-6)
			near(t, "gradients of two sequences", want, sum, 1e-4)
			turned, back := flat(m, packed(lengths[1], lengths[0]), false)
			near(t, "losses in the other order", back, slices.Concat(alone[1], alone[0]), 1e-6)
			near(t, "gradients in the other order", turned, want, 1e-5)
		})
	}
}

// near wants got to differ from want by at most tolerance times the norm of want.
func near(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	var difference, norm float64
	for i, w := range want {
		difference += float64(got[i]-w) * float64(got[i]-w)
		norm += float64(w) * float64(w)
	}
	if !(difference <= tolerance*tolerance*norm) {
		t.Errorf("%s differ by %.2g", what, math.Sqrt(difference/norm))
	}
}

// trainLast trains the linear maps of the last layer.
type trainLast struct {
	*trainAll
	last int
}

func (h trainLast) Linear(t *autograd.Tape, l *model.Linear, x, y *autograd.Tensor) *autograd.Tensor {
	if l.Layer != h.last {
		return y
	}
	return h.trainAll.Linear(t, l, x, y)
}

func (h trainLast) Norm(_ *model.Norm, w *autograd.Tensor) *autograd.Tensor { return w }

func (h trainLast) Embedding(_ *autograd.Tape, _ []int32, x *autograd.Tensor) *autograd.Tensor {
	return x
}

// oneStream is a cache of one batch.
type oneStream struct {
	n int
	x []float32
}

func (c *oneStream) Load(_ *batch.Batch, x []float32) int {
	copy(x, c.x)
	return c.n
}

func (c *oneStream) Store(_ *batch.Batch, n int, x []float32) { c.n, c.x = n, slices.Clone(x) }

// TestLayerCache: where the layers below come from a cache, losses and gradients are the same to the bit.
func TestLayerCache(t *testing.T) {
	for _, c := range someArchs() {
		t.Run(c.Name, func(t *testing.T) {
			m, _ := example(t, func(path string) { c.Write(t, path) })
			b, cache, tape := packed(lengths...), &oneStream{}, autograd.NewTape()
			var sums [2]float64
			var hooks [2]trainLast
			for i := range sums {
				hooks[i] = trainLast{newTrainAll(m), len(m.Layers) - 1}
				tape.Reset(0)
				sums[i], _ = m.LossAbove(tape, b, hooks[i], cache, nil, 1)
				tape.Backward()
				if from := m.Layers[len(m.Layers)-1].Spec.KeysFrom; i == 0 && from == 0 && cache.n != len(m.Layers)-1 {
					t.Errorf("the stream after %d layers was stored, of %d", cache.n, len(m.Layers))
				}
			}
			if sums[0] != sums[1] || !slices.Equal(hooks[0].head.Grad, hooks[1].head.Grad) {
				t.Errorf("losses %g and %g", sums[0], sums[1])
			}
			for l, p := range hooks[0].maps {
				if !slices.Equal(p.Grad, hooks[1].maps[l].Grad) {
					t.Errorf("%s: other gradients", l.Role)
				}
			}
		})
	}
}
