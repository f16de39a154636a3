package requant

import (
	"sync"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// A Requantizer makes the rows of a matrix whose weights have changed.
type Requantizer struct {
	Base *quant.Matrix // what the changes are added to
	Rounding
}

// BaseRow is a row of the base's blocks.
func (q *Requantizer) BaseRow(r int) []byte {
	size := q.Base.RowSize()
	return q.Base.Data[r*size : (r+1)*size]
}

// A Change is the requested change of a row.
type Change struct {
	Weights       []float32 // (Cols) added to the weights, and overwritten; nil: nothing
	Scale, Offset []float32 // (Groups) the new scales and zero points; nil: those of the base
}

// Row sets dst to row r with a change, rounded as the Rounding says; Compensation, Descent and Anew need more rows
// (Rows). Codes that start from master weights are rounded with the base's scales, and all others with those that the
// row gets.
func (q *Requantizer) Row(dst []byte, r int, c Change, s *Scratch) {
	from := q.BaseRow(r)
	codes := c.Weights != nil && q.Codes != KeepCodes
	if codes && q.Master != nil {
		q.setCodes(dst, from, c.Weights, r, s)
		from = dst
	}
	switch {
	case c.Scale != nil:
		quant.SetScales(q.Base.Type, dst, from, c.Scale, c.Offset)
		from = dst
	case q.FitScales && c.Weights != nil:
		q.fitScales(dst, from, c.Weights, r, s)
		from = dst
	}
	switch {
	case codes && q.Master == nil:
		q.setCodes(dst, from, c.Weights, r, s)
	case &from[0] != &dst[0]:
		copy(dst, from)
	}
}

// setCodes sets dst to the row of blocks from with the codes that a change of its weights is rounded to.
func (q *Requantizer) setCodes(dst, from []byte, change []float32, r int, s *Scratch) {
	var round quant.Rounding
	switch {
	case q.Master != nil:
		s.master = floats.Sized(s.master, len(change))
		q.Master.Row(s.master, r)
		round.Master = s.master
	case q.Codes == StochasticCodes:
		s.thresholds = floats.Sized(s.thresholds, len(change))
		thresholds(s.thresholds, q.Seed, r)
		round.Stochastic = s.thresholds
	}
	quant.SetCodes(q.Base.Type, dst, from, change, round)
}

// PieceRows is the number of rows that a thread takes at a time.
const PieceRows = 16

// Scratch is memory for the numbers of a row, or of the rows of a piece.
type Scratch struct {
	Scale, Offset, Factor []float32 // (Groups)
	change                []float32 // (rows, Cols)

	thresholds, master, old, now []float32 // (Cols)
	moments                      *kernels.LaneMoments
}

var scratches = sync.Pool{New: func() any { return new(Scratch) }}

// Scales sets Scale and Offset to those of a row of w.
func (s *Scratch) Scales(w *quant.Matrix, r int) {
	groups := w.Groups()
	s.Scale, s.Offset = floats.Sized(s.Scale, groups), floats.Sized(s.Offset, groups)
	w.Scales(s.Scale, s.Offset, r)
}

// Zeros is memory for the changes of n weights, all zero. It is valid until the next call.
func (s *Scratch) Zeros(n int) []float32 {
	s.change = floats.Sized(s.change, n)
	clear(s.change)
	return s.change
}

// EachPiece shares rows between the threads: do gets those from r0 to r1-1, PieceRows or fewer, and memory of its own.
func EachPiece(rows int, do func(r0, r1 int, s *Scratch)) {
	kernels.Parallel((rows+PieceRows-1)/PieceRows, func(i int) {
		s := scratches.Get().(*Scratch)
		defer scratches.Put(s)
		do(i*PieceRows, min(rows, (i+1)*PieceRows), s)
	})
}

// Rows are the weights of some rows (n, Cols): the old values, the requested change, and the new values.
type Rows struct{ Old, Change, New []float32 }

// NewRows has room for n weights.
func NewRows(n int) Rows {
	x := make([]float32, 3*n)
	return Rows{x[:n:n], x[n : 2*n : 2*n], x[2*n:]}
}

// Part is the weights from one to another.
func (b Rows) Part(from, to int) Rows { return Rows{b.Old[from:to], b.Change[from:to], b.New[from:to]} }

// A Source sets Old and Change of rows r0 to r1-1; New is memory for it.
type Source func(b Rows, r0, r1 int)

// Rows sets dst to the blocks of the rows from r0 on, as many as there are in b, with the changes that load sets, and
// b to their weights. The threads share the rows.
func (q *Requantizer) Rows(dst []byte, b Rows, r0 int, load Source) {
	rows := len(b.New) / q.Base.Cols
	q.pieces(dst, b, (rows+PieceRows-1)/PieceRows, load, func(i int) (from, to, at int) {
		return i * PieceRows, min(rows, (i+1)*PieceRows), r0 + i*PieceRows
	})
}

// Sample does with rows from some places spread evenly over the matrix, n from each, what Rows would do, and gives
// their weights.
func (q *Requantizer) Sample(places, n int, load Source) Rows {
	b := NewRows(places * n * q.Base.Cols)
	dst := make([]byte, places*n*q.rowSize())
	q.pieces(dst, b, places, load, func(i int) (from, to, at int) {
		return i * n, (i + 1) * n, i * q.Base.Rows / places
	})
	return b
}

// to is the type of the blocks that rows become.
func (q *Requantizer) to() gguf.Type {
	if q.Anew {
		return q.Type
	}
	return q.Base.Type
}

// rowSize is the bytes of a row as it becomes.
func (q *Requantizer) rowSize() int {
	w := quant.Matrix{Type: q.to(), Cols: q.Base.Cols}
	return w.RowSize()
}

// A piece is some rows of dst and b, which are rows r0 to r1-1 of the matrix; from is the first one's number in b.
type piece struct {
	dst          []byte
	b            Rows
	from, r0, r1 int
}

// pieces makes n pieces of rows: place says which rows of dst and b a piece is, and which row of the matrix comes
// first.
func (q *Requantizer) pieces(dst []byte, b Rows, n int, load Source, place func(i int) (from, to, r0 int)) {
	cols, size := q.Base.Cols, q.rowSize()
	each := func(do func(p piece)) {
		kernels.Parallel(n, func(i int) {
			from, to, r0 := place(i)
			do(piece{dst[from*size : to*size], b.Part(from*cols, to*cols), from, r0, r0 + to - from})
		})
	}
	if q.Compensation != nil {
		q.compensate(b, each, load)
		return
	}
	if q.Descent != nil {
		q.descend(dst, b, each, load)
		return
	}
	each(func(p piece) {
		load(p.b, p.r0, p.r1)
		q.round(p)
		quant.Dequantize(q.to(), p.b.New, p.dst)
	})
}

// round makes the rows of a piece that is loaded.
func (q *Requantizer) round(p piece) {
	cols, size := q.Base.Cols, q.rowSize()
	if q.Anew {
		copy(p.b.New, p.b.Old)
		kernels.Add(p.b.New, p.b.Change)
		quant.Quantize(q.Type, p.dst, p.b.New, cols, q.Importance)
		return
	}
	s := scratches.Get().(*Scratch)
	defer scratches.Put(s)
	copy(p.b.New, p.b.Change)
	for i := range p.r1 - p.r0 {
		q.Row(p.dst[i*size:(i+1)*size], p.r0+i, Change{Weights: p.b.New[i*cols : (i+1)*cols]}, s)
	}
}
