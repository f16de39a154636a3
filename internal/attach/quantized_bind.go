package attach

import (
	"slices"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/quant"
)

// gridAttachment is an adapter of an ordinary method at work on the grid of its base. The forward pass multiplies with the
// requantized blocks, and the method's own operations, beside it, serve the gradients of its tensors alone.
type gridAttachment struct {
	model.Hooks        // of the method
	inner       Effect // likewise
	sites       map[*model.Linear]*gridSite
	order       []*gridSite
	blocks      []*requant.Blocks // of the sites, in their order
	trained     bool
	unread      []float32 // values of results that nobody reads
}

// Effect is the method's with the requantized blocks in the place of its changes.
func (at *gridAttachment) Effect() Effect {
	e := at.inner
	e.Changes, e.Stepped, e.Blocks = at.changes, at.stepped, at.blocks
	return e
}

// gridSite is one matrix that is requantized.
type gridSite struct {
	requant.Blocks
	byRows bool      // the change is factors of rows, which the scales take up
	change Change    // with the present values
	bias   []float32 // what the method adds to the bias, or nil
}

// stepped rounds the weights that the method now makes.
func (at *gridAttachment) stepped(step, steps int) {
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

// shiftBiases takes up what the method does to biases.
func (at *gridAttachment) shiftBiases(changes []VectorChange) {
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
func (at *gridAttachment) Weights(l *model.Linear, w *quant.Matrix) *quant.Matrix {
	if s := at.sites[l]; s != nil {
		return &s.Requantized
	}
	return at.Hooks.Weights(l, w)
}

// Input leaves the inputs of requantized blocks as they are.
func (at *gridAttachment) Input(t *autograd.Tape, l *model.Linear, w *quant.Matrix, x *autograd.Tensor) *autograd.Tensor {
	if at.sites[l] != nil {
		return x
	}
	return at.Hooks.Input(t, l, w, x)
}

// Beside is none where blocks are requantized.
func (at *gridAttachment) Beside(l *model.Linear) autograd.LowRank {
	if at.sites[l] != nil {
		return autograd.LowRank{}
	}
	return at.Hooks.Beside(l)
}

// Linear records what backward needs for the gradients of the method's tensors.
func (at *gridAttachment) Linear(t *autograd.Tape, l *model.Linear, x, y *autograd.Tensor) *autograd.Tensor {
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

// beside is the linear map with the method's own operations, over the blocks of the base. Its value is computed as far as the
// gradients of the method's tensors depend on it.
func (at *gridAttachment) beside(t *autograd.Tape, l *model.Linear, x *autograd.Tensor) *autograd.Tensor {
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
func (at *gridAttachment) changes() map[*model.Linear]Change {
	all := make(map[*model.Linear]Change, len(at.sites))
	for l, s := range at.sites {
		all[l] = Change{AddRows: s.AddRows, Exact: &s.change}
	}
	return all
}

// requantize makes the blocks of all rows.
func (s *gridSite) requantize() {
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
func (s *gridSite) scaleRow(r int, factor float32, m *requant.Scratch) {
	m.Scales(s.Base, r)
	for g := range m.Scale {
		m.Scale[g] *= factor
		m.Offset[g] *= factor
	}
	s.SetRow(r, requant.Change{Scale: m.Scale, Offset: m.Offset}, m)
}
