package requant

import (
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// Blocks are a matrix of the base and the same requantized, which the forward pass multiplies with and merging writes.
type Blocks struct {
	Requantizer               // Base is the matrix, or what training has made of it before
	Matrix      *quant.Matrix // of the base
	Place       string        // where it is in the file: model.Linear.Place
	Requantized quant.Matrix  // as Base, in memory of its own
}

// NewBlocks are those of a linear map, not yet requantized.
func NewBlocks(l *model.Linear, rounding Rounding) Blocks {
	b := Blocks{Requantizer: Requantizer{&l.W, rounding}, Matrix: &l.W, Place: l.Place(), Requantized: l.W}
	b.Requantized.Data = make([]byte, len(l.W.Data))
	return b
}

// SetRow requantizes a row with a change.
func (b *Blocks) SetRow(r int, c Change, s *Scratch) {
	size := b.Base.RowSize()
	b.Row(b.Requantized.Data[r*size:(r+1)*size], r, c, s)
}

// AddRows is dst (r1-r0, Cols) += requantized - matrix, of rows r0 to r1-1.
func (b *Blocks) AddRows(dst []float32, r0, r1 int) {
	row := make([]float32, b.Matrix.Cols)
	for r := r0; r < r1; r++ {
		to := dst[(r-r0)*len(row):][:len(row)]
		b.Requantized.Row(row, r)
		kernels.Add(to, row)
		b.Matrix.Row(row, r)
		kernels.Axpy(-1, row, to)
	}
}
