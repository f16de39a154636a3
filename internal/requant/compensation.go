package requant

import (
	"errors"
	"slices"

	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/linalg"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// Hessian is XᵀX (N, N) of inputs X (tokens, N) of a matrix: half of the second derivative of |X·wᵀ|² by a row w.
type Hessian struct {
	N         int
	Tokens    int               // rows of X
	Precision kernels.Precision // to which inputs are rounded before they are multiplied
	sum       []float32         // above the diagonal it is missing until mirror
}

// NewHessian is that of no input of n columns.
func NewHessian(n int) *Hessian { return &Hessian{N: n, sum: make([]float32, n*n)} }

// Add adds inputs x (tokens, N).
func (h *Hessian) Add(x []float32) {
	const strip = 256
	n := h.N
	h.Tokens += len(x) / n
	if h.Precision != kernels.F32 {
		kernels.GemmTPrec(h.Precision, n, n, len(x)/n, x, n, x, 1, h.sum)
		return
	}
	for c0 := 0; c0 < n; c0 += strip {
		c1 := min(n, c0+strip)
		kernels.Gemm(true, false, n-c0, c1-c0, len(x)/n, 1, x[c0:], n, x[c0:], n, 1, h.sum[c0*n+c0:], n)
	}
}

// mirror completes the matrix.
func (h *Hessian) mirror() {
	n := h.N
	kernels.Parallel(n, func(i int) {
		for j := i + 1; j < n; j++ {
			h.sum[i*n+j] = h.sum[j*n+i]
		}
	})
}

// mean is that of the diagonal.
func (h *Hessian) mean() (mean float64) {
	for i := range h.N {
		mean += float64(h.sum[i*h.N+i]) / float64(h.N)
	}
	return mean
}

// Damping is what a descent adds to the diagonal, as a share of its mean: the fewer tokens there are for each column,
// the less the sums over them are trusted.
func (h *Hessian) Damping() float64 { return 0.01 + float64(h.N)/float64(max(1, h.Tokens)) }

// damp adds to the diagonal.
func (h *Hessian) damp(by float64) {
	for i := range h.N {
		h.sum[i*h.N+i] += float32(by)
	}
}

// Compensation says how the weights of a row that are still to be rounded compensate the errors of those that are:
// columns are rounded from the last to the first, and the target of each is its own value plus the errors so far times
// their gains.
type Compensation struct {
	n    int
	gain []float32 // (n, n): row i has what columns 0 to i-1 add of the error of column i; the rest is 0
}

// dampings are shares of the mean of a Hessian's diagonal that are tried as an addition to the diagonal. With little
// of it errors are compensated as the Hessian says, which changes nearly all codes; with more the errors spread less,
// which is better where changes are much smaller than the steps.
var dampings = []float64{0.01, 0.3, 10}

// A Changed is a matrix, its changes, and the ways in which they may be rounded. The first is that of the Requantizer.
type Changed struct {
	*Requantizer
	Load       Source
	Compensate bool // with errors that later weights of the row compensate, at the damping that is best
	Descend    bool // by coordinate descent from the base's blocks
	Anew       bool // from scratch
}

// Choose chooses for each of some matrices, which all read the inputs of the Hessian, the way in which its rows have
// the least |X·(w' - w)ᵀ|², measured on some of them, of those that keep the change. It calls use with the Rounding for
// each in turn. Inputs and changes that are not finite are errors. The Hessian takes no more inputs after it.
func (h *Hessian) Choose(list []Changed, use func(i int, rounding Rounding) error) error {
	h.mirror()
	best := make([]Rounding, len(list))
	least, enough, damping := make([]float64, len(list)), make([]float64, len(list)), make([]float64, len(list))
	try := func(i int, rounding Rounding) bool {
		kept, e := list[i].sample(h, rounding)
		if !(e < least[i] && (rounding.Codes == StochasticCodes || kept >= enough[i])) {
			return false
		}
		best[i], least[i], damping[i] = rounding, e, 0
		return true
	}
	descent := &Descent{Cross: &Cross{Hessian: h}, Damping: h.Damping(), Sweeps: 1}
	for i := range list {
		c := &list[i]
		best[i] = c.Rounding
		enough[i], least[i] = c.sample(h, c.Rounding)
		if enough[i] > keptAtLeast || c.Codes == StochasticCodes {
			enough[i] = keptAtLeast
		}
		if c.Anew {
			try(i, c.anew(h))
		}
		if c.Descend {
			try(i, c.descentBy(h, descent))
		}
	}
	shares := dampings
	if !slices.ContainsFunc(list, func(c Changed) bool { return c.Compensate }) {
		shares = nil
	}
	for _, share := range shares {
		compensation, err := newCompensation(h, share)
		if err != nil {
			continue // and the next one is better conditioned
		}
		for i := range list {
			if list[i].Compensate && try(i, list[i].compensatedBy(compensation)) {
				best[i].Compensation, damping[i] = nil, share // all of them together may not fit into memory
			}
		}
	}
	for i := range list {
		if !floats.Finite(least[i]) {
			return errors.New("the inputs or the changes are not finite")
		}
		if damping[i] > 0 {
			best[i].Compensation, _ = newCompensation(h, damping[i])
		}
		if err := use(i, best[i]); err != nil {
			return err
		}
	}
	return nil
}

// compensatedBy is the rounding with compensation.
func (t *Changed) compensatedBy(c *Compensation) Rounding {
	return Rounding{Codes: StochasticCodes, Seed: t.Seed, Compensation: c}
}

// anew is the rounding from scratch, where columns matter as their inputs are large, unless it is known better.
func (t *Changed) anew(h *Hessian) Rounding {
	r := Rounding{Anew: true, Type: t.Base.Type, Importance: t.Importance}
	if r.Importance == nil {
		r.Importance = make([]float32, h.N)
		for i := range r.Importance {
			r.Importance[i] = h.sum[i*h.N+i]
		}
	}
	return r
}

// descentBy is the rounding by descent. Searching for the least error loses a part of changes that are small beside the
// steps, the same one in all rows. So they are enlarged until what the inputs make of them is, on average, what was
// asked for: r = ⟨X·Δ', X·Δ⟩/⟨X·Δ, X·Δ⟩ is measured with the changes as they are and enlarged by 1/r, and the line
// through both says by how much they are.
func (t *Changed) descentBy(h *Hessian, d *Descent) Rounding {
	rounding := Rounding{Descent: d, Gain: 1}
	kept, _ := t.sample(h, rounding)
	if !(kept > 0) {
		return rounding
	}
	rounding.Gain = float32(min(max(1/kept, 1/mostGain), mostGain))
	if then, _ := t.sample(h, rounding); then != kept {
		gain := 1 + (1-kept)/(then-kept)*(float64(rounding.Gain)-1)
		rounding.Gain = float32(min(max(gain, 1/mostGain), mostGain))
	}
	return rounding
}

// keptAtLeast is the share of changes that a rounding whose mean is not right has to keep in what the inputs make of
// them, unless the first way keeps less. A small error is not enough: errors of single weights cancel, and what is lost
// of a change is lost in all of them.
const keptAtLeast = 0.95

// mostGain is how much changes are enlarged at most.
const mostGain = 3

// Rows are sampled from sampledPlaces places, sampledRows from each.
const (
	sampledPlaces = 4
	sampledRows   = 16
)

// sample measures on some rows w of the matrix, by their change Δ and what rounding makes of it, Δ': the share of the
// change that is kept in what the inputs make of it, ⟨X·Δ', X·Δ⟩/⟨X·Δ, X·Δ⟩, and the error Σ |X·(Δ' - Δ)ᵀ|².
func (t *Changed) sample(h *Hessian, rounding Rounding) (kept, missed float64) {
	places := min(sampledPlaces, t.Base.Rows)
	q := Requantizer{t.Base, rounding}
	b := q.Sample(places, min(sampledRows, t.Base.Rows/places), t.Load)
	for i, v := range b.Old {
		b.New[i] -= v + b.Change[i]
	}
	product := b.Old
	multiply := func(x []float32) {
		kernels.Gemm(false, false, len(x)/h.N, h.N, h.N, 1, x, h.N, h.sum, h.N, 0, product, h.N)
	}
	multiply(b.New)
	for i, v := range product {
		missed += float64(v) * float64(b.New[i])
	}
	var got, want float64
	multiply(b.Change)
	for i, v := range product {
		want += float64(v) * float64(b.Change[i])
		got += float64(v) * float64(b.New[i])
	}
	return 1 + got/want, missed
}

// newCompensation makes of the Hessian of a matrix's inputs X the gains by which |X·(w' - w)ᵀ|² stays small (Frantar et
// al. 2022, "GPTQ"), by way of its Cholesky factor, as Chee et al. 2023 ("QuIP") show to be the same.
func newCompensation(h *Hessian, damping float64) (*Compensation, error) {
	n, mean := h.N, h.mean()
	c := &Compensation{n, slices.Clone(h.sum)}
	for i := range n {
		c.gain[i*n+i] += float32(damping * mean)
	}
	if err := linalg.Cholesky(c.gain, n); err != nil {
		return nil, err
	}
	c.normalize()
	return c, nil
}

// normalize makes gains of the Cholesky factor: each column is divided by its element on the diagonal.
func (c *Compensation) normalize() {
	n := c.n
	inverse := make([]float32, n)
	for i := range inverse {
		inverse[i] = 1 / c.gain[i*n+i]
	}
	kernels.Parallel(n, func(i int) {
		row := c.gain[i*n : (i+1)*n]
		for j := range row[:i] {
			row[j] *= inverse[j]
		}
		clear(row[i:])
	})
}

// compensatedColumns is how many columns are rounded between two products.
const compensatedColumns = 64

// round rounds want (rows, n) to codes, up or down by the thresholds (rows, n).
func (c *Compensation) round(codes []quant.Codes, want, thresholds []float32) {
	n, rows := c.n, len(codes)
	missed := make([]float32, rows*n)
	sums := make([]float32, rows*compensatedColumns)
	for k1 := n; k1 > 0; {
		k0 := max(0, k1-compensatedColumns)
		width := k1 - k0
		if k1 < n {
			kernels.Gemm(false, false, rows, width, n-k1, 1, missed[k1:], n, c.gain[k1*n+k0:], n, 0, sums, width)
		}
		kernels.Parallel(rows, func(r int) {
			row := func(x []float32) []float32 { return x[r*n : (r+1)*n] }
			c.roundColumns(&codes[r], row(want), row(thresholds), row(missed), sums[r*width:(r+1)*width], k0)
		})
		k1 = k0
	}
}

// roundColumns rounds columns of one row from k0 on, as many as there are sums of the errors of the columns after them.
func (c *Compensation) roundColumns(codes *quant.Codes, want, thresholds, missed, sums []float32, k0 int) {
	for i := len(sums) - 1; i >= 0; i-- {
		k := k0 + i
		missed[k] = want[k] - codes.Round(k, want[k]+sums[i], thresholds[k])
		kernels.Axpy(missed[k], c.gain[k*c.n+k0:k*c.n+k], sums[:i])
	}
}

// compensate makes pieces of rows, of which b is all the weights, with compensation.
func (q *Requantizer) compensate(b Rows, each func(do func(p piece)), load Source) {
	cols, size := q.Base.Cols, q.Base.RowSize()
	codes, u := make([]quant.Codes, len(b.New)/cols), make([]float32, len(b.New))
	each(func(p piece) {
		load(p.b, p.r0, p.r1)
		copy(p.b.New, p.b.Old)
		kernels.Add(p.b.New, p.b.Change)
		for i := range p.r1 - p.r0 {
			at := p.from + i
			thresholds(u[at*cols:(at+1)*cols], q.Seed, p.r0+i)
			codes[at].Load(q.Base.Type, q.BaseRow(p.r0+i))
		}
	})
	q.Compensation.round(codes, b.New, u)
	each(func(p piece) {
		for i := range p.r1 - p.r0 {
			codes[p.from+i].Store(p.dst[i*size : (i+1)*size])
		}
		quant.Dequantize(q.Base.Type, p.b.New, p.dst)
	})
}
