package peft

import (
	"context"
	"math"

	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// mergeBytes is about how much memory the rows under way take as float32: as they were, the change, as they become.
const mergeBytes = 48 << 20

// mergeStats are the sums from which recovery and noise follow.
type mergeStats struct {
	want float64 // ⟨Δ, Δ⟩, Δ the change asked for
	got  float64 // ⟨Δ', Δ⟩, Δ' the change that was made
	miss float64 // ⟨Δ'-Δ, Δ'-Δ⟩
}

func (s *mergeStats) add(o mergeStats) {
	s.want += o.want
	s.got += o.got
	s.miss += o.miss
}

// recovery is 1 where nothing was asked for.
func (s *mergeStats) recovery() float64 {
	if s.want == 0 {
		return 1
	}
	return s.got / s.want
}

func (s *mergeStats) noise() float64 {
	if s.want == 0 {
		return 0
	}
	return math.Sqrt(s.miss / s.want)
}

// merge makes the rows of the merged tensor and hands their bytes to write in order. Threads share the rows; the sums
// are added up in the order of the rows.
func (t *mergeTensor) merge(ctx context.Context, write func([]byte) error) (total mergeStats, err error) {
	if t.exact() {
		return total, write(t.w.Data)
	}
	t.chooseRounding()
	out := quant.Matrix{Type: t.to, Rows: t.w.Rows, Cols: t.w.Cols}
	rowSize := out.RowSize()
	const piece = 16 // rows a thread takes at a time
	chunk := min(t.w.Rows, max(piece, mergeBytes/(3*4*t.w.Cols)/piece*piece))
	encoded := make([]byte, chunk*rowSize)
	scratch := make([]float32, 3*chunk*t.w.Cols)
	stats := make([]mergeStats, chunk)
	for r0 := 0; r0 < t.w.Rows; r0 += chunk {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		n := min(chunk, t.w.Rows-r0)
		kernels.Parallel((n+piece-1)/piece, func(i int) {
			from, to := i*piece, min(n, (i+1)*piece)
			t.mergeRows(encoded[from*rowSize:to*rowSize], stats[from:to], scratch[3*from*t.w.Cols:3*to*t.w.Cols], r0+from, r0+to)
		})
		for _, s := range stats[:n] {
			total.add(s)
		}
		if err := write(encoded[:n*rowSize]); err != nil {
			return total, err
		}
	}
	return total, nil
}

// mergeRows makes rows r0 to r1. scratch has room for them three times.
func (t *mergeTensor) mergeRows(dst []byte, stats []mergeStats, scratch []float32, r0, r1 int) {
	cols, n := t.w.Cols, (r1-r0)*t.w.Cols
	old, change, merged := scratch[:n], scratch[n:2*n], scratch[2*n:]
	quant.Dequantize(t.w.Type, old, t.w.Slice(r0, r1).Data)
	clear(change)
	for _, d := range t.deltas {
		m, ok := d.(multiplier)
		if ok && t.moved { // and what d takes for the weight is not old
			copy(merged, old)
			kernels.Add(merged, change)
			m.multiply(merged, r0, r1)
			copy(change, merged)
			kernels.Axpy(-1, old, change)
			continue
		}
		if ok {
			m.multiply(change, r0, r1)
		}
		d.addRows(change, r0, r1)
	}
	if t.rounding == RoundRequantize {
		copy(merged, old)
		kernels.Add(merged, change)
		quant.Quantize(t.to, dst, merged, cols, t.importance)
	} else {
		copy(merged, change)
		size := len(dst) / (r1 - r0)
		for r := range r1 - r0 {
			t.roundRow(dst[r*size:(r+1)*size], old[r*cols:(r+1)*cols], merged[r*cols:(r+1)*cols], r0+r)
		}
	}
	quant.Dequantize(t.to, merged, dst)
	for r := range stats {
		stats[r] = compareRows(old[r*cols:(r+1)*cols], change[r*cols:(r+1)*cols], merged[r*cols:(r+1)*cols])
	}
}

// compareRows measures the change from old to merged against the one asked for.
func compareRows(old, change, merged []float32) (s mergeStats) {
	for i, want := range change {
		made, asked := float64(merged[i])-float64(old[i]), float64(want)
		s.want += asked * asked
		s.got += made * asked
		s.miss += (made - asked) * (made - asked)
	}
	return s
}
