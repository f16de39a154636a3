package requant

import (
	"context"
	"errors"
	"fmt"

	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/freelist"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// A Descent changes the blocks of a matrix so that the error of its products, Σ |X·(w' - w)ᵀ|² over its rows w, falls:
// coordinate descent over the codes and over the scales and zero points of groups, all in the numbers that the type can
// store. Codes first get what GPTQ gives them (Frantar et al. 2022) where that is better. Where the inputs of another
// model are known, w are not the weights that are given but those with which X gives what those gave with Y. No step
// makes the error larger.
type Descent struct {
	Cross   *Cross
	Damping float64 // added to the diagonal of the Hessian, as a share of its mean
	Near    float64 // keeps w near the weights that are given, in the same unit
	Moves   int     // steps of conjugate gradients that w is away from them; 0: none, w is what is given
	Sweeps  int     // times that all columns are gone through

	begun bool          // start is made
	start *Compensation // where codes begin; nil where the Hessian is not positive definite
}

const (
	descentSpan   = 256  // columns that are searched between two products with the Hessian
	descentPasses = 4    // times that the codes and the scales of a span are gone through in turn, at most
	descentRows   = 1024 // rows that are searched together
)

// descent is a Descent at work on some rows.
type descent struct {
	*Descent
	w       *quant.Matrix
	n, span int
	damped  float64      // what is added to the Hessian's diagonal
	target  []float32    // (rows, n)
	missed  []float32    // (rows, n): the weights as they should be less those of the blocks
	slope   []float32    // (rows, span): missed times the span's columns of the Hessian
	block   []float32    // (span, span) of the Hessian
	gained  []float64    // by row: by how much its error has fallen
	points  *pointSearch // where weights are points of a lattice
}

// Improve changes the blocks of w, whose memory is written, towards the weights (Cols) that target gives by rows, and
// returns the summed error before and after. Errors: that of the context, weights or inputs that are not finite.
func (d *Descent) Improve(ctx context.Context, w *quant.Matrix,
	target func(dst []float32, r int)) (before, after float64, err error) {
	h := d.Cross.Hessian
	if w.Cols != h.N {
		panic(fmt.Sprintf("requant: %d columns, but the Hessian has %d", w.Cols, h.N))
	}
	h.mirror()
	mean := h.mean()
	if mean == 0 {
		return 0, 0, nil
	}
	damped := d.Damping * mean
	h.damp(damped)
	defer h.damp(-damped)
	var start *Compensation
	if quant.HasIntegerCodes(w.Type) {
		if !d.begun {
			d.start, _ = newCompensation(h, 0)
			d.begun = true
		}
		start = d.start
	}
	span := spanOf(w)
	for r0 := 0; r0 < w.Rows; r0 += descentRows {
		part := w.Slice(r0, min(w.Rows, r0+descentRows))
		s := &descent{Descent: d, w: &part, n: h.N, span: span, damped: damped}
		b, a, err := s.improve(ctx, start, func(dst []float32, r int) { target(dst, r0+r) })
		if err != nil {
			return 0, 0, err
		}
		before, after = before+b, after+a
	}
	return before, after, nil
}

// descend makes pieces of rows, which are dst and b, by descent from the base's blocks.
func (q *Requantizer) descend(dst []byte, b Rows, each func(do func(p piece)), load Source) {
	cols := q.Base.Cols
	each(func(p piece) {
		load(p.b, p.r0, p.r1)
		copy(p.b.New, p.b.Old)
		kernels.Axpy(q.Gain, p.b.Change, p.b.New)
		copy(p.dst, q.Base.Slice(p.r0, p.r1).Data)
	})
	w := quant.Matrix{Type: q.Base.Type, Rows: len(b.New) / cols, Cols: cols, Data: dst}
	// What is not finite is left as it is, and seen by the caller in b.
	_, _, _ = q.Descent.Improve(context.Background(), &w, func(row []float32, r int) { copy(row, b.New[r*cols:]) })
	each(func(p piece) { quant.Dequantize(q.Base.Type, p.b.New, p.dst) })
}

// spanOf is how many columns of a matrix are searched between two products: whole blocks, and a part of the columns
// without rest.
func spanOf(w *quant.Matrix) int {
	for span := min(w.Cols, descentSpan); span >= w.Type.BlockLen(); span-- {
		if w.Cols%span == 0 && span%w.Type.BlockLen() == 0 {
			return span
		}
	}
	return w.Cols
}

// improve is Improve of some rows.
func (s *descent) improve(ctx context.Context, start *Compensation,
	target func(dst []float32, r int)) (before, after float64, err error) {
	rows, n := s.w.Rows, s.n
	s.target, s.missed = make([]float32, rows*n), make([]float32, rows*n)
	s.slope, s.block = make([]float32, rows*max(s.span, n)), make([]float32, s.span*s.span)
	s.gained = make([]float64, rows)
	kernels.Parallel(rows, func(r int) { target(s.target[r*n:(r+1)*n], r) })
	if s.Moves > 0 {
		s.Cross.aim(s.target, rows, s.Near, s.damped, s.Moves)
	}
	errs := s.errors(s.w.Data)
	if start != nil {
		s.start(start, errs)
	}
	if quant.HasPoints(s.w.Type) {
		s.points = newPointSearch(s.w)
	}
	for _, e := range errs {
		before += e
	}
	if !floats.Finite(before) {
		return 0, 0, errors.New("the inputs or the weights are not finite")
	}
	for range s.Sweeps {
		for k0 := 0; k0 < n; k0 += s.span {
			if err := ctx.Err(); err != nil {
				return 0, 0, err
			}
			s.sweep(k0)
		}
	}
	after = before
	for _, g := range s.gained {
		after -= g
	}
	return before, after, nil
}

// setMissed is what blocks miss of the target.
func (s *descent) setMissed(blocks []byte) {
	size := s.w.RowSize()
	kernels.Parallel(s.w.Rows, func(r int) {
		row := s.missed[r*s.n : (r+1)*s.n]
		quant.Dequantize(s.w.Type, row, blocks[r*size:(r+1)*size])
		for i, t := range s.target[r*s.n : (r+1)*s.n] {
			row[i] = t - row[i]
		}
	})
}

// errors are the errors of rows with some blocks; missed is set to theirs.
func (s *descent) errors(blocks []byte) []float64 {
	s.setMissed(blocks)
	rows, n := s.w.Rows, s.n
	kernels.Gemm(false, false, rows, n, n, 1, s.missed, n, s.Cross.Hessian.sum, n, 0, s.slope, n)
	errs := make([]float64, rows)
	kernels.Parallel(rows, func(r int) {
		for i, m := range s.missed[r*n : (r+1)*n] {
			errs[r] += float64(m) * float64(s.slope[r*n+i])
		}
	})
	return errs
}

// start gives the rows that have less error with them the codes that compensation gives them with their scales.
func (s *descent) start(c *Compensation, errs []float64) {
	rows, n, size := s.w.Rows, s.n, s.w.RowSize()
	codes, half := make([]quant.Codes, rows), make([]float32, rows*n)
	for i := range half {
		half[i] = 0.5
	}
	for r := range codes {
		codes[r].Load(s.w.Type, s.w.Data[r*size:(r+1)*size])
	}
	c.round(codes, s.target, half)
	blocks := make([]byte, len(s.w.Data))
	for r := range codes {
		codes[r].Store(blocks[r*size : (r+1)*size])
	}
	for r, e := range s.errors(blocks) {
		if e < errs[r] {
			s.gained[r] += errs[r] - e
			copy(s.w.Data[r*size:(r+1)*size], blocks[r*size:])
		}
	}
	s.setMissed(s.w.Data)
}

// sweep searches the columns of a span from k0 on.
func (s *descent) sweep(k0 int) {
	rows, n, span := s.w.Rows, s.n, s.span
	h := s.Cross.Hessian.sum
	kernels.Gemm(false, false, rows, span, n, 1, s.missed, n, h[k0:], n, 0, s.slope, span)
	for i := range span {
		copy(s.block[i*span:(i+1)*span], h[(k0+i)*n+k0:])
	}
	size := s.w.RowSize()
	from, bytes := k0/s.w.Type.BlockLen()*s.w.Type.BlockSize(), span/s.w.Type.BlockLen()*s.w.Type.BlockSize()
	begin := func(r int, f *spanSearch) {
		f.begin(s, s.w.Data[r*size+from:][:bytes], s.slope[r*span:(r+1)*span])
	}
	end := func(r int, f *spanSearch) { s.gained[r] += f.end(s.missed[r*n+k0:][:span]) }
	if s.points != nil {
		s.points.search(rows, begin, end)
		return
	}
	kernels.Parallel(rows, func(r int) {
		f := spanSearches.Get()
		defer spanSearches.Put(f)
		begin(r, f)
		f.search()
		end(r, f)
	})
}

// A spanSearch searches the blocks of a span of a row.
type spanSearch struct {
	*descent
	blocks []byte
	slope  []float32 // half of how fast the error falls with each weight

	codes                         quant.Codes
	points                        quant.Points
	move                          quant.PointMove
	gained                        float64
	values, now, was, change, row []float32
	scale, offset                 []float32
	tried                         []byte
}

var spanSearches freelist.List[spanSearch]

// begin takes the blocks of a row and half of how fast its error falls with each weight.
func (f *spanSearch) begin(s *descent, blocks []byte, slope []float32) {
	f.descent, f.blocks, f.slope, f.gained = s, blocks, slope, 0
	for _, x := range []*[]float32{&f.values, &f.now, &f.was, &f.change, &f.row} {
		*x = floats.Sized(*x, s.span)
	}
	quant.Dequantize(f.w.Type, f.values, f.blocks)
	copy(f.was, f.values)
}

// end brings what the blocks miss up to date, and returns by how much the error has fallen.
func (f *spanSearch) end(missed []float32) (gained float64) {
	for i, v := range f.values {
		missed[i] -= v - f.was[i]
	}
	return f.gained
}

// search improves the blocks.
func (f *spanSearch) search() {
	for range descentPasses {
		codes := f.improveCodes()
		scales := f.improveScales()
		f.gained += codes + scales
		if codes == 0 && scales == 0 {
			return
		}
	}
}

// improveCodes moves each weight to the code at which the error is least, the others staying.
func (f *spanSearch) improveCodes() (gained float64) {
	if !quant.HasIntegerCodes(f.w.Type) {
		return 0
	}
	n := f.span
	f.codes.Load(f.w.Type, f.blocks)
	for k, v := range f.values {
		row := f.block[k*n : (k+1)*n]
		if row[k] <= 0 {
			continue
		}
		aim := v + f.slope[k]/row[k]
		moved := f.codes.Round(k, aim, 0.5)
		if moved == v {
			continue
		}
		by := moved - v
		fall := float64(by) * (2*float64(f.slope[k]) - float64(by)*float64(row[k]))
		if fall <= 0 {
			f.codes.Round(k, v, 0.5)
			continue
		}
		gained += fall
		kernels.Axpy(-by, row, f.slope)
		f.values[k] = moved
	}
	if gained > 0 {
		f.codes.Store(f.blocks)
	}
	return gained
}

// improveScales fits the scales and zero points of the groups to what the codes leave, one group after the other, and
// takes what the type can store of them where it lets the error fall.
func (f *spanSearch) improveScales() (gained float64) {
	t, n := f.w.Type, f.span
	if !quant.HasScales(t) || t.BlockLen() == 1 {
		return 0
	}
	m := quant.Matrix{Type: t, Rows: 1, Cols: n, Data: f.blocks}
	groups, size := m.Groups(), quant.GroupLen(t)
	f.scale, f.offset = floats.Sized(f.scale, groups), floats.Sized(f.offset, groups)
	m.Scales(f.scale, f.offset, 0)
	affine := quant.HasOffsets(t)
	slope := f.row
	copy(slope, f.slope)
	for g := range groups {
		i := g * size
		f.fitGroup(slope, i, size, &f.scale[g], &f.offset[g], affine)
	}
	f.tried = append(f.tried[:0], f.blocks...)
	quant.SetScales(t, f.tried, f.blocks, f.scale, f.offset)
	quant.Dequantize(t, f.now, f.tried)
	changed := false
	for i, v := range f.now {
		f.change[i] = v - f.values[i]
		changed = changed || f.change[i] != 0
	}
	if !changed {
		return 0
	}
	fall := 0.0
	clear(f.row)
	for i, c := range f.change {
		if c != 0 {
			kernels.Axpy(c, f.block[i*n:(i+1)*n], f.row)
			fall += 2 * float64(c) * float64(f.slope[i])
		}
	}
	for i, c := range f.change {
		fall -= float64(c) * float64(f.row[i])
	}
	if fall <= 0 {
		return 0
	}
	kernels.Axpy(-1, f.row, f.slope)
	copy(f.values, f.now)
	copy(f.blocks, f.tried)
	return fall
}

// fitGroup moves a group's scale and zero point to where the error is least, and the slope with them.
func (f *spanSearch) fitGroup(slope []float32, at, size int, scale, offset *float32, affine bool) {
	n := f.span
	var pp, p1, n11, gp, g1 float64
	for i := at; i < at+size; i++ {
		row := f.block[i*n+at : i*n+at+size]
		var hp, h1 float64
		for j, h := range row {
			hp += float64(h) * float64(f.values[at+j]-*offset)
			h1 += float64(h)
		}
		p := float64(f.values[i] - *offset)
		pp += p * hp
		p1 += p * h1
		n11 += h1
		gp += p * float64(slope[i])
		g1 += float64(slope[i])
	}
	var a, b float64
	switch det := pp*n11 - p1*p1; {
	case pp <= 0:
		return
	case affine && det > 1e-6*pp*n11:
		a, b = (gp*n11-g1*p1)/det, (g1*pp-gp*p1)/det
	default:
		a = gp / pp
	}
	for i := at; i < at+size; i++ {
		by := float32(a*float64(f.values[i]-*offset) + b)
		kernels.Axpy(-by, f.block[i*n:(i+1)*n], slope)
	}
	*scale *= float32(1 + a)
	*offset += float32(b)
}
