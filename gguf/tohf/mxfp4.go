package tohf

import (
	"fmt"
	"sort"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/quant"
	"github.com/peftconv/peftconv/safetensors"
)

// packed is rows of blocks of MXFP4 that Hugging Face files have as two tensors, one of codes and one of scales.
type packed struct {
	parts  []quant.Matrix
	ends   []int   // the row after the last one of each part
	order  []int32 // the row, of the parts one below the other, of each row
	scales bool    // it is the tensor of scales
}

// keepsBlocks reports whether all experts of the file are blocks of MXFP4 that a class of Hugging Face has as blocks.
func keepsBlocks(f *gguf.File, a *arch.Arch, s *arch.Spec) bool {
	found := false
	for i := range a.Tensors {
		t := &a.Tensors[i]
		if _, packs := t.Transform.(arch.PackExperts); !packs {
			continue
		}
		for layer := range s.Layers {
			if x := f.Tensor(t.InGGUF(layer)); x == nil || x.Type != gguf.MXFP4 {
				return false
			}
			found = true
		}
	}
	return found
}

// pack adds the two tensors of a joint one.
func (p *planner) pack(j *joint, order []int32, shape []int64) {
	one := &packed{order: order}
	n := 0
	for _, x := range j.parts {
		n += x.stored.Rows
		one.parts, one.ends = append(one.parts, *x.stored), append(one.ends, n)
	}
	scales := *one
	scales.scales = true
	shape = append(shape[:2:2], shape[2]/quant.MXNumbers)
	p.out = append(p.out,
		&output{name: j.name + "_blocks", shape: append(shape[:3:3], quant.MXCodes), raw: one, dtype: safetensors.U8},
		&output{name: j.name + "_scales", shape: shape, raw: &scales, dtype: safetensors.U8})
}

// size is the rows, and the bytes of each.
func (p *packed) size() (n, bytes int) {
	blocks := p.parts[0].Cols / quant.MXNumbers
	if p.scales {
		return len(p.order), blocks
	}
	return len(p.order), blocks * quant.MXCodes
}

// fill sets dst to the bytes of rows r0 to r1. It is an error where one of them is not finite.
func (p *packed) fill(dst []byte, r0, r1 int) error {
	_, bytes := p.size()
	for r, from := range p.order[r0:r1] {
		i := sort.SearchInts(p.ends, int(from)+1)
		m, row := &p.parts[i], int(from)
		if i > 0 {
			row -= p.ends[i-1]
		}
		one := m.Slice(row, row+1)
		if _, col, wild := one.FirstNonFinite(); wild {
			return fmt.Errorf("row %d, column %d or one near it is not a finite number", r0+r, col)
		}
		if p.scales {
			quant.SplitMXFP4(dst[:bytes], nil, one.Data)
		} else {
			quant.SplitMXFP4(nil, dst[:bytes], one.Data)
		}
		dst = dst[bytes:]
	}
	return nil
}
