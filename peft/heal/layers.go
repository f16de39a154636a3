package heal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/calibrate"
	"github.com/peftconv/peftconv/internal/memory"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// passTokens is about how many tokens go through a layer at once.
const passTokens = 2048

// stream is the calibration text on its way through a model.
type stream struct {
	*calibrate.Stream
	blocks map[*model.Linear][]byte // of linear maps that are made anew
}

// newStream is the text before the first layer.
func (h *healer) newStream(b *attach.Base, set *attach.Data, blocks map[*model.Linear][]byte) (*stream, error) {
	s, err := calibrate.NewStream(b.Model, set, h.opt.Tokens, passTokens, model.NoHooks{}, nil)
	if err != nil {
		return nil, err
	}
	s.Precision(kernels.AutoPrecision())
	return &stream{s, blocks}, nil
}

// enough is what a pass panics with once all has been seen that was asked for.
type enough struct{}

// step takes a batch through a layer, and watch, which may be nil, sees the inputs of its linear maps; where it returns
// false the pass ends there. Otherwise the next layer reads what comes out.
func (s *stream) step(j, layer int, watch func(m *model.Linear, x *autograd.Tensor) (more bool)) {
	defer func() {
		if r := recover(); r != nil && r != (enough{}) {
			panic(r)
		}
	}()
	s.Step(j, layer, &layerHooks{blocks: s.blocks, watch: watch}, watch == nil)
}

// pass takes all batches through a layer.
func (s *stream) pass(ctx context.Context, layer int) error {
	for j := range s.Batches() {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.step(j, layer, nil)
	}
	return nil
}

// inputs finds which linear maps of a layer read the same input, in the order in which they are computed.
func (s *stream) inputs(layer int) (groups [][]*model.Linear) {
	var last *autograd.Tensor
	s.step(0, layer, func(m *model.Linear, x *autograd.Tensor) bool {
		if x != last {
			groups, last = append(groups, nil), x
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], m)
		return true
	})
	return groups
}

// layerHooks multiply with the blocks that were made anew.
type layerHooks struct {
	model.NoHooks
	blocks map[*model.Linear][]byte
	watch  func(m *model.Linear, x *autograd.Tensor) (more bool)
}

// Weights implements model.Hooks.
func (h *layerHooks) Weights(l *model.Linear, w *quant.Matrix) *quant.Matrix {
	if made := h.blocks[l]; made != nil {
		anew := *w
		anew.Data = made
		return &anew
	}
	return w
}

// Linear implements model.Hooks.
func (h *layerHooks) Linear(_ *autograd.Tape, l *model.Linear, x, y *autograd.Tensor) *autograd.Tensor {
	if h.watch != nil && !h.watch(l, x) {
		panic(enough{})
	}
	return y
}

// changeable says whether the blocks of a linear map have scales or codes to change.
func changeable(m *model.Linear) bool {
	return m.Layer >= 0 && quant.Quantized(m.W.Type) && quant.GroupLen(m.W.Type) > 0
}

// checkMemory refuses a run that needs more memory than there is: for the streams, a pass through a layer, the sums
// over the inputs of the widest matrix, and what is known of some rows of it.
func (h *healer) checkMemory(set *attach.Data) error {
	tokens := min(h.opt.Tokens, set.Tokens())
	pass := min(max(passTokens, set.Longest()), set.Tokens())
	needed := 2*int64(tokens)*int64(h.base.Model.Spec.Width)*4 + h.base.Model.LayerBytes(pass) +
		h.theirs.Model.LayerBytes(pass)
	most := int64(0)
	for _, m := range h.base.Model.Matrices() {
		if changeable(m) {
			needed += int64(len(m.W.Data)) // the new blocks
			cols := int64(m.W.Cols)
			most = max(most, 4*(4*cols*cols+4*int64(m.W.Rows)*cols))
		}
	}
	return memory.Check("healing", needed+most)
}

