package methods

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/quant"
)

func (m *qat) Bind(b *attach.Base, values, grads []attach.Param, strength float64) (attach.Attachment, error) {
	linears, err := m.linears(b, values)
	if err != nil {
		return nil, err
	}
	at := &qatAttachment{sites: make(map[*model.Linear]*QATSite, len(linears))}
	for i, l := range linears {
		mod := m.modules[i]
		s := &QATSite{
			Blocks: requant.NewBlocks(l, m.rounding(mod, l)), rowFactor: float32(strength), trained: grads != nil,
			factor: float32(m.settings.Alpha / float64(m.settings.Rank) * strength), fixed: mod.fixed(),
		}
		if mod.stored != nil {
			if err := s.start(mod, strength); err != nil {
				return nil, err
			}
		}
		pair := func(channel string) (p QATPair) {
			if at, ok := mod.low[channel]; ok {
				p.A, p.b = attach.Leaf(values, grads, at[0]), attach.Leaf(values, grads, at[1])
			}
			return p
		}
		s.scale, s.Offset, s.code = pair(method.ChannelScale), pair(method.ChannelOffset), pair(method.ChannelCode)
		if mod.row >= 0 {
			s.factors = attach.Leaf(values, grads, mod.row)
		}
		at.sites[l] = s
		at.order, at.blocks = append(at.order, s), append(at.blocks, &s.Blocks)
	}
	if m.master != "" {
		return at, b.AttachMaster(m.master, at.blocks)
	}
	return at, nil
}

// rounding is that of the codes of a module's weight.
func (m *qat) rounding(mod *qatModule, l *model.Linear) requant.Rounding {
	_, codes := mod.low[method.ChannelCode]
	if mod.fixed() { // its master weights had a part in the identity of all
		codes = slices.Contains(m.settings.channelsFor(l.W.Type), method.ChannelCode)
	}
	if !codes {
		return requant.Rounding{}
	}
	seed := m.settings.Seed
	if mod.stored != nil { // other thresholds than those that the blocks were rounded with
		seed ^= mod.stored.Seed()
	}
	return attach.RoundingOf(m.settings.Dither, seed, mod.name)
}

// start unpacks the blocks that an adapter has of a weight. Where it has tensors too, these change them.
func (s *QATSite) start(mod *qatModule, strength float64) error {
	switch {
	case strength != 1:
		return errkind.Errorf(attach.ErrOnlyBlocks, "adapter: it has the blocks of %s that were trained, whose effect "+
			"cannot be scaled by %g, as only that of pairs can", mod.name, strength)
	case s.fixed && s.trained:
		return errkind.Errorf(attach.ErrOnlyBlocks, "adapter: it has the blocks of %s that were trained, and no pairs to "+
			"train", mod.name)
	}
	if err := mod.stored.Unpack(s.Requantized.Data, s.Matrix); err != nil {
		err = fmt.Errorf("adapter: blocks of %s: %w", mod.name, err)
		if errors.Is(err, requant.ErrOtherBlocks) {
			err = errkind.Errorf(attach.ErrWrongBase, "%w: an adapter of another base?", err)
		}
		return err
	}
	if !s.fixed {
		start := s.Requantized
		start.Data = bytes.Clone(start.Data)
		s.Base = &start
	}
	return nil
}

// QATPair is the pair of matrices of one channel; a is nil where there is none.
type QATPair struct{ A, b *autograd.Tensor }

// addRow is dst += factor·B[row]·A, the same on every processor, because merging elsewhere must give the bytes of
// training.
func (p QATPair) addRow(dst []float32, row int, factor float32) {
	lowrank.AddCombination(dst, factor, p.b.Row(row), p.A.Data, p.A.Cols)
}

// qatAttachment is a quantization-aware adapter bound to a base.
type qatAttachment struct {
	attach.Plain
	sites map[*model.Linear]*QATSite
	order []*QATSite

	blocks []*requant.Blocks // of the sites, in their order
}

// QATSite is one matrix that is requantized.
type QATSite struct {
	requant.Blocks
	scale, Offset, code QATPair
	factors             *autograd.Tensor // of the rows, (out, 1), or nil
	factor, rowFactor   float32
	trained             bool
	fixed               bool // the requantized blocks are given, and there are no tensors
}

// Weights is the matrix with its requantized blocks.
func (at *qatAttachment) Weights(l *model.Linear, w *quant.Matrix) *quant.Matrix {
	if s := at.sites[l]; s != nil {
		return &s.Requantized
	}
	return w
}

// Effect is the requantized blocks.
func (at *qatAttachment) Effect() attach.Effect {
	return attach.Effect{Changes: at.changes, Stepped: at.stepped, Blocks: at.blocks}
}

// stepped requantizes with the present values.
func (at *qatAttachment) stepped(int, int) {
	for _, s := range at.order {
		if !s.fixed {
			s.requantize()
		}
	}
}

// requantize makes the blocks of all rows.
func (s *QATSite) requantize() {
	requant.EachPiece(s.Base.Rows, func(r0, r1 int, m *requant.Scratch) {
		for r := r0; r < r1; r++ {
			var c requant.Change
			if s.scale.A != nil || s.Offset.A != nil || s.factors != nil {
				s.wanted(r, m)
				c.Scale, c.Offset = m.Scale, m.Offset
			}
			if s.code.A != nil {
				c.Weights = m.Zeros(s.Base.Cols)
				s.code.addRow(c.Weights, r, s.factor)
			}
			s.SetRow(r, c, m)
		}
	})
}

