package peft

import (
	"crypto/sha256"
	"encoding/hex"
	"math"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

func (m *qat) bind(b *Base, values, grads []Param, strength float64) (attachment, error) {
	linears, err := m.linears(b, values)
	if err != nil {
		return nil, err
	}
	at := &qatAttachment{sites: make(map[*model.Linear]*qatSite, len(linears))}
	for i, l := range linears {
		mod := m.modules[i]
		s := &qatSite{
			tensor: l.Tensor, base: &l.W, snapped: l.W, factor: float32(m.settings.Alpha / float64(m.settings.Rank) * strength),
			rowFactor: float32(strength), trained: grads != nil,
		}
		s.snapped.Data = make([]byte, len(l.W.Data))
		pair := func(channel string) (p qatPair) {
			if at, ok := mod.low[channel]; ok {
				p.a, p.b = leaf(values, grads, at[0]), leaf(values, grads, at[1])
			}
			return p
		}
		s.scale, s.offset, s.code = pair(ChannelScale), pair(ChannelOffset), pair(ChannelCode)
		if mod.row >= 0 {
			s.row = leaf(values, grads, mod.row)
		}
		if m.settings.Dither == DitherUniform {
			s.dither = newRandom(m.settings.Seed, mod.name).next() | 1
		}
		at.sites[l] = s
		at.order = append(at.order, s)
	}
	return at, nil
}

// qatPair is the pair of matrices of one channel; a is nil where there is none.
type qatPair struct{ a, b *autograd.Tensor }

// addRow is dst += factor·B[row]·A. Each product is fused with its addition, in a fixed order: the result is the same on every
// processor, because merging elsewhere must give the bytes of training.
func (p qatPair) addRow(dst []float32, row int, factor float32) {
	const piece = 2048 // values that stay in the cache
	b := p.b.Row(row)
	for from := 0; from < len(dst); from += piece {
		to := min(from+piece, len(dst))
		for r, v := range b {
			if v = float32(factor * v); v != 0 {
				fusedAxpy(v, p.a.Row(r)[from:to], dst[from:to])
			}
		}
	}
}

// fusedAxpy is y += a·x, rounded once, as the assembly of kernels.Axpy computes it of whole vectors.
func fusedAxpy(a float32, x, y []float32) {
	const vector = 16
	done := 0
	if kernels.Tier() != "generic" {
		done = len(x) &^ (vector - 1)
		kernels.Axpy(a, x[:done], y[:done])
	}
	for i := done; i < len(x); i++ {
		y[i] = fused(a, x[i], y[i])
	}
}

// fused is a·x + y rounded once. In float64 the product is exact; the sum is rounded to odd, so that rounding it again to
// float32 does no harm (Boldo and Melquiond 2008, "Emulation of a FMA and Correctly Rounded Sums").
func fused(a, x, y float32) float32 {
	product, addend := float64(a)*float64(x), float64(y)
	sum := product + addend
	part := sum - product
	missing := (product - (sum - part)) + (addend - part)
	bits := math.Float64bits(sum)
	if missing != 0 && bits&1 == 0 { // also where it is NaN
		if (missing > 0) == (sum > 0) {
			bits++
		} else {
			bits--
		}
		sum = math.Float64frombits(bits)
	}
	return float32(sum)
}

// qatAttachment is a quantization-aware adapter at work.
type qatAttachment struct {
	plain
	sites map[*model.Linear]*qatSite
	order []*qatSite
}

// snapped is the SHA-256 of the moved blocks by the names of their tensors; nil for adapters that move none.
func (bd *Bound) snapped() map[string]string {
	at, ok := bd.attachment.(*qatAttachment)
	if !ok {
		return nil
	}
	hashes := make([]string, len(at.order))
	kernels.Parallel(len(hashes), func(i int) {
		sum := sha256.Sum256(at.order[i].snapped.Data)
		hashes[i] = hex.EncodeToString(sum[:])
	})
	byName := make(map[string]string, len(hashes))
	for i, s := range at.order {
		byName[s.tensor] = hashes[i]
	}
	return byName
}

// qatSite is one matrix with its blocks moved.
type qatSite struct {
	tensor              string // its name in the file
	base                *quant.Matrix
	snapped             quant.Matrix // as base, in memory of its own
	scale, offset, code qatPair
	row                 *autograd.Tensor // (out, 1) or nil
	factor, rowFactor   float32
	dither              uint64 // seed; 0: none
	trained             bool
}

// Weights is the matrix with its blocks moved.
func (at *qatAttachment) Weights(l *model.Linear, w *quant.Matrix) *quant.Matrix {
	if s := at.sites[l]; s != nil {
		return &s.snapped
	}
	return w
}

// stepped moves the blocks to where the tensors now say.
func (at *qatAttachment) stepped(int, int) {
	for _, s := range at.order {
		s.snap()
	}
}

// movesBlocks reports whether the adapter moves blocks of the base: of several at work only one may.
func (bd *Bound) movesBlocks() bool {
	_, ok := bd.attachment.(*qatAttachment)
	return ok
}

// snapRows is the number of rows that a thread takes at a time.
const snapRows = 8

func (s *qatSite) snap() {
	rows := s.base.Rows
	kernels.Parallel((rows+snapRows-1)/snapRows, func(i int) {
		var scratch snapScratch
		for r := i * snapRows; r < min(rows, (i+1)*snapRows); r++ {
			s.snapRow(r, &scratch)
		}
	})
}

// snapScratch is memory for the numbers of one row.
type snapScratch struct{ scale, offset, factor, change, dither []float32 }

// snapRow makes one row of the moved blocks. It is the only place that does: training and merging both read what it wrote.
func (s *qatSite) snapRow(r int, m *snapScratch) {
	base, size := s.base, s.base.RowSize()
	from, to := base.Data[r*size:(r+1)*size], s.snapped.Data[r*size:(r+1)*size]
	if s.scale.a != nil || s.offset.a != nil || s.row != nil {
		s.wanted(r, m)
		quant.Regrid(base.Type, to, from, m.scale, m.offset)
		from = to
	}
	if s.code.a == nil {
		return
	}
	m.change = sized(m.change, base.Cols)
	clear(m.change)
	s.code.addRow(m.change, r, s.factor)
	var round quant.Rounding
	if s.dither != 0 {
		m.dither = sized(m.dither, base.Cols)
		ditherRow(m.dither, s.dither, r)
		round.Dither = m.dither
	}
	quant.Recode(base.Type, to, from, m.change, round)
}

// wanted computes the scales and offsets that the groups of a row should have.
func (s *qatSite) wanted(r int, m *snapScratch) {
	groups := s.base.Groups()
	m.scale, m.offset, m.factor = sized(m.scale, groups), sized(m.offset, groups), sized(m.factor, groups)
	s.base.Grid(m.scale, m.offset, r)
	clear(m.factor)
	if s.scale.a != nil {
		s.scale.addRow(m.factor, r, s.factor)
	}
	if s.row != nil {
		shift := float32(s.rowFactor * s.row.Data[r])
		for g := range m.factor {
			m.factor[g] += shift
		}
	}
	for g, f := range m.factor {
		m.scale[g] *= 1 + f
		m.offset[g] *= 1 + f
	}
	if s.offset.a != nil {
		s.offset.addRow(m.offset, r, s.factor)
	}
}

// sized is x with n values, or new memory for them.
func sized(x []float32, n int) []float32 {
	if cap(x) < n {
		return make([]float32, n)
	}
	return x[:n]
}

// ditherRow fills u with numbers in [0, 1) that depend on the seed and the place alone. They are multiples of 2⁻¹⁶, so that
// adding one to a level is exact.
func ditherRow(u []float32, seed uint64, row int) {
	r := random{state: mix(seed ^ uint64(row)*0x9e3779b97f4a7c15)}
	for i := 0; i < len(u); i += 4 {
		bits := r.next()
		for j := i; j < min(i+4, len(u)); j++ {
			u[j] = float32(uint16(bits)) / (1 << 16)
			bits >>= 16
		}
	}
}

// Linear records what backward needs for the gradients.
func (at *qatAttachment) Linear(t *autograd.Tape, l *model.Linear, x, y *autograd.Tensor) *autograd.Tensor {
	s := at.sites[l]
	if s == nil || !s.trained {
		return y
	}
	if s.code.a != nil {
		t.TapLowRank(y, x, s.code.a, s.code.b, s.factor, 1)
	}
	if s.scale.a != nil || s.row != nil {
		t.TapRows(y, x, &groupGradient{site: s})
	} else if s.offset.a != nil {
		t.TapLowRank(y, x, s.offset.a, s.offset.b, s.factor, quant.GroupLen(s.base.Type))
	}
	return y
}

// groupGradient collects the gradients of the factors and offsets of all groups of a matrix.
type groupGradient struct {
	site           *qatSite
	factor, offset []float32 // (out, groups)
	weights        []float32 // of the rows under way
}

// AddRows sums the gradient of the weights over groups: as it is for offsets, times the weights of the base for factors.
func (g *groupGradient) AddRows(t *autograd.Tape, r0, r1 int, dw []float32) {
	w := g.site.base
	groups, n := w.Groups(), quant.GroupLen(w.Type)
	if r0 == 0 {
		g.factor, g.weights = t.Scratch(w.Rows*groups), t.Scratch((r1-r0)*w.Cols)
		if g.site.offset.a != nil {
			g.offset = t.Scratch(w.Rows * groups)
		}
	}
	kernels.Parallel((r1-r0+snapRows-1)/snapRows, func(i int) {
		for r := r0 + i*snapRows; r < min(r1, r0+(i+1)*snapRows); r++ {
			row, grad := g.weights[(r-r0)*w.Cols:][:w.Cols], dw[(r-r0)*w.Cols:][:w.Cols]
			w.Row(row, r)
			for j := range groups {
				from, to := j*n, min((j+1)*n, w.Cols)
				g.factor[r*groups+j] = kernels.Dot(grad[from:to], row[from:to])
				if g.offset != nil {
					g.offset[r*groups+j] = sumOf(grad[from:to])
				}
			}
		}
	})
}

func sumOf(x []float32) (sum float32) {
	for _, v := range x {
		sum += v
	}
	return sum
}

// Done takes the gradients of factors and offsets to the tensors that these are made from.
func (g *groupGradient) Done(*autograd.Tape) {
	s := g.site
	if s.scale.a != nil {
		s.scale.addGradient(g.factor, s.factor)
	}
	if s.offset.a != nil {
		s.offset.addGradient(g.offset, s.factor)
	}
	if s.row != nil {
		groups := s.base.Groups()
		for r := range s.row.Grad {
			s.row.Grad[r] += s.rowFactor * sumOf(g.factor[r*groups:(r+1)*groups])
		}
	}
}

// addGradient adds to the gradients of A and B those that follow from the gradient d (out, groups) of factor·B·A.
func (p qatPair) addGradient(d []float32, factor float32) {
	out, rank, groups := p.b.Rows, p.a.Rows, p.a.Cols
	kernels.Gemm(false, true, out, rank, groups, factor, d, groups, p.a.Data, groups, 1, p.b.Grad, rank) // dB += factor·d·Aᵀ
	kernels.Gemm(true, false, rank, groups, out, factor, p.b.Data, rank, d, groups, 1, p.a.Grad, groups) // dA += factor·Bᵀ·d
}

// deltas are the differences between the moved blocks and those of the base.
func (at *qatAttachment) deltas() map[*model.Linear]delta {
	all := make(map[*model.Linear]delta, len(at.sites))
	for l, s := range at.sites {
		all[l] = s
	}
	return all
}

// addRows is dst += moved - base.
func (s *qatSite) addRows(dst []float32, r0, r1 int) {
	row := make([]float32, s.base.Cols)
	for r := r0; r < r1; r++ {
		to := dst[(r-r0)*len(row):][:len(row)]
		s.snapped.Row(row, r)
		kernels.Add(to, row)
		s.base.Row(row, r)
		kernels.Axpy(-1, row, to)
	}
}
