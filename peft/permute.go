package peft

import (
	"github.com/peftconv/peftconv/internal/model"
)

// permutation names a tensor whose rows a base stores permuted.
type permutation struct {
	param int // place in Adapter.params
	heads int
}

// toBase copies tensors from the order of the Hugging Face checkpoint to that of a base.
func toBase(dst, src []Param, perms []permutation) {
	for i := range src {
		copy(dst[i].Data, src[i].Data)
	}
	for _, p := range perms {
		d, s := &dst[p.param], &src[p.param]
		cols, headDim := s.Cols(), s.Rows()/p.heads
		for r := range s.Rows() {
			copy(d.row(model.PermutedRow(r, headDim), cols), s.row(r, cols))
		}
	}
}

// toHF is the inverse of toBase. Both need dst and src in separate memory.
func toHF(dst, src []Param, perms []permutation) {
	for i := range src {
		copy(dst[i].Data, src[i].Data)
	}
	for _, p := range perms {
		d, s := &dst[p.param], &src[p.param]
		cols, headDim := s.Cols(), s.Rows()/p.heads
		for r := range s.Rows() {
			copy(d.row(r, cols), s.row(model.PermutedRow(r, headDim), cols))
		}
	}
}

func (p *Param) row(r, cols int) []float32 { return p.Data[r*cols : (r+1)*cols] }