// wanted computes the scales and offsets that the groups of a row should have.
func (s *QATSite) wanted(r int, m *requant.Scratch) {
	m.Scales(s.Base, r)
	m.Factor = floats.Sized(m.Factor, len(m.Scale))
	clear(m.Factor)
	if s.scale.A != nil {
		s.scale.addRow(m.Factor, r, s.factor)
	}
	if s.factors != nil {
		shift := float32(s.rowFactor * s.factors.Data[r])
		for g := range m.Factor {
			m.Factor[g] += shift
		}
	}
	for g, f := range m.Factor {
		m.Scale[g] *= 1 + f
		m.Offset[g] *= 1 + f
	}
	if s.Offset.A != nil {
		s.Offset.addRow(m.Offset, r, s.factor)
	}
}

// Linear records what backward needs for the gradients.
func (at *qatAttachment) Linear(t *autograd.Tape, l *model.Linear, x, y *autograd.Tensor) *autograd.Tensor {
	s := at.sites[l]
	if s == nil || !s.trained {
		return y
	}
	rows := s.scale.A != nil || s.factors != nil // the gradient of the weights is needed
	codes := s.code.A != nil && rows && s.codesOfRows(x.Rows)
	if s.code.A != nil && !codes {
		t.TapLowRank(y, x, s.code.A, s.code.b, s.factor, 1)
	}
	if rows {
		t.TapRows(y, x, &GroupGradient{Site: s, codes: codes})
	} else if s.Offset.A != nil {
		t.TapLowRank(y, x, s.Offset.A, s.Offset.b, s.factor, quant.GroupLen(s.Base.Type))
	}
	return y
}

// codesOfRows reports whether the gradients of the codes' pair take less arithmetic from the gradient of the weights,
// where that is there, than from the inputs and the gradients of this many tokens.
func (s *QATSite) codesOfRows(tokens int) bool {
	out, in := s.Base.Rows, s.Base.Cols
	return tokens*(out+in) > out*in
}

// GroupGradient collects the gradients of the factors and offsets of all groups of a matrix.
type GroupGradient struct {
	Site           *QATSite
	Factor, Offset []float32 // (out, groups)
	weights        []float32 // of the present rows
	codes          bool      // it also adds those of the codes' pair
}

// AddRows sums the gradient of the weights over groups: as it is for offsets, times the weights of the base for
// factors.
func (g *GroupGradient) AddRows(t *autograd.Tape, r0, r1 int, dw []float32) {
	w := g.Site.Base
	groups, n := w.Groups(), quant.GroupLen(w.Type)
	if r0 == 0 {
		g.Factor, g.weights = t.Scratch(w.Rows*groups), t.Scratch((r1-r0)*w.Cols)
		if g.Site.Offset.A != nil {
			g.Offset = t.Scratch(w.Rows * groups)
		}
	}
	if g.codes {
		g.Site.code.addRows(dw, r0, r1, g.Site.factor)
	}
	requant.EachPiece(r1-r0, func(i0, i1 int, _ *requant.Scratch) {
		for r := r0 + i0; r < r0+i1; r++ {
			row, grad := g.weights[(r-r0)*w.Cols:][:w.Cols], dw[(r-r0)*w.Cols:][:w.Cols]
			w.Row(row, r)
			for j := range groups {
				from, to := j*n, min((j+1)*n, w.Cols)
				g.Factor[r*groups+j] = kernels.Dot(grad[from:to], row[from:to])
				if g.Offset != nil {
					g.Offset[r*groups+j] = sumOf(grad[from:to])
				}
			}
		}
	})
}

func sumOf(x []float32) (sum float32) {
	for _, v := range x {
		sum += v
	}
	return sum
}

// Done adds the gradients of factors and offsets to the tensors that these are made from.
func (g *GroupGradient) Done(*autograd.Tape) {
	s := g.Site
	if s.scale.A != nil {
		s.scale.addGradient(g.Factor, s.factor)
	}
	if s.Offset.A != nil {
		s.Offset.addGradient(g.Offset, s.factor)
	}
	if s.factors != nil {
		groups := s.Base.Groups()
		for r := range s.factors.Grad {
			s.factors.Grad[r] += s.rowFactor * sumOf(g.Factor[r*groups:(r+1)*groups])
		}
	}
}

// addGradient adds to the gradients of A and B those from the gradient d (out, groups) of factor·B·A.
func (p QATPair) addGradient(d []float32, factor float32) { p.addRows(d, 0, p.b.Rows, factor) }

// addRows adds to the gradients of A and B those from rows r0 to r1-1 of the gradient d (r1-r0, in) of factor·B·A.
func (p QATPair) addRows(d []float32, r0, r1 int, factor float32) {
	n, rank, in := r1-r0, p.A.Rows, p.A.Cols
	// dB += factor·d·Aᵀ
	kernels.Gemm(false, true, n, rank, in, factor, d, in, p.A.Data, in, 1, p.b.Grad[r0*rank:], rank)
	// dA += factor·Bᵀ·d
	kernels.Gemm(true, false, rank, in, n, factor, p.b.Data[r0*rank:], rank, d, in, 1, p.A.Grad, in)
}

// changes are the differences between the requantized blocks and those of the base.
func (at *qatAttachment) changes() map[*model.Linear]attach.Change {
	all := make(map[*model.Linear]attach.Change, len(at.sites))
	for l, s := range at.sites {
		all[l] = attach.Change{AddRows: s.AddRows}
	}
	return all
}
