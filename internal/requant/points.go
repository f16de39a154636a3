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

// A pointSearch searches blocks whose weights are points of a lattice. The errors of all points for many rows are a
// product of matrices.
type pointSearch struct {
	features     []float32 // (points, size) of all points
	points, size int
	rows         []spanSearch // that are searched together
	// (rows, candidates, size) of the errors, and (rows, candidates, points) the errors
	coefficients, products []float32
}

func newPointSearch(w *quant.Matrix) *pointSearch {
	features, size := quant.PointFeatures(w.Type)
	rows := min(pointRows, w.Rows)
	p := &pointSearch{features: features, points: len(features) / size, size: size, rows: make([]spanSearch, rows)}
	p.coefficients = make([]float32, rows*quant.PointCandidates*p.size)
	p.products = make([]float32, rows*quant.PointCandidates*p.points)
	return p
}

// search searches the blocks of a span of some rows, each of which begin and end take up and give back.
func (p *pointSearch) search(rows int, begin, end func(r int, f *spanSearch)) {
	for r0 := 0; r0 < rows; r0 += pointRows {
		part := p.rows[:min(pointRows, rows-r0)]
		each := func(do func(r int, f *spanSearch)) {
			kernels.Parallel(len(part), func(r int) { do(r, &part[r]) })
		}
		each(func(r int, f *spanSearch) { begin(r0+r, f) })
		for range pointPasses {
			each(func(_ int, f *spanSearch) { f.points.Load(f.w.Type, f.blocks) })
			for k := 0; k < part[0].span; k += quant.PointLen {
				p.choose(k, len(part), each)
			}
			each(func(_ int, f *spanSearch) {
				quant.Dequantize(f.w.Type, f.values, f.blocks)
				f.gained += f.improveScales()
			})
		}
		each(func(r int, f *spanSearch) { end(r0+r, f) })
	}
}

// choose chooses the points of the weights from k on, in all of some rows.
func (p *pointSearch) choose(k, rows int, each func(do func(r int, f *spanSearch))) {
	each(func(_ int, f *spanSearch) {
		f.points.Begin(k/quant.PointLen, f.values[k:k+quant.PointLen], f.slope[k:k+quant.PointLen],
			f.block[k*f.span+k:], f.span)
	})
	halves, rounds := p.rows[0].points.Halves(), 1
	if halves > 1 {
		rounds = pointRounds
	}
	of := func(all []float32, n, r, candidate int) []float32 {
		return all[(r*quant.PointCandidates+candidate)*n:][:n]
	}
	for i := range halves * rounds {
		half := i % halves
		each(func(r int, f *spanSearch) {
			for c := range quant.PointCandidates {
				if dst := of(p.coefficients, p.size, r, c); !f.points.CoefficientsTo(dst, c, half) {
					clear(dst)
				}
			}
		})
		kernels.Gemm(false, true, rows*quant.PointCandidates, p.points, p.size, 1, p.coefficients, p.size, p.features, p.size,
			0, p.products, p.points)
		each(func(r int, f *spanSearch) {
			for c := range f.points.Candidates() {
				f.points.Choose(of(p.products, p.points, r, c), c, half)
			}
		})
	}
	each(func(_ int, f *spanSearch) { f.endPoint(k) })
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
