package attach

import (
	"slices"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// gridAttachment is an adapter of an ordinary method at work on the grid of its base. The forward pass multiplies with the
// moved blocks, and the method's own operations, beside it, serve the gradients of its tensors alone.
type gridAttachment struct {
	model.Hooks        // of the method
	inner       Effect // likewise
	sites       map[*model.Linear]*gridSite
	order       []*gridSite
	trained     bool
	unread      []float32 // values of results that nobody reads
}

// Effect is the method's with the moved blocks in the place of its changes.
func (at *gridAttachment) Effect() Effect {
	e := at.inner
	e.Changes, e.Stepped, e.Blocks = at.changes, at.stepped, at.blocks()
	return e
}

// gridSite is one matrix with its blocks moved.
type gridSite struct {
	requant.MovedBlocks
	byRows bool      // the change is factors of rows, which the scales take up
	change Change    // with the present values
	bias   []float32 // what the method adds to the bias, or nil
}

// blocks are those of all sites.
func (at *gridAttachment) blocks() []*requant.MovedBlocks {
	all := make([]*requant.MovedBlocks, len(at.order))
	for i, s := range at.order {
		all[i] = &s.MovedBlocks
	}
	return all
}

// recoded are the linear maps whose levels move, in the order of the model, with their blocks.
func (at *gridAttachment) recoded(b *Base) (linears []*model.Linear, blocks []*requant.MovedBlocks) {
	for _, l := range b.Model.Linears() {
		if s := at.sites[l]; s != nil && !s.byRows {
			linears, blocks = append(linears, l), append(blocks, &s.MovedBlocks)
		}
	}
	return linears, blocks
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
		s.snap()
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

// Weights is the matrix with its blocks moved.
func (at *gridAttachment) Weights(l *model.Linear, w *quant.Matrix) *quant.Matrix {
	if s := at.sites[l]; s != nil {
		return &s.Snapped
	}
	return at.Hooks.Weights(l, w)
}

// Input leaves the inputs of moved blocks as they are.
func (at *gridAttachment) Input(t *autograd.Tape, l *model.Linear, w *quant.Matrix, x *autograd.Tensor) *autograd.Tensor {
	if at.sites[l] != nil {
		return x
	}
	return at.Hooks.Input(t, l, w, x)
}

// Beside is none where blocks are moved.
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

// changes are the differences between the moved blocks and those of the base.
func (at *gridAttachment) changes() map[*model.Linear]Change {
	all := make(map[*model.Linear]Change, len(at.sites))
	for l, s := range at.sites {
		all[l] = Change{AddRows: s.AddRows, Exact: &s.change}
	}
	return all
}

// snap moves the blocks of all rows.
func (s *gridSite) snap() {
	rows := s.Base.Rows
	kernels.Parallel((rows+requant.SnapRows-1)/requant.SnapRows, func(i int) {
		m := requant.SnapScratches.Get().(*requant.SnapScratch)
		defer requant.SnapScratches.Put(m)
		s.snapSome(i*requant.SnapRows, min(rows, (i+1)*requant.SnapRows), m)
	})
}

// snapSome makes some rows of the moved blocks.
func (s *gridSite) snapSome(r0, r1 int, m *requant.SnapScratch) {
	if s.byRows {
		factors := s.change.Scaling.Rows
		for r := r0; r < r1; r++ {
			s.scaleRow(r, factors[r], m)
		}
		return
	}
	cols := s.Base.Cols
	m.Change = floats.Sized(m.Change, (r1-r0)*cols)
	clear(m.Change)
	s.change.AddRows(m.Change, r0, r1)
	for r := r0; r < r1; r++ {
		s.Recode(r, s.BaseRow(r), m.Change[(r-r0)*cols:][:cols], m)
	}
}

// scaleRow multiplies the scales and offsets of a row by a factor.
func (s *gridSite) scaleRow(r int, factor float32, m *requant.SnapScratch) {
	m.Grid(s.Base, r)
	for g := range m.Scale {
		m.Scale[g] *= factor
		m.Offset[g] *= factor
	}
	quant.Regrid(s.Base.Type, s.Row(r), s.BaseRow(r), m.Scale, m.Offset)
}
