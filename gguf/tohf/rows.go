package tohf

import (
	"math"
	"sort"

	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/quant"
)

// rows is a matrix whose values are calculated when they are asked for.
type rows interface {
	dims() (rows, cols int)
	// tile sets dst, (r1-r0)·(c1-c0) values, to those of rows r0 to r1 in columns c0 to c1. c0 is a multiple of
	// tileCols, and c1 is one or the number of columns.
	tile(dst []float32, r0, r1, c0, c1 int)
}

// tileCols is what the columns of tiles are a multiple of: whole blocks of every type.
const tileCols = 256

// stored is a matrix of the file.
type stored struct{ quant.Matrix }

func (m stored) dims() (int, int) { return m.Rows, m.Cols }

func (m stored) tile(dst []float32, r0, r1, c0, c1 int) {
	if r1 > r0 && c1 > c0 {
		m.Tile(dst, c1-c0, r0, r1, c0, c1)
	}
}

// stacked is matrices of equal columns, one below the other.
type stacked struct {
	parts []rows
	ends  []int // the row after the last one of each part
	cols  int
}

func stack(parts []rows) rows {
	if len(parts) == 1 {
		return parts[0]
	}
	s := &stacked{parts: parts}
	n := 0
	for _, p := range parts {
		r, c := p.dims()
		n += r
		s.ends, s.cols = append(s.ends, n), c
	}
	return s
}

func (s *stacked) dims() (int, int) { return s.ends[len(s.ends)-1], s.cols }

func (s *stacked) tile(dst []float32, r0, r1, c0, c1 int) {
	i := sort.SearchInts(s.ends, r0+1)
	for ; r0 < r1; i++ {
		start := 0
		if i > 0 {
			start = s.ends[i-1]
		}
		last := min(r1, s.ends[i])
		n := (last - r0) * (c1 - c0)
		s.parts[i].tile(dst[:n], r0-start, last-start, c0, c1)
		dst, r0 = dst[n:], last
	}
}

// cut is n rows of a matrix, from row first on.
type cut struct {
	of       rows
	first, n int
}

// cuts is n rows, from row first on, of each all rows of a matrix.
func cuts(of rows, first, n, all int) rows {
	have, _ := of.dims()
	var parts []rows
	for ; first < have; first += all {
		parts = append(parts, cut{of, first, n})
	}
	return stack(parts)
}

func (c cut) dims() (int, int) {
	_, cols := c.of.dims()
	return c.n, cols
}

func (c cut) tile(dst []float32, r0, r1, c0, c1 int) { c.of.tile(dst, c.first+r0, c.first+r1, c0, c1) }

// ordered is the rows of a matrix that order lists.
type ordered struct {
	of    rows
	order []int32
}

// inOrder is the rows of a matrix in an order; nil is as they are.
func inOrder(of rows, order []int32) rows {
	if order == nil {
		return of
	}
	return ordered{of, order}
}

func (o ordered) dims() (int, int) {
	_, cols := o.of.dims()
	return len(o.order), cols
}

func (o ordered) tile(dst []float32, r0, r1, c0, c1 int) {
	width := c1 - c0
	for r := r0; r < r1; {
		first, n := int(o.order[r]), 1 // rows that follow each other are read together
		for r+n < r1 && int(o.order[r+n]) == first+n {
			n++
		}
		o.of.tile(dst[(r-r0)*width:(r-r0+n)*width], first, first+n, c0, c1)
		r += n
	}
}

// reordered is a matrix with the columns that order lists.
type reordered struct {
	of    rows
	order []int32
}

func (o reordered) dims() (int, int) { return o.of.dims() }

func (o reordered) tile(dst []float32, r0, r1, c0, c1 int) {
	row := make([]float32, len(o.order))
	for r := r0; r < r1; r++ {
		o.of.tile(row, r, r+1, 0, len(row))
		for i, from := range o.order[c0:c1] {
			dst[(r-r0)*(c1-c0)+i] = row[from]
		}
	}
}

// turned is each of so many matrices, which stand one below the other, with rows and columns exchanged.
type turned struct {
	of    rows
	count int
}

// size is the rows and columns of one.
func (t turned) size() (int, int) {
	r, c := t.of.dims()
	return c, r / t.count
}

func (t turned) dims() (int, int) {
	r, c := t.size()
	return r * t.count, c
}

// tallTile is how many columns of a turned matrix are read at a time.
const tallTile = 64

func (t turned) tile(dst []float32, r0, r1, c0, c1 int) {
	each, cols := t.size()
	width := c1 - c0
	for r0 < r1 {
		one, first := r0/each, r0%each
		last := min(each, first+r1-r0)
		from := first / tileCols * tileCols
		to := min((last+tileCols-1)/tileCols*tileCols, each)
		part := make([]float32, tallTile*(to-from))
		for c := c0; c < c1; c += tallTile {
			n := min(tallTile, c1-c)
			t.of.tile(part[:n*(to-from)], one*cols+c, one*cols+c+n, from, to)
			for r := first; r < last; r++ {
				at := dst[(r-first)*width+c-c0:]
				for i := range n {
					at[i] = part[i*(to-from)+r-from]
				}
			}
		}
		dst, r0 = dst[(last-first)*width:], r0+last-first
	}
}

// calculated is a matrix whose values are calculated of another's.
type calculated struct {
	of rows
	by func(x []float32)
}

func (m calculated) dims() (int, int) { return m.of.dims() }

func (m calculated) tile(dst []float32, r0, r1, c0, c1 int) {
	m.of.tile(dst, r0, r1, c0, c1)
	m.by(dst)
}

// zeros is a column of zeros.
type zeros struct{ n int }

func (z zeros) dims() (int, int) { return z.n, 1 }

func (z zeros) tile(dst []float32, _, _, _, _ int) { clear(dst) }

// lowered takes away the 1 that norms have in GGUF files.
func lowered(x []float32) {
	for i := range x {
		x[i]--
	}
}

// logarithms are the numbers whose negative exponentials x are: of those that have the same one in single precision,
// the one with the shortest fraction near the logarithm, which is what a conversion of short numbers began with.
func logarithms(x []float32) {
	for i, v := range x {
		x[i] = logarithm(v)
	}
}

func logarithm(v float32) float32 {
	exact := math.Log(-float64(v))
	for cut := 23; cut >= 0; cut-- {
		unit := uint32(1) << cut
		for _, off := range [...]float64{0, 1, -1, 2, -2} { // how far exp may be off, in units of its last place near 1
			bits := math.Float32bits(float32(exact+off*0x1p-24)) &^ (unit - 1)
			for _, y := range [...]float32{math.Float32frombits(bits), math.Float32frombits(bits + unit)} {
				if -floats.Exp(y) == v {
					return y
				}
			}
		}
	}
	return float32(exact)
}
