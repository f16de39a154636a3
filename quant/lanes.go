package quant

import (
	"sync"

	"github.com/peftconv/peftconv/kernels"
)

// Where there is assembly for it, the search for scales runs in lanes: on many groups of a row side by side. The steps
// and their order are those of the plain search, so the bytes are the same. The plain functions are the definition,
// and they take the groups that the assembly cannot handle (non-finite or very large numbers).

// haveLanes says whether searches can run in lanes.
func haveLanes() bool { return kernels.GroupLanes() > 0 }

// haveEights says whether there is assembly that fits the scales of eight groups: NEON's four lanes have none.
func haveEights() bool { return kernels.GroupLanes() >= 8 }

// A laneSearch is a search of up to MaxLanes groups, and its results.
type laneSearch struct {
	groups                              kernels.Groups
	scale, origin, inverse, from, total [kernels.MaxLanes]float32 // see kernels.Groups
	// bit i: group i was not searched and is left to the plain search
	skipped uint32

	find       func(l *laneSearch) (skipped uint32) // searches groups
	affine     *affineSearch                        // of findAffine, else nil
	half       int                                  // of findSymmetric and findRefined
	numerators []float32                            // the numbers of codes to try, in order

	positives kernels.Positives                        // the scales of super-blocks, each followed by its minima
	factor    [kernels.PositiveLanes]float32           // of the codes of these
	steps     [kernels.PositiveLanes][groupsQ2_K]uint8 // the codes

	memory [64]float32 // of numerators
	w      [maxGroup * kernels.MaxLanes]float32
	codes  [maxGroup * kernels.MaxLanes]uint8
}

// laneSearches keeps the memory of searches, which is large.
var laneSearches = sync.Pool{New: func() any { return new(laneSearch) }}

// newAffineLanes is s in lanes. It is to be given back to laneSearches.
func newAffineLanes(s *affineSearch) *laneSearch {
	l := laneSearches.Get().(*laneSearch)
	l.find, l.affine, l.numerators = findAffine, s, append(l.memory[:0], s.top)
	for i := 0; i <= s.steps; i++ {
		l.numerators = append(l.numerators, s.first+float32(s.step*float32(i))+s.top)
	}
	return l
}

// affineLanes and symmetricLanes make searches of one kind.
func affineLanes(s *affineSearch) func() *laneSearch {
	return func() *laneSearch { return newAffineLanes(s) }
}

func symmetricLanes(half int) func() *laneSearch {
	return func() *laneSearch { return newSymmetricLanes(half) }
}

// refinedLanes is refineSymmetric in lanes. It does not set codes.
func refinedLanes(half int) func() *laneSearch {
	return func() *laneSearch {
		l := newSymmetricLanes(half)
		l.find = findRefined
		return l
	}
}

// newSymmetricLanes is fitSymmetric in lanes. It is to be given back to laneSearches.
func newSymmetricLanes(half int) *laneSearch {
	l := laneSearches.Get().(*laneSearch)
	l.find, l.affine, l.half, l.numerators = findSymmetric, nil, half, append(l.memory[:0], float32(-half))
	for i := -9; i <= 9; i++ {
		if i != 0 {
			l.numerators = append(l.numerators, -(float32(half) + float32(0.1*float32(i))))
		}
	}
	return l
}

// fit searches the groups of n weights in x, at most MaxLanes. weigh sets the weights of the errors; where it is nil
// they are w.
func (l *laneSearch) fit(x, w []float32, n int, weigh func(g *kernels.Groups)) {
	g := &l.groups
	l.skipped = 0
	for at := 0; at*n < len(x); {
		count := g.Load(x[at*n:], n)
		if weigh != nil {
			weigh(g)
		} else {
			g.Weigh(w[at*n : len(x)])
		}
		l.skipped |= l.find(l) & (1<<count - 1) << at
		copy(l.scale[at:], g.Scale[:count])
		copy(l.origin[at:], g.Origin[:count])
		copy(l.inverse[at:], g.Inverse[:count])
		copy(l.from[at:], g.From[:count])
		copy(l.total[at:], g.Total[:count])
		at += count
	}
}

