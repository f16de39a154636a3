package merge

import (
	"context"
	"math"

	"github.com/peftconv/peftconv/internal/attach"
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

// rowBuffers hold rows of a tensor: as they were, the change asked for, and as they become.
type rowBuffers struct{ old, change, merged []float32 }

func newRowBuffers(n int) rowBuffers {
	x := make([]float32, 3*n)
	return rowBuffers{x[:n:n], x[n : 2*n : 2*n], x[2*n:]}
}

// part is the values from one to another.
func (b rowBuffers) part(from, to int) rowBuffers {
	return rowBuffers{b.old[from:to], b.change[from:to], b.merged[from:to]}
}

// mergePiece is the number of rows that a thread takes at a time.
const mergePiece = 16

// merge makes the rows of the merged tensor and hands their bytes to write in order. Threads share the rows; the sums
// are added up in the order of the rows.
func (t *mergeTensor) merge(ctx context.Context, write func([]byte) error) (total mergeStats, err error) {
	if t.exact() {
		return total, write(t.w.Data)
	}
	if t.ready != nil {
		defer func() { t.ready = nil }()
		return t.readyStats, write(t.ready)
	}
	t.chooseRounding()
	out := quant.Matrix{Type: t.to, Rows: t.w.Rows, Cols: t.w.Cols}
	rowSize := out.RowSize()
	chunk := min(t.w.Rows, max(mergePiece, mergeBytes/(3*4*t.w.Cols)/mergePiece*mergePiece))
	encoded := make([]byte, chunk*rowSize)
	buffers := newRowBuffers(chunk * t.w.Cols)
	stats := make([]mergeStats, chunk)
	for r0 := 0; r0 < t.w.Rows; r0 += chunk {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		n := min(chunk, t.w.Rows-r0)
		t.mergeChunk(encoded[:n*rowSize], stats[:n], buffers.part(0, n*t.w.Cols), r0)
		for _, s := range stats[:n] {
			total.add(s)
		}
		if err := write(encoded[:n*rowSize]); err != nil {
			return total, err
		}
	}
	return total, nil
}

// mergeChunk makes as many rows from r0 on as there are stats, on all threads.
func (t *mergeTensor) mergeChunk(dst []byte, stats []mergeStats, b rowBuffers, r0 int) {
	if t.rounding == RoundCompensate {
		t.compensate(dst, stats, b, r0)
		return
	}
	size := len(dst) / len(stats)
	t.inPieces(len(stats), func(from, to int) {
		t.mergeRows(dst[from*size:to*size], stats[from:to], b.part(from*t.w.Cols, to*t.w.Cols), r0+from, r0+to)
	})
}

// inPieces shares rows between threads.
func (t *mergeTensor) inPieces(rows int, do func(from, to int)) {
	kernels.Parallel((rows+mergePiece-1)/mergePiece, func(i int) { do(i*mergePiece, min(rows, (i+1)*mergePiece)) })
}

// mergeRows makes rows r0 to r1.
func (t *mergeTensor) mergeRows(dst []byte, stats []mergeStats, b rowBuffers, r0, r1 int) {
	cols := t.w.Cols
	t.changes(b, r0, r1)
	if t.rounding == RoundRequantize {
		copy(b.merged, b.old)
		kernels.Add(b.merged, b.change)
		quant.Quantize(t.to, dst, b.merged, cols, t.importance)
	} else {
		copy(b.merged, b.change)
		size := len(dst) / (r1 - r0)
		for r := range r1 - r0 {
			t.roundRow(dst[r*size:(r+1)*size], b.old[r*cols:(r+1)*cols], b.merged[r*cols:(r+1)*cols], r0+r)
		}
	}
	t.measure(dst, stats, b)
}

// changes sets what rows r0 to r1 were and the change that is asked for.
func (t *mergeTensor) changes(b rowBuffers, r0, r1 int) {
	quant.Dequantize(t.w.Type, b.old, t.w.Slice(r0, r1).Data)
	clear(b.change)
	for _, d := range t.deltas {
		m, ok := d.(attach.Multiplier)
		if ok && t.moved { // and what d takes for the weight is not old
			copy(b.merged, b.old)
			kernels.Add(b.merged, b.change)
			m.Multiply(b.merged, r0, r1)
			copy(b.change, b.merged)
			kernels.Axpy(-1, b.old, b.change)
			continue
		}
		if ok {
			m.Multiply(b.change, r0, r1)
		}
		d.AddRows(b.change, r0, r1)
	}
}

// measure compares the blocks that rows have become with the change asked for.
func (t *mergeTensor) measure(dst []byte, stats []mergeStats, b rowBuffers) {
	quant.Dequantize(t.to, b.merged, dst)
	for r := range stats {
		row := b.part(r*t.w.Cols, (r+1)*t.w.Cols)
		stats[r] = compareRows(row.old, row.change, row.merged)
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
