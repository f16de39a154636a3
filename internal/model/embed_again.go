package model

import (
	"math"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/quant"
)

// secondEmbedding is an embedding of the tokens of which each layer gets its own part: the mean, times √2, of a table's
// rows and of a map of the stream before the first layer.
type secondEmbedding struct {
	table quant.Matrix // (V, Layers·n)
	from  *Linear      // (Layers·n, D)
	norm  *Norm        // (1, n)
}

// embedAgain makes the second embedding of tokens whose stream before the first layer is x, where the model has one.
func (p *pass) embedAgain(ids []int32, x *autograd.Tensor) {
	e := p.second
	if e == nil {
		return
	}
	t, n := p.tape, p.Spec.LayerEmbedding
	y := t.Scaled(p.linear(e.from, x), float32(1/math.Sqrt(float64(p.Spec.Width))))
	y = p.norm(t, e.norm, y, p.hooks)
	table := t.Scaled(t.Embedding(ids, &e.table), float32(math.Sqrt(float64(n))))
	p.again = t.Scaled(t.Add(y, table), float32(1/math.Sqrt2))
	if p.again.NeedsGrad() {
		t.Hold(p.again)
	}
}

// sharesKeys reports whether a layer reads keys and values of another.
func (m *Model) sharesKeys() bool {
	for _, l := range m.Layers {
		if l.Spec.KeysFrom > 0 {
			return true
		}
	}
	return false
}
