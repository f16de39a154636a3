package requant

import (
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// fitScales sets dst to the row of blocks from, row r of the base, with the scales and zero points that come nearest to
// a change of its weights, and leaves in change what is missing.
func (q *Requantizer) fitScales(dst, from []byte, change []float32, r int, s *Scratch) {
	t, cols := q.Base.Type, q.Base.Cols
	s.old, s.now = floats.Sized(s.old, cols), floats.Sized(s.now, cols)
	quant.Dequantize(t, s.old, from)
	s.Scales(q.Base, r)
	n, affine := quant.GroupLen(t), quant.HasOffsets(t)
	g := 0
	if q.Importance == nil && (n == 16 || n == 32) {
		g = s.fitLanes(change, n, affine)
	}
	for ; g < len(s.Scale); g++ {
		i, j := g*n, min((g+1)*n, cols)
		scale, offset := fitGroup(s.old[i:j], change[i:j], part(q.Importance, i, j), s.Offset[g], affine)
		s.Scale[g] *= 1 + scale
		s.Offset[g] += offset
	}
	quant.SetScales(t, dst, from, s.Scale, s.Offset)
	quant.Dequantize(t, s.now, dst)
	kernels.Axpy(-1, s.old, s.now) // exact products: each is a difference, rounded once
	kernels.Axpy(-1, s.now, change)
}

// fitLanes fits groups of n weights, all of them or, where there is no assembly for it, none, and returns their
// number.
func (s *Scratch) fitLanes(change []float32, n int, affine bool) (groups int) {
	if s.moments == nil {
		s.moments = new(kernels.LaneMoments)
	}
	m := s.moments
	for groups*n < len(change) {
		copy(m.Offset[:], s.Offset[groups:])
		count := m.Measure(s.old[groups*n:], change[groups*n:], n)
		if count == 0 {
			break
		}
		for i := range count {
			scale, offset := solveFit(float64(n), m.Sums[0][i], m.Sums[1][i], m.Sums[2][i], m.Sums[3][i], affine)
			s.Scale[groups+i] *= 1 + scale
			s.Offset[groups+i] += offset
		}
		groups += count
	}
	return groups
}

// part is x[from:to], nil of nil.
func part(x []float32, from, to int) []float32 {
	if x == nil {
		return nil
	}
	return x[from:to]
}

// fitGroup is the relative change of a group's scale, and the change of its zero point if it has one, that together
// come nearest to the changes of its weights.
func fitGroup(old, change, importance []float32, offset float32, affine bool) (scale, shift float32) {
	var sw, sp, spp, sc, spc float64
	for i, c := range change {
		w, p, d := 1.0, float64(old[i]-offset), float64(c)
		if importance != nil {
			w = float64(importance[i])
		}
		sw += w
		sp += w * p
		spp += w * p * p
		sc += w * d
		spc += w * p * d
	}
	return solveFit(sw, sp, spp, sc, spc, affine)
}

// solveFit is fitGroup of sums over the weights: of one, p, p², d and p·d, where p is the weight without the offset and
// d the change.
func solveFit(sw, sp, spp, sc, spc float64, affine bool) (scale, shift float32) {
	if !affine {
		if spp == 0 {
			return 0, 0
		}
		return float32(spc / spp), 0
	}
	det := sw*spp - sp*sp
	if !(det > 1e-9*sw*spp) {
		return 0, 0
	}
	return float32((sw*spc - sp*sc) / det), float32((spp*sc - sp*spc) / det)
}
