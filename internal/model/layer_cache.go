package model

import (
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
)

// LayerCache keeps the stream below the lowest layer that anything trained reaches. For the same sequences it is the
// same in every step, so that the layers below need to run only once.
type LayerCache interface {
	// Load sets x (T, D) to the stream of a batch after its first n layers; n is 0 where that is not known.
	Load(b *batch.Batch, x []float32) (n int)
	// Store takes that stream, after the first n layers.
	Store(b *batch.Batch, n int, x []float32)
}

// start is the stream after the first n layers: of as many as the cache knows, or none.
func (m *Model) start(t *autograd.Tape, b *batch.Batch, h Hooks, cache LayerCache) (x *autograd.Tensor, n int) {
	if cache == nil {
		return m.embed(t, b.IDs, b.Pos, h), 0
	}
	x = t.Tensor(b.Tokens(), m.Spec.Width)
	if n = cache.Load(b, x.Data); n > 0 {
		return x, n
	}
	return m.embed(t, b.IDs, b.Pos, h), 0
}
