package merge

import (
	"context"
	"fmt"
	"slices"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/calibrate"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/memory"
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
	hooks  attach.Stack
	stream *calibrate.Stream
	next   int // the layer that is to run
}

// checkMemory refuses a calibration that needs more memory than there is: for the streams of all batches, the pass of
// one through a layer, and the Hessians of a layer's inputs with what is computed of them.
func checkMemory(b *attach.Base, set *attach.Data) error {
	tokens := min(calibrationTokens, set.Tokens())
	batch := min(max(calibrationBatch, set.Longest()), set.Tokens())
	needed := int64(tokens)*int64(b.Model.Spec.Width)*4 + b.Model.ForwardBytes(batch)
	most := int64(0)
	for _, l := range b.Model.Layers {
		inputs := map[int]int64{} // by their width: those of the same width mostly are the same
		for _, m := range l.Linears() {
			if m.Role.Kind() != arch.Experts {
				inputs[m.W.Cols] = 3 * 4 * int64(m.W.Cols) * int64(m.W.Cols)
			}
		}
		sum := int64(0)
		for _, bytes := range inputs {
			sum += bytes
		}
		most = max(most, sum)
	}
	return memory.Check("calibration", needed+most)
}

// newCalibration runs the text up to the first layer.
func newCalibration(b *attach.Base, adapters []attach.Scaled, set *attach.Data) (*calibration, error) {
	if err := attach.CheckSet(b, set, 0, attach.AdaptersOf(adapters)...); err != nil {
		return nil, fmt.Errorf("calibration: %w", err)
	}
	if err := b.Model.RunsByLayers(); err != nil {
		return nil, fmt.Errorf("calibration: %w", err)
	}
	hooks, err := attach.BindAll(b, adapters)
	if err != nil {
		return nil, err
	}
	stream, err := calibrate.NewStream(b.Model, set, calibrationTokens, calibrationBatch, hooks, hooks.Expand)
	if err != nil {
		return nil, err
	}
	return &calibration{hooks: hooks, stream: stream}, nil
}

// layer takes the text through the next layer and gives the Hessians of those of its linear maps that are wanted. Maps
// of one input share one; those that no token went through, as experts may be, have none. Unless it is the last time
// for the layer, the same one is next.
func (c *calibration) layer(ctx context.Context, last bool,
	wanted func(l *model.Linear) bool) (map[*model.Linear]*requant.Hessian, error) {
	watch := &inputWatch{Stack: c.hooks, wanted: wanted, found: map[*model.Linear]*requant.Hessian{}}
	for j := range c.stream.Batches() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		watch.last = nil
		c.stream.Step(j, c.next, watch, last)
	}
	if last {
		c.next++
	}
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

// chooseMeasured decides which weights are rounded by what calibration data say: it does not measure the ends of the
// model, floats have no codes, and factors of rows are stored in the scales.
func (m *merger) chooseMeasured() {
	for l, c := range m.maps {
		switch {
		case !NeedsCalibration(c.rounding) && (c.rounding != RoundAuto || m.opt.Calibration == nil):
		case l.Layer >= 0 && c.changed() && c.keepsBlocks() && !c.exact() && !c.scalesRows():
			c.measured = true
		default:
			c.rounding = RoundAuto
		}
	}
}

// prepare makes the blocks of a measured weight, and those of all weights of its layer, whose inputs are measured at
// the same time. One that no token goes through is left to RoundAuto.
func (m *merger) prepare(c *mergeMap) (err error) {
	if m.calibration == nil && c.ready == nil {
		if m.calibration, err = newCalibration(m.base, m.adapters, handle.Data(m.opt.Calibration)); err != nil {
			return err
		}
	}
	for c.measured && c.ready == nil {
		if err := m.prepareLayer(); err != nil {
			return err
		}
	}
	return nil
}

