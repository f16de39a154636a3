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
	N   int
	sum []float32 // above the diagonal it is missing until mirror
}

// NewHessian is that of no input of n columns.
func NewHessian(n int) *Hessian { return &Hessian{n, make([]float32, n*n)} }

// Add adds inputs x (tokens, N).
func (h *Hessian) Add(x []float32) {
	const strip = 256
	n := h.N
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

// A Compensated is a matrix that may be requantized with compensation, and its changes. Without it, it is rounded as
// the Requantizer says.
type Compensated struct {
	*Requantizer
	Load Source
}

// Compensate chooses for each of some matrices, which all read the inputs of the Hessian, the damping with which its
// rows have the least |X·(w' - w)ᵀ|², measured on some of them, or no compensation. It calls use with the Rounding for
// each in turn. Inputs and changes that are not finite are errors. The Hessian takes no more inputs after it.
func (h *Hessian) Compensate(list []Compensated, use func(i int, rounding Rounding) error) error {
	h.mirror()
	best, least := make([]int, len(list)), make([]float64, len(list))
	for i := range list {
		best[i], least[i] = -1, list[i].sampleError(h, list[i].Rounding)
	}
	for d, share := range dampings {
		c, err := newCompensation(h, share)
		if err != nil {
			continue // and the next one is better conditioned
		}
		for i := range list {
			if e := list[i].sampleError(h, list[i].compensatedBy(c)); e < least[i] {
				best[i], least[i] = d, e
			}
		}
	}
	for i := range list {
		if !floats.Finite(least[i]) {
			return errors.New("the inputs or the changes are not finite")
		}
		rounding := list[i].Rounding
		if best[i] >= 0 { // computed again, because all of them together may not fit into memory
			c, _ := newCompensation(h, dampings[best[i]])
			rounding = list[i].compensatedBy(c)
		}
		if err := use(i, rounding); err != nil {
			return err
		}
	}
	return nil
}

// compensatedBy is the rounding with compensation.
func (t *Compensated) compensatedBy(c *Compensation) Rounding {
	return Rounding{Codes: StochasticCodes, Seed: t.Seed, Compensation: c}
}

// Rows are sampled from sampledPlaces places, sampledRows from each.
const (
	sampledPlaces = 4
	sampledRows   = 16
)

// sampleError is Σ |X·(w' - w)ᵀ|² over some rows w of the matrix.
func (t *Compensated) sampleError(h *Hessian, rounding Rounding) (sum float64) {
	places := min(sampledPlaces, t.Base.Rows)
	q := Requantizer{t.Base, rounding}
	b := q.Sample(places, min(sampledRows, t.Base.Rows/places), t.Load)
	missed := b.New
	for i, v := range b.New {
		missed[i] = b.Old[i] + b.Change[i] - v
	}
	n := h.N
	kernels.Gemm(false, false, len(missed)/n, n, n, 1, missed, n, h.sum, n, 0, b.Old, n)
	for i, v := range b.Old {
		sum += float64(v) * float64(missed[i])
	}
	return sum
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
