package requant

import (
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

const (
	pointRows   = 256 // rows whose points are chosen together
	pointPasses = 2   // times that the points and the scales of a span are gone through in turn
	pointRounds = 2   // times that each of the two points of eight weights is chosen in turn
)

// searchPoints searches the blocks of a span of all rows where weights are points of a lattice. The errors of all
// points for many rows are a product of matrices.
func (s *descent) searchPoints(begin, end func(r int, f *spanSearch)) {
	features, size := quant.PointFeatures(s.w.Type)
	points := len(features) / size
	states := make([]spanSearch, min(pointRows, s.w.Rows))
	coefficients := make([]float32, len(states)*quant.PointCandidates*size)
	products := make([]float32, len(states)*quant.PointCandidates*points)
	for r0 := 0; r0 < s.w.Rows; r0 += pointRows {
		part := states[:min(pointRows, s.w.Rows-r0)]
		each := func(do func(r int, f *spanSearch)) { kernels.Parallel(len(part), func(r int) { do(r, &part[r]) }) }
		each(func(r int, f *spanSearch) { begin(r0+r, f) })
		// of a row's candidate
		of := func(all []float32, n, r, candidate int) []float32 {
			return all[(r*quant.PointCandidates+candidate)*n:][:n]
		}
		for range pointPasses {
			each(func(_ int, f *spanSearch) { f.points.Load(f.w.Type, f.blocks) })
			for k := 0; k < s.span; k += quant.PointLen {
				each(func(_ int, f *spanSearch) {
					f.points.Begin(k/quant.PointLen, f.values[k:k+quant.PointLen], f.slope[k:k+quant.PointLen],
						f.block[k*f.span+k:], f.span)
				})
				halves, rounds := part[0].points.Halves(), 1
				if halves > 1 {
					rounds = pointRounds
				}
				for i := range halves * rounds {
					half := i % halves
					each(func(r int, f *spanSearch) {
						for c := range quant.PointCandidates {
							if dst := of(coefficients, size, r, c); !f.points.CoefficientsTo(dst, c, half) {
								clear(dst)
							}
						}
					})
					n := len(part) * quant.PointCandidates
					kernels.Gemm(false, true, n, points, size, 1, coefficients, size, features, size, 0, products, points)
					each(func(r int, f *spanSearch) {
						for c := range f.points.Candidates() {
							f.points.Choose(of(products, points, r, c), c, half)
						}
					})
				}
				each(func(_ int, f *spanSearch) { f.endPoint(k) })
			}
			each(func(_ int, f *spanSearch) {
				quant.Dequantize(f.w.Type, f.values, f.blocks)
				f.gained += f.improveScales()
			})
		}
		each(func(r int, f *spanSearch) { end(r0+r, f) })
	}
}

// endPoint takes the best points for the weights from k on.
func (f *spanSearch) endPoint(k int) {
	n := f.span
	if !f.points.End(&f.move) {
		return
	}
	f.gained += float64(f.move.Fall)
	for i, by := range f.move.By {
		if by != 0 {
			kernels.Axpy(-by, f.block[(k+i)*n:(k+i+1)*n], f.slope)
			f.values[k+i] += by
		}
	}
}
