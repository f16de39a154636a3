package merge

import (
	"context"
	"fmt"
	"slices"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/quant"
)

// Calibration takes no more tokens than that, of examples spread evenly over the data, and passes that many at once.
const (
	calibrationTokens = 16384
	calibrationBatch  = 2048
)

// calibration runs a text through the base with its adapters, layer by layer.
type calibration struct {
	base    *attach.Base
	hooks   attach.Stack
	batches []*batch.Batch
	streams [][]float32 // (T, D) of each batch, at the input of
	next    int         // the layer that is to run
	tape    *autograd.Tape
}

// newCalibration runs the text up to the first layer.
func newCalibration(b *attach.Base, adapters []attach.Scaled, set *attach.Data) (*calibration, error) {
	if err := attach.CheckSet(b, set, 0, attach.AdaptersOf(adapters)...); err != nil {
		return nil, fmt.Errorf("calibration: %w", err)
	}
	hooks, err := attach.BindAll(b, adapters)
	if err != nil {
		return nil, err
	}
	c := &calibration{base: b, hooks: hooks, tape: autograd.NewTape()}
	c.tape.Record(false)
	for _, examples := range set.Batches(spread(set, calibrationTokens), calibrationBatch) {
		packed := new(batch.Batch)
		set.Batch(packed, examples)
		hooks.Expand(packed)
		c.tape.Reset(0)
		c.batches = append(c.batches, packed)
		c.streams = append(c.streams, slices.Clone(b.Model.Embedded(c.tape, packed, hooks).Data))
	}
	return c, nil
}

// spread is the indexes of examples that together have about as many tokens as given, evenly over all of a set.
func spread(set *attach.Data, tokens int) []int {
	n := len(set.Examples)
	if all := set.Tokens(); all > tokens {
		n = max(1, int(int64(n)*int64(tokens)/int64(all)))
	}
	chosen := make([]int, n)
	for i := range chosen {
		chosen[i] = i * len(set.Examples) / n
	}
	return chosen
}

// layer takes the text through the next layer and gives the Hessians of those of its linear maps that are wanted. Maps
// of one input share one.
func (c *calibration) layer(ctx context.Context,
	wanted func(l *model.Linear) bool) (map[*model.Linear]*requant.Hessian, error) {
	watch := &inputWatch{Stack: c.hooks, wanted: wanted, found: map[*model.Linear]*requant.Hessian{}}
	for j, b := range c.batches {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c.tape.Reset(0)
		x := c.tape.Tensor(b.Tokens(), c.base.Model.Spec.Width)
		copy(x.Data, c.streams[j])
		watch.last = nil
		copy(c.streams[j], c.base.Model.RunLayer(c.tape, b, watch, c.next, x).Data)
	}
	c.next++
	return watch.found, nil
}

// inputWatch adds inputs of linear maps to their Hessians.
type inputWatch struct {
	attach.Stack
	wanted  func(l *model.Linear) bool
	found   map[*model.Linear]*requant.Hessian
	last    *autograd.Tensor // the input that was added last, to
	hessian *requant.Hessian
}

// Linear implements model.Hooks.
func (w *inputWatch) Linear(t *autograd.Tape, l *model.Linear, x, y *autograd.Tensor) *autograd.Tensor {
	if w.wanted(l) {
		if w.last != x {
			w.last, w.hessian = x, w.found[l]
			if w.hessian == nil {
				w.hessian = requant.NewHessian(x.Cols)
			}
			w.hessian.Add(x.Data)
		}
		w.found[l] = w.hessian
	}
	return w.Stack.Linear(t, l, x, y)
}

// chooseCompensated decides which tensors are compensated, or how they are rounded instead: calibration does not
// measure the ends of the model, floats have no codes, and factors of rows are stored in the scales.
func (m *merger) chooseCompensated() {
	inLayers := map[*mergeTensor]bool{}
	for _, l := range m.base.Model.Linears() {
		if t := m.touched[l.Tensor]; t != nil {
			inLayers[t] = true
		}
	}
	for _, t := range m.touched {
		if t.rounding != RoundCompensate && (t.rounding != RoundAuto || m.opt.Calibration == nil) {
			continue
		}
		t.rounding = RoundAuto
		if inLayers[t] && t.hasCodes() && !t.exact() && !t.scalesRows() {
			t.rounding = RoundCompensate
		}
	}
}

// prepare makes the blocks of a compensated tensor, and those of all tensors of its layer, whose inputs are measured at
// the same time.
func (m *merger) prepare(t *mergeTensor) (err error) {
	if m.calibration == nil && t.ready == nil {
		if m.calibration, err = newCalibration(m.base, m.adapters, handle.Data(m.opt.Calibration)); err != nil {
			return err
		}
	}
	for t.ready == nil {
		if err := m.prepareLayer(); err != nil {
			return err
		}
	}
	return nil
}

// prepareLayer makes the blocks of the compensated tensors of the next layer.
func (m *merger) prepareLayer() error {
	c := m.calibration
	linears := m.base.Model.Layers[c.next].Linears()
	if m.opt.Progress != nil {
		what := fmt.Sprintf("calibrating layer %d of %d", c.next+1, len(m.base.Model.Layers))
		m.opt.Progress(Progress{Tensor: what, Bytes: m.written, Size: m.size})
	}
	compensated := func(l *model.Linear) bool {
		t := m.touched[l.Tensor]
		return t != nil && t.rounding == RoundCompensate
	}
	found, err := c.layer(m.ctx, compensated)
	if err != nil {
		return err
	}
	for len(linears) > 0 {
		h := found[linears[0]]
		var sharing []*mergeTensor
		rest := linears[:0:0]
		for _, l := range linears {
			switch {
			case found[l] != h:
				rest = append(rest, l)
			case h != nil:
				sharing = append(sharing, m.touched[l.Tensor])
			}
		}
		if h != nil {
			if err := prepareTensors(m.ctx, h, sharing); err != nil {
				return fmt.Errorf("tensor %s: %w", linears[0].Tensor, err)
			}
		}
		linears = rest
	}
	return nil
}

// prepareTensors makes the blocks of tensors that read the inputs of the Hessian, compensated or, where that is better,
// by RoundBoth, and keeps them until they are written.
func prepareTensors(ctx context.Context, h *requant.Hessian, tensors []*mergeTensor) error {
	list := make([]requant.Compensated, len(tensors))
	for i, t := range tensors {
		list[i] = requant.Compensated{Requantizer: t.requantizer(RoundBoth), Load: t.load}
	}
	return h.Compensate(list, func(i int, rounding requant.Rounding) (err error) {
		t := tensors[i]
		if rounding.Compensation == nil {
			t.rounding = RoundBoth
		}
		blocks := make([]byte, 0, len(t.w.Data))
		q := &requant.Requantizer{Base: &t.w, Rounding: rounding}
		t.readyStats, err = t.requantize(ctx, q, func(b []byte) error {
			blocks = append(blocks, b...)
			return nil
		})
		t.ready = blocks
		return err
	})
}

// hasCodes reports whether the tensor keeps its blocks and they have codes.
func (t *mergeTensor) hasCodes() bool { return t.to == t.w.Type && quant.HasIntegerCodes(t.to) }