// layers makes the blocks of all layers anew, one layer after the other.
func (h *healer) layers(ctx context.Context, set *attach.Data) (err error) {
	if h.skipped == len(h.base.Model.Layers) {
		h.done = h.skipped
		return nil
	}
	if h.student, err = h.newStream(h.base, set, h.blocks); err != nil {
		return err
	}
	if h.teacher, err = h.newStream(h.theirs, set, nil); err != nil {
		return err
	}
	defer func() { h.student, h.teacher = nil, nil }()
	h.foresee()
	for i := range h.base.Model.Layers {
		if i >= h.skipped {
			if err := h.layer(ctx, i); err != nil {
				return err
			}
		}
		start := time.Now()
		if err := errors.Join(h.teacher.pass(ctx, i), h.student.pass(ctx, i)); err != nil {
			return err
		}
		h.passing.time(passWork(h.sizes[i]), start)
		h.passing.done += passWork(h.sizes[i])
		h.done = i + 1
		if time.Since(h.saved) > saveAfter && i >= h.skipped {
			if err := h.save(); err != nil {
				return err
			}
		}
	}
	return nil
}

// layer makes the blocks of a layer anew. Maps of one input are made together, in the order in which they compute, so
// that each is measured on what those before it now give.
func (h *healer) layer(ctx context.Context, layer int) error {
	groups := h.student.inputs(layer)
	passes := passesTo(groups)
	for i, group := range groups {
		h.passing.done += passes[i]
		group = slices.DeleteFunc(group, func(m *model.Linear) bool { return !changeable(m) })
		if len(group) == 0 {
			continue
		}
		if err := h.together(ctx, layer, group); err != nil {
			return err
		}
	}
	return nil
}

// together makes the blocks of some maps of one input anew.
func (h *healer) together(ctx context.Context, layer int, group []*model.Linear) error {
	inputs, err := h.inputs(ctx, layer, group[0])
	if err != nil {
		return err
	}
	for _, m := range group {
		if err := h.rebuild(ctx, m, inputs); err != nil {
			return fmt.Errorf("tensor %s: %w", m.Place(), err)
		}
	}
	return nil
}

// inputs measures those of a linear map in the model as it is now, and how those of the teacher differ.
func (h *healer) inputs(ctx context.Context, layer int, of *model.Linear) (*requant.Cross, error) {
	c := requant.NewCross(of.W.Cols)
	c.Hessian.Precision = kernels.AutoPrecision()
	theirs := h.pairs[of]
	var there []float32
	add := func(x, y []float32) {
		start := time.Now()
		c.Add(x, y)
		h.summing.time(sumWork(of)/float64(h.student.Batches()), start)
	}
	for j := range h.student.Batches() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		h.teacher.step(j, layer, func(m *model.Linear, x *autograd.Tensor) bool {
			if m == theirs {
				there = append(there[:0], x.Data...)
			}
			return m != theirs
		})
		h.student.step(j, layer, func(m *model.Linear, x *autograd.Tensor) bool {
			switch {
			case m != of:
			case m.Role.Kind() == arch.Experts: // the teacher's may have got other tokens
				add(x.Data, x.Data)
			default:
				add(x.Data, there)
			}
			return m != of
		})
	}
	h.summing.done += sumWork(of)
	return c, nil
}

// rebuild makes the blocks of a linear map anew.
func (h *healer) rebuild(ctx context.Context, m *model.Linear, inputs *requant.Cross) error {
	w := m.W
	w.Data = slices.Clone(m.W.Data)
	few := float64(w.Cols) / float64(inputs.Hessian.Tokens) // columns for each token
	d := requant.Descent{Cross: inputs, Damping: inputs.Hessian.Damping(), Near: near + nearFew*few, Moves: moves,
		Sweeps: sweeps}
	start := time.Now()
	before, after, err := d.Improve(ctx, &w, h.weights[m].Row)
	if err != nil {
		return err
	}
	h.searching.time(searchWork(m), start)
	h.searching.done += searchWork(m)
	h.blocks[m] = w.Data
	h.made++
	if before > 0 {
		h.ratios += after / before
	} else {
		h.ratios++
	}
	if h.opt.Progress != nil {
		all := len(h.weights) * (len(h.base.Model.Layers) - h.skipped) / len(h.base.Model.Layers)
		h.opt.Progress(Progress{Tensor: m.Place(), Layer: m.Layer, Layers: len(h.base.Model.Layers), Before: before,
			After: after, Done: h.made, Matrices: all, Left: h.left()})
	}
	return nil
}
