package merge

import (
	"context"
	"math"
	"sync"

	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// mergeBytes is about how much memory rows that are rounded together take as float32: old values, change, new values.
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
func (c *mergeMap) merge(
	ctx context.Context, room *rowsInWork, write func([]byte) error,
) (total mergeStats, err error) {
	if c.exact() {
		return total, write(c.w.Data)
	}
	if c.ready != nil {
		defer func() { c.ready = nil }()
		return c.readyStats, write(c.ready)
	}
	c.chooseRounding()
	return c.requantize(ctx, c.requantizer(c.rounding), room, write)
}

// rowsInWork is memory for some rows, used again for the next ones.
type rowsInWork struct {
	encoded []byte
	stats   []mergeStats // of each row
	weights requant.Rows // of all rows, where they are rounded together
	tasks   sync.Pool    // of *requant.Rows: those that a thread has in work
}

// of is memory for the bytes of rows and for what is measured of each.
func (m *rowsInWork) of(bytes, rows int) ([]byte, []mergeStats) {
	if len(m.encoded) < bytes {
		m.encoded = make([]byte, bytes)
	}
	if len(m.stats) < rows {
		m.stats = make([]mergeStats, rows)
	}
	return m.encoded[:bytes], m.stats[:rows]
}

// task is memory for the weights of the rows of a task; it is to be given back to tasks.
func (m *rowsInWork) task(weights int) *requant.Rows {
	b, _ := m.tasks.Get().(*requant.Rows)
	if b == nil || len(b.New) < weights {
		rows := requant.NewRows(weights)
		b = &rows
	}
	return b
}

// Rows are made by tasks of about taskWeights weights, which stay in a core's cache, and written when tasksInWork of
// them are ready.
const (
	taskWeights = 1 << 14
	tasksInWork = 128
)

// requantize makes the rows, some at a time.
func (c *mergeMap) requantize(
	ctx context.Context, q *requant.Requantizer, room *rowsInWork, write func([]byte) error,
) (total mergeStats, err error) {
	cols := c.w.Cols
	out := quant.Matrix{Type: c.to, Cols: cols}
	rowSize := out.RowSize()
	chunk, makeRows := tasksInWork*max(1, taskWeights/cols), c.eachAlone
	if q.Compensation != nil || q.Descent != nil {
		chunk, makeRows = max(requant.PieceRows, mergeBytes/(3*4*cols)/requant.PieceRows*requant.PieceRows), c.together
	}
	for r0 := 0; r0 < c.w.Rows; r0 += chunk {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		n := min(chunk, c.w.Rows-r0)
		encoded, stats := room.of(n*rowSize, n)
		makeRows(q, room, encoded, stats, r0)
		for _, row := range stats {
			total.add(row)
		}
		mapped.Release(c.w.Slice(r0, r0+n).Data)
		if err := write(encoded); err != nil {
			return total, err
		}
	}
	return total, nil
}

// eachAlone makes rows from r0 on that do not depend on each other, and measures each.
func (c *mergeMap) eachAlone(q *requant.Requantizer, room *rowsInWork, dst []byte, stats []mergeStats, r0 int) {
	cols, rows := c.w.Cols, len(stats)
	size, each := len(dst)/rows, max(1, taskWeights/cols)
	kernels.Parallel((rows+each-1)/each, func(i int) {
		from := i * each
		to := min(rows, from+each)
		memory := room.task(each * cols)
		defer room.tasks.Put(memory)
		b := memory.Part(0, (to-from)*cols)
		q.Rows(dst[from*size:to*size], b, r0+from, c.load)
		for r := range to - from {
			row, s := b.Part(r*cols, (r+1)*cols), &stats[from+r]
			s.want, s.got, s.miss = kernels.ChangeSums(row.Old, row.Change, row.New)
		}
	})
}

// together makes rows from r0 on that are rounded together, and measures each.
func (c *mergeMap) together(q *requant.Requantizer, room *rowsInWork, dst []byte, stats []mergeStats, r0 int) {
	n := len(stats) * c.w.Cols
	if len(room.weights.New) < n {
		room.weights = requant.NewRows(n)
	}
	b := room.weights.Part(0, n)
	q.Rows(dst, b, r0, c.load)
	compareEach(stats, b, c.w.Cols)
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
	compareEach(stats, b, cols)
	for _, row := range stats {
		s.add(row)
	}
}

// compareEach measures each of the rows.
func compareEach(stats []mergeStats, b requant.Rows, cols int) {
	requant.EachPiece(len(stats), func(r0, r1 int, _ *requant.Scratch) {
		for r := r0; r < r1; r++ {
			stats[r] = compareRows(b.Part(r*cols, (r+1)*cols))
		}
	})
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
