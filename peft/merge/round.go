package merge

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/imatrix"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/quant"
)

// Values of Options.Rounding: how a tensor that keeps its type is requantized. docs/quantization-aware.md says how much
// of a change each keeps.
const (
	// with calibration data what has the least error on it; else requantize where its error is small, or scales+dither
	RoundAuto       = "auto"
	RoundRequantize = "requantize"    // the sum is quantized from scratch, with new scales
	RoundNearest    = "nearest"       // each weight is rounded to the nearest code, scales stay
	RoundDither     = "dither"        // likewise, by stochastic rounding: up or down at random so that the mean is right
	RoundScales     = "scales"        // scales and zero points are fitted, codes stay
	RoundBoth       = "scales+dither" // scales first, stochastic rounding for what they miss
	RoundCompensate = "compensate"    // stochastic rounding; later weights compensate the errors on calibration data
	RoundDescent    = "descent"       // coordinate descent over codes, scales and zero points on calibration data
)

// roundings are all of them.
var roundings = []string{RoundAuto, RoundRequantize, RoundNearest, RoundDither, RoundScales, RoundBoth, RoundCompensate,
	RoundDescent}

// NeedsCalibration says whether a rounding is by what calibration data say.
func NeedsCalibration(rounding string) bool {
	return rounding == RoundCompensate || rounding == RoundDescent
}

// Check reports an unknown rounding; "" is RoundAuto.
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
		m.importances = map[*imatrix.Entry][]float32{}
	}
	return err
}

// importanceOf is how much the columns of a weight matter; nil without an importance matrix.
func (m *merger) importanceOf(l *model.Linear, to gguf.Type) ([]float32, error) {
	if m.imatrix == nil {
		return nil, nil
	}
	names := m.base.Model.GGUFTensors(l)
	var entry *imatrix.Entry
	for i := 0; i < len(names) && entry == nil; i++ {
		entry = m.imatrix.Entry(names[i])
	}
	switch {
	case entry == nil && !quant.NeedsImportance(to):
		return nil, nil
	case entry == nil:
		return nil, fmt.Errorf("tensor %s: the importance matrix %s has no entry of it", names[0], m.opt.Imatrix)
	}
	w := m.importances[entry]
	if w == nil {
		w = entry.Importance()
		m.importances[entry] = w
	}
	matrices := 1
	if l.Role.Kind() == arch.Experts {
		matrices = m.base.Model.Spec.At(l.Layer).Experts.Count
	}
	if len(w) != matrices*l.W.Cols {
		return nil, fmt.Errorf("tensor %s: the importance matrix %s has %d values, expected %d", entry.Name, m.opt.Imatrix,
			len(w), matrices*l.W.Cols)
	}
	return w[l.Expert*l.W.Cols:][:l.W.Cols], nil
}

// roundingOf is the rounding of a weight, as far as it is known before its changes are.
func (m *merger) roundingOf(c *mergeMap) string {
	rounding := cmp.Or(m.opt.Rounding, RoundAuto)
	if c.to != c.w.Type || !quant.HasCodes(c.to) || quant.HasPoints(c.to) && m.choosesPoints() {
		return RoundRequantize
	}
	return rounding
}

// choosesPoints says whether the points of a lattice type are chosen anew: their moves are coarse, and are not made at
// random unless that is asked for.
func (m *merger) choosesPoints() bool {
	switch m.opt.Rounding {
	case RoundAuto, "":
		return m.opt.Calibration == nil
	case RoundRequantize, RoundCompensate:
		return true
	}
	return false
}

// Quantizing from scratch is for tensors of which it keeps enough: its error is then smaller than the noise of
// stochastic rounding.
const (
	enoughRecovery = 0.9
	sampledRows    = 64
)

// chooseRounding resolves RoundAuto by how much of the changes of some rows quantizing from scratch would keep. Points
// of a lattice that need an importance matrix stay where there is none.
func (c *mergeMap) chooseRounding() {
	if c.rounding != RoundAuto {
		return
	}
	if c.scalesRows() {
		c.rounding = RoundScales // exact but for the rounding of the scales
		return
	}
	if quant.NeedsImportance(c.to) && c.importance == nil {
		c.rounding = RoundScales
		return
	}
	c.rounding = RoundRequantize
	var stats mergeStats
	stats.measure(c.requantizer(c.rounding).Sample(min(c.w.Rows, sampledRows), 1, c.load), c.w.Cols)
	if stats.recovery() < enoughRecovery {
		c.rounding = RoundBoth
	}
}

// scalesRows reports whether all that changes is that rows are multiplied.
func (c *mergeMap) scalesRows() bool {
	for i := range c.changes {
		if !c.changes[i].ScalesRows() {
			return false
		}
	}
	return len(c.changes) > 0
}

// requantizer makes the weight's rows by the chosen rounding.
func (c *mergeMap) requantizer(rounding string) *requant.Requantizer {
	r := requant.Rounding{Seed: c.seed, Importance: c.importance}
	switch rounding {
	case RoundRequantize:
		r.Anew, r.Type = true, c.to
	case RoundNearest:
		r.Codes = requant.NearestCodes
	case RoundDither:
		r.Codes = requant.StochasticCodes
	case RoundScales:
		r.FitScales = true
	case RoundBoth:
		r.Codes, r.FitScales = requant.StochasticCodes, true
	}
	return &requant.Requantizer{Base: &c.w, Rounding: r}
}
