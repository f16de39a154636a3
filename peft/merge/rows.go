package merge

import (
	"context"
	"math"

	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// mergeBytes is about how much memory the current rows take as float32: old values, change, new values.
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

// merge makes the rows of the merged weight and hands their bytes to write in order.
func (c *mergeMap) merge(ctx context.Context, write func([]byte) error) (total mergeStats, err error) {
	if c.exact() {
		return total, write(c.w.Data)
	}
	if c.ready != nil {
		defer func() { c.ready = nil }()
		return c.readyStats, write(c.ready)
	}
	c.chooseRounding()
	return c.requantize(ctx, c.requantizer(c.rounding), write)
}

// requantize makes the rows, some at a time.
func (c *mergeMap) requantize(
	ctx context.Context, q *requant.Requantizer, write func([]byte) error,
) (total mergeStats, err error) {
	cols := c.w.Cols
	out := quant.Matrix{Type: c.to, Cols: cols}
	rowSize := out.RowSize()
	chunk := min(c.w.Rows, max(requant.PieceRows, mergeBytes/(3*4*cols)/requant.PieceRows*requant.PieceRows))
	encoded := make([]byte, chunk*rowSize)
	buffers := requant.NewRows(chunk * cols)
	for r0 := 0; r0 < c.w.Rows; r0 += chunk {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		n := min(chunk, c.w.Rows-r0)
		b := buffers.Part(0, n*cols)
		q.Rows(encoded[:n*rowSize], b, r0, c.load)
		total.measure(b, cols)
		if err := write(encoded[:n*rowSize]); err != nil {
			return total, err
		}
	}
	return total, nil
}

// load sets the old values of rows r0 to r1-1 and the requested change.
func (c *mergeMap) load(b requant.Rows, r0, r1 int) {
	quant.Dequantize(c.w.Type, b.Old, c.w.Slice(r0, r1).Data)
	clear(b.Change)
	for i := range c.changes {
		change := &c.changes[i]
		if change.Multiply != nil && c.requantized { // it would multiply the base's weight, not old
			copy(b.New, b.Old)
			kernels.Add(b.New, b.Change)
			change.Multiply(b.New, r0, r1)
			copy(b.Change, b.New)
			kernels.Axpy(-1, b.Old, b.Change)
			continue
		}
		if change.Multiply != nil {
			change.Multiply(b.Change, r0, r1)
		}
		change.AddRows(b.Change, r0, r1)
	}
}

// measure adds the change of rows of cols weights, and the one that was asked for, in the order of the rows.
func (s *mergeStats) measure(b requant.Rows, cols int) {
	stats := make([]mergeStats, len(b.New)/cols)
	requant.EachPiece(len(stats), func(r0, r1 int, _ *requant.Scratch) {
		for r := r0; r < r1; r++ {
			stats[r] = compareRows(b.Part(r*cols, (r+1)*cols))
		}
	})
	for _, row := range stats {
		s.add(row)
	}
}

// compareRows measures the change of rows.
func compareRows(b requant.Rows) (s mergeStats) {
	for i, want := range b.Change {
		made, asked := float64(b.New[i])-float64(b.Old[i]), float64(want)
		s.want += asked * asked
		s.got += made * asked
		s.miss += (made - asked) * (made - asked)
	}
	return s
}