// prepareLayer makes the blocks of the measured weights of the next layer.
func (m *merger) prepareLayer() error {
	c := m.calibration
	if m.opt.Progress != nil {
		what := fmt.Sprintf("calibrating layer %d of %d", c.next+1, len(m.base.Model.Layers))
		m.opt.Progress(Progress{Tensor: what, Bytes: m.written, Size: m.size})
	}
	groups := m.measuredTogether(m.base.Model.Layers[c.next].Linears(), hessianBytes)
	for i, group := range groups {
		found, err := c.layer(m.ctx, i == len(groups)-1, func(l *model.Linear) bool { return slices.Contains(group, l) })
		if err != nil {
			return err
		}
		if err := m.prepareMaps(group, found); err != nil {
			return err
		}
	}
	return nil
}

// hessianBytes is about how much memory the Hessians of a layer's experts take at once.
const hessianBytes = 1 << 30

// measuredTogether are the measured ones among the linear maps of a layer, in groups whose Hessians take no more
// memory than given, or are those of one expert. Maps that may share an input are in one group.
func (m *merger) measuredTogether(linears []*model.Linear, most int) [][]*model.Linear {
	others, byExpert := []*model.Linear{}, map[int][]*model.Linear{}
	experts := 0
	for _, l := range linears {
		switch c := m.maps[l]; {
		case c == nil || !c.measured:
		case l.Role.Kind() == arch.Experts:
			byExpert[l.Expert] = append(byExpert[l.Expert], l)
			experts = max(experts, l.Expert+1)
		default:
			others = append(others, l)
		}
	}
	groups, size := [][]*model.Linear{others}, 0
	for e := range experts {
		of, n := byExpert[e], 0
		for _, l := range of {
			n += 4 * l.W.Cols * l.W.Cols
		}
		if size += n; e == 0 || size > most {
			groups, size = append(groups, nil), n
		}
		last := len(groups) - 1
		groups[last] = append(groups[last], of...)
	}
	if len(others) == 0 && len(groups) > 1 {
		return groups[1:]
	}
	return groups
}

// prepareMaps makes the blocks of weights whose inputs are measured.
func (m *merger) prepareMaps(linears []*model.Linear, found map[*model.Linear]*requant.Hessian) error {
	for len(linears) > 0 {
		h := found[linears[0]]
		var sharing []*mergeMap
		rest := linears[:0:0]
		for _, l := range linears {
			switch {
			case found[l] != h:
				rest = append(rest, l)
			case h == nil:
				m.maps[l].measured, m.maps[l].rounding = false, RoundAuto
			default:
				sharing = append(sharing, m.maps[l])
			}
		}
		if h != nil {
			if err := m.prepareTogether(h, sharing); err != nil {
				return fmt.Errorf("tensor %s: %w", linears[0].Place(), err)
			}
		}
		linears = rest
	}
	return nil
}

// prepareTogether makes the blocks of weights that read the inputs of the Hessian, each in the way that is best, and
// keeps them until they are written.
func (m *merger) prepareTogether(h *requant.Hessian, maps []*mergeMap) error {
	list := make([]requant.Changed, len(maps))
	for i, c := range maps {
		least, all := RoundBoth, c.rounding == RoundAuto
		if quant.HasPoints(c.to) {
			least = RoundScales
		}
		list[i] = requant.Changed{Requantizer: c.requantizer(least), Load: c.load, Anew: all,
			Compensate: quant.HasCodes(c.to) && !quant.HasPoints(c.to) && (all || c.rounding == RoundCompensate),
			Descend:    all || c.rounding == RoundDescent}
		c.rounding = least
	}
	return h.Choose(list, func(i int, rounding requant.Rounding) (err error) {
		c := maps[i]
		switch {
		case rounding.Compensation != nil:
			c.rounding = RoundCompensate
		case rounding.Descent != nil:
			c.rounding = RoundDescent
		case rounding.Anew:
			c.rounding = RoundRequantize
		}
		blocks := make([]byte, 0, len(c.w.Data))
		q := &requant.Requantizer{Base: &c.w, Rounding: rounding}
		c.readyStats, err = c.requantize(m.ctx, q, &m.room, func(b []byte) error {
			blocks = append(blocks, b...)
			return nil
		})
		c.ready = blocks
		return err
	})
}

// keepsBlocks reports whether the weight keeps its type and that has scales and codes.
func (c *mergeMap) keepsBlocks() bool {
	return c.to == c.w.Type && quant.Quantized(c.to) && quant.GroupLen(c.to) > 0
}
