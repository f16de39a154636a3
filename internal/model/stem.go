package model

import (
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
)

// Stem keeps the stream below the lowest layer that anything trained reaches. For the same sequences it is the same in
// every step, so that the layers below need to run only once.
type Stem interface {
	// Below sets x (T, D) to the stream of a batch after its first n layers; n is 0 where that is not known.
	Below(b *batch.Batch, x []float32) (n int)
	// Keep gets that stream, after the first n layers.
	Keep(b *batch.Batch, n int, x []float32)
}

// StemHooks are hooks with a Stem.
type StemHooks interface {
	Hooks
	Stem() Stem // or nil
}

// stemOf is the stem of hooks, or nil.
func stemOf(h Hooks) Stem {
	if s, ok := h.(StemHooks); ok {
		return s.Stem()
	}
	return nil
}

// start is the stream after the first n layers: of as many as the stem knows, or none.
func (m *Model) start(t *autograd.Tape, b *batch.Batch, h Hooks, stem Stem) (x *autograd.Tensor, n int) {
	if stem == nil {
		return m.embed(t, b.IDs, h), 0
	}
	x = t.Tensor(b.Tokens(), m.Spec.Width)
	if n = stem.Below(b, x.Data); n > 0 {
		return x, n
	}
	return m.embed(t, b.IDs, h), 0
}