func findAffine(l *laneSearch) (skipped uint32) {
	return l.groups.FitAffine(l.numerators, l.affine.absolute)
}

func findSymmetric(l *laneSearch) (skipped uint32) {
	return l.groups.FitSymmetric(l.half, l.numerators)
}

// findRefined is the search of refineSymmetric.
func findRefined(l *laneSearch) (skipped uint32) { return l.groups.RefineSymmetric(l.half) }

// findIQ4 is the search of fitIQ4.
func findIQ4(l *laneSearch) (skipped uint32) { return l.groups.FitIQ4(l.numerators) }

// groupCodes sets codes to those that the search found for the group x, number i.
func (l *laneSearch) groupCodes(codes []uint8, x []float32, i int) {
	switch {
	case l.affine != nil:
		for j, v := range x {
			codes[j] = uint8(nearestClamped(float32(l.inverse[i]*(v-l.from[i])), 0, int(l.affine.top)))
		}
	case l.inverse[i] == 0:
		clear(codes)
	default:
		for j, v := range x {
			codes[j] = uint8(l.half + nearestClamped(float32(l.inverse[i]*v), -l.half, l.half-1))
		}
	}
}

// minima is the minimum of each group of a search with one.
func (l *laneSearch) minima() (minimum [kernels.MaxLanes]float32) {
	for i, f := range l.origin {
		minimum[i] = -f
	}
	return minimum
}

// noMinimum is the minima of groups without.
var noMinimum [kernels.MaxLanes]float32

// round quantizes the weights of a super-block again, with the scales and minima of its groups, from number at: to
// codes lo to hi, which it returns counted from lo. A group whose scale was rounded to 0 keeps the codes of its
// search.
func (l *laneSearch) round(x *[weightsK]float32, scale, minimum []float32, lo, hi, at int) *[weightsK]uint8 {
	codes, n := (*[weightsK]uint8)(l.codes[:]), weightsK/len(scale)
	kernels.DivideLevels(codes[:], x[:], n, minimum, scale, lo, hi)
	for i, s := range scale {
		if s == 0 {
			l.groupCodes(codes[n*i:][:n], x[n*i:][:n], at+i)
		}
	}
	return codes
}

// A laneFormat is a way of making super-blocks of 256 weights in groups that are searched in lanes.
type laneFormat struct {
	n, bytes int                     // weights in a group, bytes in a super-block
	lanes    func() *laneSearch      // the search
	weigh    func(g *kernels.Groups) // without importance
	// with importance: errorWeights has this times the mean square; 0: importance alone counts
	spread float32
	// with importance: the highest code of scales and minima, which a factor is searched for; 0: there is no such factor
	topScale int

	plain  func(dst []byte, row, importance []float32)                 // the definition
	finish func(b []byte, x *[weightsK]float32, l *laneSearch, at int) // makes a block; its first group is number at
}

// quantize is plain, in lanes.
func (f *laneFormat) quantize(dst []byte, row, importance []float32) {
	l := f.lanes()
	defer laneSearches.Put(l)
	perBlock := weightsK / f.n
	most := max(1, kernels.GroupLanes()/perBlock)
	for len(row) >= weightsK {
		blocks := min(most, len(row)/weightsK)
		x := row[:blocks*weightsK]
		l.fit(x, f.weights(l, x, importance), f.n, f.weigh)
		if f.topScale > 0 {
			l.fitScales(blocks, perBlock, f.topScale)
		}
		for i := range blocks {
			b, x := dst[:f.bytes], x[i*weightsK:][:weightsK]
			if l.skipped>>(i*perBlock)&(1<<perBlock-1) != 0 {
				f.plain(b, x, importance)
			} else {
				f.finish(b, (*[weightsK]float32)(x), l, i*perBlock)
			}
			dst = dst[f.bytes:]
			if importance != nil {
				importance = importance[weightsK:]
			}
		}
		row = row[len(x):]
	}
}

