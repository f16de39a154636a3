package merge

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/imatrix"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// Values of Options.Rounding: how a tensor that keeps its type takes an adapter's change. docs/quantization-aware.md
// has what each keeps.
const (
	RoundAuto       = "auto"          // with calibration data compensate; else requantize where that keeps nearly all, or scales+dither
	RoundRequantize = "requantize"    // the sum is quantized as any weights are, with scales of its own
	RoundNearest    = "nearest"       // each weight goes to the level next to it, scales stay
	RoundDither     = "dither"        // likewise, up or down at random so that the mean is right
	RoundScales     = "scales"        // scales and minima move as well as they can, levels stay
	RoundBoth       = "scales+dither" // scales first, dither for what they miss
	RoundCompensate = "compensate"    // dither, of which the weights still to be rounded make good what it does to calibration data
)

// roundings are all of them.
var roundings = []string{RoundAuto, RoundRequantize, RoundNearest, RoundDither, RoundScales, RoundBoth, RoundCompensate}

// Check reports a rounding that there is not; "" is RoundAuto.
func (opt *Options) Check() error {
	if opt.Rounding == "" || slices.Contains(roundings, opt.Rounding) {
		return nil
	}
	return fmt.Errorf("rounding %q is not known, expected %s", opt.Rounding, strings.Join(roundings, ", "))
}

// openImatrix reads the importance matrix that the options name.
func (m *merger) openImatrix() (err error) {
	if m.opt.Imatrix != "" {
		m.imatrix, err = imatrix.Open(m.opt.Imatrix)
	}
	return err
}

// importanceOf is how much the columns of a weight matter; nil where nothing says so.
func (m *merger) importanceOf(l *model.Linear, to gguf.Type) ([]float32, error) {
	if m.imatrix == nil {
		return nil, nil
	}
	name, _ := m.base.Model.InGGUF(l)
	entry := m.imatrix.Entry(name)
	switch {
	case entry == nil && !quant.NeedsImportance(to):
		return nil, nil
	case entry == nil:
		return nil, fmt.Errorf("tensor %s: the importance matrix %s has no entry of it", name, m.opt.Imatrix)
	}
	w := entry.Importance()
	if len(w) != l.W.Cols {
		return nil, fmt.Errorf("tensor %s: the importance matrix %s has %d columns, expected %d", name, m.opt.Imatrix, len(w), l.W.Cols)
	}
	return w, nil
}

// roundingOf is the rounding of a tensor, as far as it is known before its changes are.
func (m *merger) roundingOf(t *mergeTensor) string {
	if t.to != t.w.Type || !quant.HasLevels(t.to) {
		return RoundRequantize
	}
	return cmp.Or(m.opt.Rounding, RoundAuto)
}

// Quantizing anew is left to tensors of which it keeps enough: what it misses is smaller then than what dither adds.
const (
	enoughRecovery = 0.95
	sampledRows    = 64
)

// chooseRounding settles RoundAuto by what quantizing anew would keep of the changes of some rows.
func (t *mergeTensor) chooseRounding() {
	if t.rounding != RoundAuto {
		return
	}
	if t.scalesRows() {
		t.rounding = RoundScales // which has that exactly, but for the rounding of the scales
		return
	}
	t.rounding = RoundRequantize
	rows := min(t.w.Rows, sampledRows)
	stats := make([]mergeStats, rows)
	kernels.Parallel(rows, func(i int) {
		r := i * t.w.Rows / rows
		t.mergeRows(make([]byte, t.w.RowSize()), stats[i:i+1], newRowBuffers(t.w.Cols), r, r+1)
	})
	var total mergeStats
	for _, s := range stats {
		total.add(s)
	}
	if total.recovery() < enoughRecovery {
		t.rounding = RoundBoth
	}
}

// ScalesRows reports whether all that changes is that rows are multiplied.
func (t *mergeTensor) scalesRows() bool {
	for i := range t.changes {
		if !t.changes[i].ScalesRows() {
			return false
		}
	}
	return len(t.changes) > 0
}

// roundRow writes row r of the tensor, of which the weights are old, with a change, in the grid of its own blocks.
func (t *mergeTensor) roundRow(dst []byte, old, change []float32, r int) {
	size := t.w.RowSize()
	base := t.w.Data[r*size : (r+1)*size]
	if t.rounding == RoundScales || t.rounding == RoundBoth {
		t.refit(dst, base, old, change, r)
		base = dst
	}
	switch t.rounding {
	case RoundNearest:
		quant.Recode(t.to, dst, base, change, quant.Rounding{})
	case RoundDither, RoundBoth:
		dither := make([]float32, len(change))
		requant.DitherRow(dither, t.seed, r)
		quant.Recode(t.to, dst, base, change, quant.Rounding{Dither: dither})
	}
}

// refit moves the scales of a row, and its offsets where there are any, to those of least squared error, and leaves in change
// what is still missing.
func (t *mergeTensor) refit(dst, base []byte, old, change []float32, r int) {
	groups, n := t.w.Groups(), quant.GroupLen(t.to)
	scale, offset := make([]float32, groups), make([]float32, groups)
	t.w.Grid(scale, offset, r)
	for g := range groups {
		from, to := g*n, min((g+1)*n, len(old))
		ds, do := fitGroup(old[from:to], change[from:to], part(t.importance, from, to), offset[g], quant.HasOffsets(t.to))
		scale[g] *= 1 + ds
		offset[g] += do
	}
	quant.Regrid(t.to, dst, base, scale, offset)
	now := quant.Matrix{Type: t.to, Rows: 1, Cols: len(old), Data: dst}
	row := make([]float32, len(old))
	now.Row(row, 0)
	for i, v := range row {
		change[i] -= v - old[i]
	}
}

// part is x[from:to], nil of nil.
func part(x []float32, from, to int) []float32 {
	if x == nil {
		return nil
	}
	return x[from:to]
}

// fitGroup is the relative change of a group's scale, and the change of its offset if it has one, that together come nearest to
// the changes of its weights.
func fitGroup(old, change, importance []float32, offset float32, affine bool) (scale, shift float32) {
	var sw, sp, spp, sc, spc float64
	for i, c := range change {
		w, p, d := 1.0, float64(old[i]-offset), float64(c)
		if importance != nil {
			w = float64(importance[i])
		}
		sw += w
		sp += w * p
		spp += w * p * p
		sc += w * d
		spc += w * p * d
	}
	if !affine {
		if spp == 0 {
			return 0, 0
		}
		return float32(spc / spp), 0
	}
	det := sw*spp - sp*sp
	if !(det > 1e-9*sw*spp) {
		return 0, 0
	}
	return float32((sw*spc - sp*sc) / det), float32((spp*sc - sp*spc) / det)
}
