//go:build !purego

package kernels

import "unsafe"

// groupLanes is the groups of one vector.
func groupLanes() int { return vectorLanes() }

// vectorLanes is the float32 in a vector.
func vectorLanes() int {
	if current == tierGeneric {
		return 0
	}
	return 4
}

// loadLanes sets to[lanes*i+l] to x[n*l+i], and the lanes beyond the groups to the last of them.
func loadLanes(n int, to *float32, x []float32, groups int) {
	transposeNEON(n, to, 4, &x[0], n, groups)
}

// loadGroups is loadLanes for groups.
func loadGroups(n int, to *[maxGroup * MaxLanes]float32, x []float32, groups int) {
	loadLanes(n, &to[0], x, groups)
}

//go:noescape
func laneMeanNEON(n int, inverse float32, w, x *float32)

// laneMean is, with Σ over a group of n, a power of two,
//
//	w = √(Σ x² · inverse) + |x|
func laneMean(n int, inverse float32, w, x *[maxGroup * MaxLanes]float32) {
	laneMeanNEON(n, inverse, &w[0], &x[0])
}

// everyGroup leaves all groups to the plain search.
const everyGroup = 1<<MaxLanes - 1

// slots is the fields from Scale on, in the order in which the assembly numbers them.
func (g *Groups) slots() *[14][32]float32 { return (*[14][32]float32)(unsafe.Pointer(&g.Scale)) }

//go:noescape
func fitAffineNEON(n int, x, w, level *float32, trials int, numerators *float32, fit *[14][32]float32) (skipped uint32)

//go:noescape
func fitAffineAbsoluteNEON(n int, x, w, level *float32, trials int, numerators *float32,
	fit *[14][32]float32) (skipped uint32)

func fitAffine(g *Groups, numerators []float32, absolute bool) (skipped uint32) {
	n, x, w, level, trials, numerator := g.n, &g.x[0], &g.w[0], &g.levels[0], len(numerators)-1, &numerators[0]
	switch {
	case current == tierGeneric:
		return everyGroup
	case absolute:
		return fitAffineAbsoluteNEON(n, x, w, level, trials, numerator, g.slots())
	}
	return fitAffineNEON(n, x, w, level, trials, numerator, g.slots())
}

//go:noescape
func fitSymmetricNEON(n int, x, w, wx *float32, half float32, trials int, numerators *float32,
	fit *[14][32]float32) (skipped uint32)

func fitSymmetric(g *Groups, half float32, numerators []float32) (skipped uint32) {
	if current == tierGeneric {
		return everyGroup
	}
	return fitSymmetricNEON(g.n, &g.x[0], &g.w[0], &g.levels[0], half, len(numerators)-1, &numerators[0], g.slots())
}

//go:noescape
func refineSymmetricNEON(n int, x, level *float32, half float32, fit *[14][32]float32) (skipped uint32)

func refineSymmetric(g *Groups, half float32) (skipped uint32) {
	if current == tierGeneric {
		return everyGroup
	}
	return refineSymmetricNEON(g.n, &g.x[0], &g.levels[0], half, g.slots())
}

//go:noescape
func fitIQ4NEON(n int, x, w *float32, trials int, numerators *float32, fit *[14][32]float32) (skipped uint32)

func fitIQ4(g *Groups, numerators []float32) (skipped uint32) {
	if current == tierGeneric {
		return everyGroup
	}
	return fitIQ4NEON(g.n, &g.x[0], &g.w[0], len(numerators), &numerators[0], g.slots())
}

//go:noescape
func levelsIQ4NEON(groups int, level *uint8, x, factor *float32)

func levelsIQ4(level []uint8, x, factor []float32) bool {
	if current == tierGeneric {
		return false
	}
	levelsIQ4NEON(len(factor), unsafe.SliceData(level), ptr(x), ptr(factor))
	return true
}

//go:noescape
func positiveErrorsNEON(n int, x, w, inverse, sums *float32, top int32)

func positiveErrors(x, w []float32, inverse, sums *[8]float32, top int) bool {
	if current == tierGeneric {
		return false
	}
	positiveErrorsNEON(len(x), ptr(x), ptr(w), &inverse[0], &sums[0], int32(top))
	return true
}

//go:noescape
func errorWeightsNEON(n int, w, x, importance *float32, spread float32)

func errorWeights(w, x, importance []float32, spread float32) {
	if current == tierGeneric {
		errorWeightsGeneric(w, x, importance, spread)
		return
	}
	errorWeightsNEON(len(w), ptr(w), ptr(x), ptr(importance), spread)
}

//go:noescape
func divideLevelsNEON(groups, n int, level *uint8, x, a, b *float32, lo, hi int32)

func divideLevels(level []uint8, x []float32, n int, add, divisor []float32, lo, hi int) {
	if current == tierGeneric {
		divideLevelsGeneric(level, x, n, add, divisor, lo, hi)
		return
	}
	divideLevelsNEON(len(add), n, unsafe.SliceData(level), ptr(x), ptr(add), ptr(divisor), int32(lo), int32(hi))
}

//go:noescape
func multiplyLevelsNEON(groups, n int, level *uint8, x, a, b *float32, lo, hi int32)

func multiplyLevels(level []uint8, x []float32, n int, from, factor []float32, lo, hi int) {
	if current == tierGeneric {
		multiplyLevelsGeneric(level, x, n, from, factor, lo, hi)
		return
	}
	multiplyLevelsNEON(len(from), n, unsafe.SliceData(level), ptr(x), ptr(from), ptr(factor), int32(lo), int32(hi))
}

//go:noescape
func quantizeF16NEON(blocks int, dst *uint8, src *float32)

//go:noescape
func quantizeBF16NEON(blocks int, dst *uint8, src *float32)

//go:noescape
func quantizeQ8_0NEON(blocks int, dst *uint8, src *float32)

//go:noescape
func quantizeQ4_0NEON(blocks int, dst *uint8, src *float32)

//go:noescape
func quantizeQ5_0NEON(blocks int, dst *uint8, src *float32)

// quantize is Quantize of this many blocks, at least one; it reports whether there is assembly for it.
func quantize(kind BlockKind, blocks int, dst []byte, src []float32) bool {
	if current == tierGeneric {
		return false
	}
	switch kind {
	case F16Block:
		quantizeF16NEON(blocks, &dst[0], &src[0])
	case BF16Block:
		quantizeBF16NEON(blocks, &dst[0], &src[0])
	case Q4_0:
		quantizeQ4_0NEON(blocks, &dst[0], &src[0])
	case Q5_0:
		quantizeQ5_0NEON(blocks, &dst[0], &src[0])
	case Q8_0:
		quantizeQ8_0NEON(blocks, &dst[0], &src[0])
	default:
		return false
	}
	return true
}

func fitPositives(p *Positives, n int, top float32, trials *[9]float32) (skipped uint32) {
	return 1<<PositiveLanes - 1
}