// fitScales is fitPositive for the scales and the minima of super-blocks of n groups.
func (l *laneSearch) fitScales(blocks, n, top int) {
	for first := 0; first < blocks; first += kernels.PositiveLanes / 2 {
		p, count := &l.positives, min(kernels.PositiveLanes/2, blocks-first)
		for i := range kernels.PositiveLanes / 2 {
			at := min(first+i, blocks-1) * n
			for j := range n {
				p.X[j][2*i], p.X[j][2*i+1] = l.scale[at+j], -l.origin[at+j]
				p.W[j][2*i], p.W[j][2*i+1] = l.total[at+j], l.total[at+j]
			}
		}
		skipped := p.Fit(n, top)
		for i := range 2 * count {
			to := 2*first + i
			codes := l.steps[to][:n]
			if skipped>>i&1 == 0 {
				l.factor[to] = p.Scale[i]
				for j := range codes {
					codes[j] = uint8(p.Level[j][i])
				}
				continue
			}
			var x, w [groupsQ2_K]float32
			for j := range n {
				x[j], w[j] = p.X[j][i], p.W[j][i]
			}
			l.factor[to] = fitPositive(codes, x[:n], w[:n], top)
		}
	}
}

// weights is the weights of the errors of x, where there is importance.
func (f *laneFormat) weights(l *laneSearch, x, importance []float32) []float32 {
	if importance == nil || f.spread == 0 {
		return importance
	}
	for i := 0; i < len(x); i += weightsK {
		b := x[i:][:weightsK]
		spread := float32(f.spread*sumSquares(b)) / weightsK
		kernels.ErrorWeights(l.w[i:][:weightsK], b, importance[i:][:weightsK], spread)
	}
	return l.w[:len(x)]
}

// quantizeBlocks quantizes a row of blocks of 32 weights with importance. pack makes a block.
func (l *laneSearch) quantizeBlocks(
	dst []byte, row, importance []float32, size int, pack func(b []byte, codes *[32]uint8, scale, origin float32),
) {
	defer laneSearches.Put(l)
	spread := sumSquares(row) / float32(len(row))
	for len(row) > 0 {
		n := min(kernels.GroupLanes(), len(row)/maxGroup)
		x, w, codes := row[:n*maxGroup], l.w[:n*maxGroup], l.codes[:n*maxGroup]
		kernels.ErrorWeights(w, x, importance[:len(x)], spread)
		l.fit(x, w, maxGroup, nil)
		l.blockCodes(codes, x, w, n)
		for i := range n {
			pack(dst[i*size:][:size], (*[32]uint8)(codes[i*maxGroup:]), l.scale[i], l.origin[i])
		}
		row, importance, dst = row[len(x):], importance[len(x):], dst[n*size:]
	}
}

// blockCodes sets the codes of n blocks to those that the search found, and searches the groups that were left to the
// plain search.
func (l *laneSearch) blockCodes(codes []uint8, x, w []float32, n int) {
	if l.affine != nil {
		kernels.MultiplyLevels(codes, x, maxGroup, l.from[:n], l.inverse[:n], 0, int(l.affine.top))
	} else {
		kernels.MultiplyLevels(codes, x, maxGroup, l.from[:n], l.inverse[:n], -l.half, l.half-1)
	}
	for i := range n {
		at := i * maxGroup
		codes, x, w := codes[at:][:maxGroup], x[at:][:maxGroup], w[at:][:maxGroup]
		switch {
		case l.skipped>>i&1 == 0:
			if l.inverse[i] == 0 {
				clear(codes)
			}
		case l.affine != nil:
			scale, minimum := l.affine.fit(codes, x, w)
			l.scale[i], l.origin[i] = scale, -minimum
		default:
			l.scale[i] = fitSymmetric(codes, x, w, l.half)
		}
	}
}
