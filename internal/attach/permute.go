package attach

import (
	"github.com/peftconv/peftconv/internal/model"
)

// Permutation names a tensor whose rows a base stores permuted.
type Permutation struct {
	Param int // index in Adapter.Tensors
	Heads int
}

// ToBase copies tensors from the order of the Hugging Face checkpoint to that of a base.
func ToBase(dst, src []Param, perms []Permutation) {
	for i := range src {
		copy(dst[i].Data, src[i].Data)
	}
	for _, p := range perms {
		d, s := &dst[p.Param], &src[p.Param]
		cols, headDim := s.Cols(), s.Rows()/p.Heads
		for r := range s.Rows() {
			copy(d.Row(model.PermutedRow(r, headDim), cols), s.Row(r, cols))
		}
	}
}

// ToHF is the inverse of ToBase. Both need dst and src in separate memory.
func ToHF(dst, src []Param, perms []Permutation) {
	for i := range src {
		copy(dst[i].Data, src[i].Data)
	}
	for _, p := range perms {
		d, s := &dst[p.Param], &src[p.Param]
		cols, headDim := s.Cols(), s.Rows()/p.Heads
		for r := range s.Rows() {
			copy(d.Row(r, cols), s.Row(model.PermutedRow(r, headDim), cols))
		}
	}
}

// Row is row r of a tensor whose rows have cols values.
func (p *Param) Row(r, cols int) []float32 { return p.Data[r*cols : (r+1)*cols] }
