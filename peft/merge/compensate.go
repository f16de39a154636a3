package merge

import (
	"context"
	"errors"
	"slices"

	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/linalg"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// feedback says how the columns of a weight that are still to be rounded make good the errors of those that are: columns are
// rounded from the last to the first, and each aims at its own value plus the errors so far times their gains.
type feedback struct {
	n    int
	gain []float32 // (n, n): row i has what columns 0 to i-1 add of the error of column i; the rest is 0
}

// dampings are shares of the mean of a Hessian's diagonal that are tried as an addition to the diagonal. With little of it errors
// are made good as the Hessian says, and wander through nearly all levels on the way; the more, the less they spread, which is the
// better way where changes are much smaller than the steps.
var dampings = []float64{0.01, 0.3, 10}

// prepare makes the blocks of weights that the Hessian belongs to, each with the damping, or by RoundBoth, that on some of its
// rows has the least |X·(w' - w)ᵀ|². All of these keep the mean, so that nothing but their noise tells them apart.
func (h *hessian) prepare(ctx context.Context, tensors []*mergeTensor) error {
	h.mirror()
	best, least := make([]int, len(tensors)), make([]float64, len(tensors))
	for i, t := range tensors {
		best[i], least[i] = -1, t.sampleError(h, nil)
	}
	for d, share := range dampings {
		f, err := newFeedback(h, share)
		if err != nil {
			continue // and the next one is better conditioned
		}
		for i, t := range tensors {
			if e := t.sampleError(h, f); e < least[i] {
				best[i], least[i] = d, e
			}
		}
	}
	for i, t := range tensors {
		if !floats.Finite(least[i]) {
			return errors.New("the inputs or the changes are not finite")
		}
		var f *feedback
		if best[i] >= 0 {
			f, _ = newFeedback(h, dampings[best[i]])
		}
		if err := t.prepare(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// newFeedback makes of the Hessian of a weight's inputs X the gains by which |X·(w' - w)ᵀ|² stays small (Frantar et al. 2022,
// "GPTQ"), by way of its Cholesky factor, as Chee et al. 2023 ("QuIP") show to be the same.
func newFeedback(h *hessian, damping float64) (*feedback, error) {
	mean := 0.0
	for i := range h.n {
		mean += float64(h.sum[i*h.n+i]) / float64(h.n)
	}
	f := &feedback{h.n, slices.Clone(h.sum)}
	for i := range h.n {
		f.gain[i*h.n+i] += float32(damping * mean)
	}
	if err := linalg.Cholesky(f.gain, h.n); err != nil {
		return nil, err
	}
	f.normalize()
	return f, nil
}

// normalize makes gains of the Cholesky factor: each column is divided by its element on the diagonal.
func (f *feedback) normalize() {
	n := f.n
	inverse := make([]float32, n)
	for i := range inverse {
		inverse[i] = 1 / f.gain[i*n+i]
	}
	kernels.Parallel(n, func(i int) {
		row := f.gain[i*n : (i+1)*n]
		for j := range row[:i] {
			row[j] *= inverse[j]
		}
		clear(row[i:])
	})
}

// compensateColumns is how many columns are rounded between two products.
const compensateColumns = 64

// round brings rows of weights, given as their levels, to want (rows, n), up or down by dither (rows, n), and gives what they miss.
func (f *feedback) round(levels []quant.Codes, want, dither []float32) (missed []float32) {
	n, rows := f.n, len(levels)
	missed = make([]float32, rows*n)
	sums := make([]float32, rows*compensateColumns)
	for k1 := n; k1 > 0; {
		k0 := max(0, k1-compensateColumns)
		width := k1 - k0
		if k1 < n {
			kernels.Gemm(false, false, rows, width, n-k1, 1, missed[k1:], n, f.gain[k1*n+k0:], n, 0, sums, width)
		}
		kernels.Parallel(rows, func(r int) {
			f.roundColumns(&levels[r], want[r*n:(r+1)*n], dither[r*n:(r+1)*n], missed[r*n:(r+1)*n], sums[r*width:(r+1)*width], k0)
		})
		k1 = k0
	}
	return missed
}

// roundColumns rounds columns of one row from k0 on, as many as there are sums of what the columns after them missed.
func (f *feedback) roundColumns(l *quant.Codes, want, dither, missed, sums []float32, k0 int) {
	for i := len(sums) - 1; i >= 0; i-- {
		k := k0 + i
		missed[k] = want[k] - l.Round(k, want[k]+sums[i], dither[k])
		kernels.Axpy(missed[k], f.gain[k*f.n+k0:k*f.n+k], sums[:i])
	}
}

// hasGrid reports whether the levels of the tensor stay on a grid of their own.
func (t *mergeTensor) hasGrid() bool { return t.to == t.w.Type && quant.HasIntegerCodes(t.to) }

// compensate is mergeChunk of RoundCompensate.
func (t *mergeTensor) compensate(dst []byte, stats []mergeStats, b rowBuffers, r0 int) {
	cols, rows := t.w.Cols, len(stats)
	size := len(dst) / rows
	levels, dither := make([]quant.Codes, rows), make([]float32, rows*cols)
	t.inPieces(rows, func(from, to int) {
		t.aim(levels[from:to], dither[from*cols:to*cols], b.part(from*cols, to*cols), r0+from)
	})
	t.feedback.round(levels, b.merged, dither)
	t.inPieces(rows, func(from, to int) {
		for r := from; r < to; r++ {
			levels[r].Store(dst[r*size : (r+1)*size])
		}
		t.measure(dst[from*size:to*size], stats[from:to], b.part(from*cols, to*cols))
	})
}

// aim loads the levels of rows from r0 on, with their dither, and sets b.merged to what they should become.
func (t *mergeTensor) aim(levels []quant.Codes, dither []float32, b rowBuffers, r0 int) {
	t.load(b, r0, r0+len(levels))
	copy(b.merged, b.old)
	kernels.Add(b.merged, b.change)
	for i := range levels {
		requant.DitherRow(dither[i*t.w.Cols:(i+1)*t.w.Cols], t.seed, r0+i)
		levels[i].Load(t.to, t.w.Slice(r0+i, r0+i+1).Data)
	}
}

// samplePieces is from how many places a sample of rows comes, mergePiece at most from each.
const samplePieces = 4

// sampleError is Σ |X·(w' - w)ᵀ|² over some rows w of the tensor, rounded with feedback or, where that is nil, by RoundBoth.
func (t *mergeTensor) sampleError(h *hessian, f *feedback) (sum float64) {
	cols := t.w.Cols
	places := min(samplePieces, t.w.Rows)
	piece := min(mergePiece, t.w.Rows/places)
	rows := places * piece
	b, missed := newRowBuffers(rows*cols), make([]float32, rows*cols)
	levels, dither := make([]quant.Codes, rows), make([]float32, rows*cols)
	kernels.Parallel(places, func(i int) {
		from, to, r0 := i*piece, (i+1)*piece, i*t.w.Rows/places
		part := b.part(from*cols, to*cols)
		if f != nil {
			t.aim(levels[from:to], dither[from*cols:to*cols], part, r0)
			return
		}
		both := *t
		both.rounding = RoundBoth
		both.mergeRows(make([]byte, piece*t.w.RowSize()), make([]mergeStats, piece), part, r0, r0+piece)
		for j, v := range part.merged {
			missed[from*cols+j] = part.old[j] + part.change[j] - v
		}
	})
	if f != nil {
		missed = f.round(levels, b.merged, dither)
	}
	kernels.Gemm(false, false, rows, cols, cols, 1, missed, cols, h.sum, cols, 0, b.old, cols)
	for i, v := range b.old {
		sum += float64(v) * float64(missed[i])
	}
	return sum
}
