package attach

import (
	"slices"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/quant"
)

// quantizedAttachment is an adapter of an ordinary method bound to a base, trained quantization-aware. The forward pass
// multiplies with the requantized blocks, and the method's own operations, beside it, serve the gradients of its
// tensors alone.
type quantizedAttachment struct {
	model.Hooks        // of the method
	inner       Effect // likewise
	sites       map[*model.Linear]*quantizedSite
	order       []*quantizedSite
	blocks      []*requant.Blocks // of the sites, in their order
	trained     bool
	unread      []float32 // values of unused results
}

// Effect is the method's, with the requantized blocks in place of its changes.
func (at *quantizedAttachment) Effect() Effect {
	e := at.inner
	e.Changes, e.Stepped, e.Blocks = at.changes, at.stepped, at.blocks
	return e
}

// quantizedSite is one matrix that is requantized.
type quantizedSite struct {
	requant.Blocks
	byRows bool      // the change is factors of rows, stored in the scales
	change Change    // with the present values
	bias   []float32 // what the method adds to the bias, or nil
}

// stepped requantizes with the method's new values.
func (at *quantizedAttachment) stepped(step, steps int) {
	if at.inner.Stepped != nil {
		at.inner.Stepped(step, steps)
	}
	for l, c := range at.inner.Changes() {
		at.sites[l].change = c
	}
	for _, s := range at.order {
		s.requantize()
	}
	if at.inner.Vectors != nil {
		at.shiftBiases(at.inner.Vectors())
	}
}

// shiftBiases applies the method's changes of biases.
func (at *quantizedAttachment) shiftBiases(changes []VectorChange) {
	for _, c := range changes {
		base := c.Base()
		if s := at.sites[c.Linear]; s != nil && base != nil {
			s.bias = slices.Clone(base)
			for i, f := range c.Factors {
				s.bias[i] *= f - 1
			}
		}
	}
}

// Weights is the matrix with its requantized blocks.
func (at *quantizedAttachment) Weights(l *model.Linear, w *quant.Matrix) *quant.Matrix {
	if s := at.sites[l]; s != nil {
		return &s.Requantized
	}
	return at.Hooks.Weights(l, w)
}

// Input leaves the inputs of requantized blocks as they are.
func (at *quantizedAttachment) Input(t *autograd.Tape, l *model.Linear, w *quant.Matrix,
	x *autograd.Tensor) *autograd.Tensor {
	if at.sites[l] != nil {
		return x
	}
	return at.Hooks.Input(t, l, w, x)
}

// Beside is nil where blocks are requantized.
func (at *quantizedAttachment) Beside(l *model.Linear) autograd.LowRank {
	if at.sites[l] != nil {
		return autograd.LowRank{}
	}
	return at.Hooks.Beside(l)
}

// Linear records what backward needs for the gradients of the method's tensors.
func (at *quantizedAttachment) Linear(t *autograd.Tape, l *model.Linear, x, y *autograd.Tensor) *autograd.Tensor {
	s := at.sites[l]
	if s == nil {
		return at.Hooks.Linear(t, l, x, y)
	}
	if s.bias != nil {
		y = t.AddBias(y, s.bias)
	}
	switch {
	case !at.trained:
		return y
	case !t.Recording():
		y.Require()
		return y
	}
	return t.Through(y, at.beside(t, l, x))
}

// beside is the linear map with the method's own operations, over the blocks of the base. Its value is computed as far
// as the gradients of the method's tensors depend on it.
func (at *quantizedAttachment) beside(t *autograd.Tape, l *model.Linear, x *autograd.Tensor) *autograd.Tensor {
	in := t.Detached(x)
	changed := at.Hooks.Input(t, l, &l.W, in)
	var y *autograd.Tensor
	switch {
	case at.inner.ReadsProduct != nil && at.inner.ReadsProduct(l):
		y = t.Linear(changed, &l.W)
	case changed != in:
		y = t.InputGradient(changed, &l.W)
	default:
		at.unread = floats.Sized(at.unread, x.Rows*l.W.Rows)
		y = autograd.NewConst(x.Rows, l.W.Rows, at.unread)
	}
	return at.Hooks.Linear(t, l, changed, y)
}

// changes are the differences between the requantized blocks and those of the base.
func (at *quantizedAttachment) changes() map[*model.Linear]Change {
	all := make(map[*model.Linear]Change, len(at.sites))
	for l, s := range at.sites {
		all[l] = Change{AddRows: s.AddRows, Exact: &s.change}
	}
	return all
}

// requantize makes the blocks of all rows.
func (s *quantizedSite) requantize() {
	cols := s.Base.Cols
	requant.EachPiece(s.Base.Rows, func(r0, r1 int, m *requant.Scratch) {
		if s.byRows {
			for r := r0; r < r1; r++ {
				s.scaleRow(r, s.change.Scaling.Rows[r], m)
			}
			return
		}
		change := m.Zeros((r1 - r0) * cols)
		s.change.AddRows(change, r0, r1)
		for r := r0; r < r1; r++ {
			s.SetRow(r, requant.Change{Weights: change[(r-r0)*cols:][:cols]}, m)
		}
	})
}

// scaleRow multiplies the scales and offsets of a row by a factor.
func (s *quantizedSite) scaleRow(r int, factor float32, m *requant.Scratch) {
	m.Scales(s.Base, r)
	for g := range m.Scale {
		m.Scale[g] *= factor
		m.Offset[g] *= factor
	}
	s.SetRow(r, requant.Change{Scale: m.Scale, Offset: m.Offset}, m)
}
