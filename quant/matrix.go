package quant

import (
	"errors"
	"fmt"
	"math"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/errkind"
)

// A Matrix is Rows × Cols weights, row after row of whole blocks. Data is usually a view of a mapped file and is never
// written. A Matrix is safe for concurrent use.
type Matrix struct {
	Type       gguf.Type
	Rows, Cols int
	Data       []byte // Rows · RowSize bytes
}

// Quantized reports whether a type has fewer than 16 bits a weight: codes, and scales a block.
func Quantized(t gguf.Type) bool {
	return t.BlockLen() > 1 && t.BlockSize() < 2*t.BlockLen()
}

// NewMatrix checks that data is exactly rows × cols weights of type t. A type that is not Supported is an error that is
// errors.ErrUnsupported.
func NewMatrix(t gguf.Type, rows, cols int, data []byte) (Matrix, error) {
	f := lookup(t)
	switch {
	case f == nil:
		return Matrix{}, errkind.Errorf(errors.ErrUnsupported, "matrix of type %v: the type cannot be dequantized", t)
	case rows < 0 || cols <= 0:
		return Matrix{}, fmt.Errorf("matrix of %d rows and %d columns: expected no negative count and at least one column",
			rows, cols)
	case cols%f.weights != 0:
		return Matrix{}, fmt.Errorf("matrix of %d columns of %v: expected a multiple of its block length %d", cols, t,
			f.weights)
	}
	blocks := cols / f.weights
	if blocks > math.MaxInt/f.bytes || rows > 0 && len(data)/rows != blocks*f.bytes || len(data) != rows*blocks*f.bytes {
		return Matrix{}, fmt.Errorf("matrix of %d × %d weights of %v: expected rows of %d blocks of %d bytes, "+
			"found %d bytes in all", rows, cols, t, blocks, f.bytes, len(data))
	}
	return Matrix{t, rows, cols, data}, nil
}

// Dims is Rows and Cols.
func (m Matrix) Dims() (rows, cols int) { return m.Rows, m.Cols }

// RowSize is the bytes of one row.
func (m Matrix) RowSize() int {
	f := mustLookup(m.Type)
	return m.Cols / f.weights * f.bytes
}

// Row sets dst, Cols long, to the weights of row r.
func (m Matrix) Row(dst []float32, r int) {
	if len(dst) != m.Cols {
		panic("quant: Row into a slice that is not Cols long")
	}
	size := m.RowSize()
	mustLookup(m.Type).dequantize(dst, m.Data[r*size:(r+1)*size])
}

// Slice is the view of rows r0 to r1.
func (m Matrix) Slice(r0, r1 int) Matrix {
	if r0 < 0 || r1 < r0 || m.Rows < r1 {
		panic("quant: Slice outside the matrix")
	}
	size := m.RowSize()
	return Matrix{m.Type, r1 - r0, m.Cols, m.Data[r0*size : r1*size : r1*size]}
}

// Tile sets dst[(r-r0)*ld + c-c0] to the weight in row r and column c, for r0 <= r < r1 and c0 <= c < c1. Columns
// are whole blocks: c0 is a multiple of 256, and c1 is one or equals Cols.
func (m Matrix) Tile(dst []float32, ld, r0, r1, c0, c1 int) {
	f := mustLookup(m.Type)
	if r0 < 0 || m.Rows < r1 || c0 < 0 || c1 < c0 || m.Cols < c1 || c0%f.weights != 0 || c1%f.weights != 0 {
		panic("quant: Tile outside the matrix or of a part of a block")
	}
	if ld < c1-c0 {
		panic("quant: Tile with rows closer than they are long")
	}
	size := m.Cols / f.weights * f.bytes
	first, last := c0/f.weights*f.bytes, c1/f.weights*f.bytes
	for r := r0; r < r1; r++ {
		row := m.Data[r*size : (r+1)*size]
		f.dequantize(dst[(r-r0)*ld:][:c1-c0], row[first:last])
	}
}

// FirstNonFinite finds the first weight that is NaN or infinite; ok is false where there is none. Of a block it
// reads the scales only.
func (m Matrix) FirstNonFinite() (row, col int, ok bool) {
	i := mustLookup(m.Type).nonFinite(m.Data)
	if i < 0 {
		return 0, 0, false
	}
	return i / m.Cols, i % m.Cols, true
}
