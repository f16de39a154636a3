package requant

import (
	"sync"

	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// MovedBlocks is a matrix of the base and the same with its blocks moved, which the forward pass multiplies with and merging
// writes.
type MovedBlocks struct {
	Tensor  string // its name in the file
	Base    *quant.Matrix
	Snapped quant.Matrix // as base, in memory of its own
	Dither  uint64       // seed; 0: none
	Latent  *latentRows  // what the levels start from; nil: the base itself
}

func NewMovedBlocks(l *model.Linear) MovedBlocks {
	m := MovedBlocks{Tensor: l.Tensor, Base: &l.W, Snapped: l.W}
	m.Snapped.Data = make([]byte, len(l.W.Data))
	return m
}

// BaseRow is a row of the base's blocks.
func (b *MovedBlocks) BaseRow(r int) []byte {
	size := b.Base.RowSize()
	return b.Base.Data[r*size : (r+1)*size]
}

// Row is a row of the moved blocks.
func (b *MovedBlocks) Row(r int) []byte {
	size := b.Base.RowSize()
	return b.Snapped.Data[r*size : (r+1)*size]
}

// Recode makes a row of the moved blocks: from with its levels moved by a change.
func (b *MovedBlocks) Recode(r int, from []byte, change []float32, m *SnapScratch) {
	var round quant.Rounding
	switch {
	case b.Latent != nil:
		m.latent = floats.Sized(m.latent, len(change))
		b.Latent.Row(m.latent, r)
		round.Master = m.latent
	case b.Dither != 0:
		m.dither = floats.Sized(m.dither, len(change))
		DitherRow(m.dither, b.Dither, r)
		round.Stochastic = m.dither
	}
	quant.SetCodes(b.Base.Type, b.Row(r), from, change, round)
}

// AddRows is dst += moved - base.
func (b *MovedBlocks) AddRows(dst []float32, r0, r1 int) {
	row := make([]float32, b.Base.Cols)
	for r := r0; r < r1; r++ {
		to := dst[(r-r0)*len(row):][:len(row)]
		b.Snapped.Row(row, r)
		kernels.Add(to, row)
		b.Base.Row(row, r)
		kernels.Axpy(-1, row, to)
	}
}

// SnapRows is the number of rows that a thread takes at a time.
const SnapRows = 8

// SnapScratch is memory for the numbers of some rows.
type SnapScratch struct{ Scale, Offset, Factor, Change, dither, latent []float32 }

var SnapScratches = sync.Pool{New: func() any { return new(SnapScratch) }}

// Grid sets scale and offset to those of a row.
func (m *SnapScratch) Grid(w *quant.Matrix, r int) {
	groups := w.Groups()
	m.Scale, m.Offset = floats.Sized(m.Scale, groups), floats.Sized(m.Offset, groups)
	w.Scales(m.Scale, m.Offset, r)
}

// DitherRow fills u with numbers in [0, 1) that depend on the seed and the place alone. They are multiples of 2⁻¹⁶, so that
// adding one to a level is exact.
func DitherRow(u []float32, seed uint64, row int) {
	r := prng.Random{State: prng.Mix(seed ^ uint64(row)*0x9e3779b97f4a7c15)}
	for i := 0; i < len(u); i += 4 {
		bits := r.Next()
		for j := i; j < min(i+4, len(u)); j++ {
			u[j] = float32(uint16(bits)) / (1 << 16)
			bits >>= 16
		}
	}
}
