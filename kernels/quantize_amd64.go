//go:build !purego

package kernels

import "unsafe"

// vectorLanes is the float32 in a vector.
func vectorLanes() int {
	switch current {
	case tierAVX512, tierAMX:
		return 16
	case tierAVX2:
		return 8
	}
	return 0
}

// groupLanes is the groups of two vectors.
func groupLanes() int { return 2 * vectorLanes() }

// loadLanes sets to[lanes*i+l] to x[n*l+i], and the lanes beyond the groups to the last of them.
func loadLanes(n int, to *float32, x []float32, groups int) {
	loadSpread(n, to, vectorLanes(), x, groups)
}

// loadSpread is loadLanes with elements width apart.
func loadSpread(n int, to *float32, width int, x []float32, groups int) {
	if current >= tierAVX512 {
		transposeAVX512(n, to, width, &x[0], n, groups)
	} else {
		transposeAVX2(n, to, width, &x[0], n, groups)
	}
}

// loadGroups is loadLanes for two vectors of groups.
func loadGroups(n int, to *[maxGroup * MaxLanes]float32, x []float32, groups int) {
	lanes := vectorLanes()
	loadSpread(n, &to[0], 2*lanes, x, min(lanes, groups))
	x = x[n*min(lanes, groups-1):]
	loadSpread(n, &to[lanes], 2*lanes, x, len(x)/n)
}

//go:noescape
func laneMeanAVX512(n int, inverse float32, w, x *float32)

//go:noescape
func laneMeanAVX2(n int, inverse float32, w, x *float32)

// laneMean is, with Σ over a group of n, a power of two,
//
//	w = √(Σ x² · inverse) + |x|
func laneMean(n int, inverse float32, w, x *[maxGroup * MaxLanes]float32) {
	if current >= tierAVX512 {
		laneMeanAVX512(n, inverse, &w[0], &x[0])
		laneMeanAVX512(n, inverse, &w[16], &x[16])
	} else {
		laneMeanAVX2(n, inverse, &w[0], &x[0])
		laneMeanAVX2(n, inverse, &w[8], &x[8])
	}
}

//go:noescape
func fitAffineAVX512(n int, x *float32, trials int, numerators *float32, perStep float32, ties *float32,
	fit *[14][32]float32) (skipped uint32)

//go:noescape
func fitAffineAbsoluteAVX512(n int, x *float32, trials int, numerators *float32, perStep float32, ties *float32,
	fit *[14][32]float32) (skipped uint32)

//go:noescape
func fitAffineAVX2(n int, x *float32, trials int, numerators *float32, perStep float32, ties *float32,
	fit *[14][32]float32) (skipped uint32)

//go:noescape
func fitAffineFewAVX2(n int, x *float32, trials int, numerators *float32, perStep float32, ties *float32,
	fit *[14][32]float32) (skipped uint32)

//go:noescape
func fitAffineFewAbsoluteAVX2(n int, x *float32, trials int, numerators *float32, perStep float32, ties *float32,
	fit *[14][32]float32) (skipped uint32)

// everyGroup leaves all groups to the plain search.
const everyGroup = 1<<MaxLanes - 1

// slots is the fields from Scale on, in the order in which the assembly numbers them.
func (g *Groups) slots() *[14][32]float32 { return (*[14][32]float32)(unsafe.Pointer(&g.Scale)) }

// fitAffine has tables of at most 32 levels in AVX-512, and of few in AVX2.
func fitAffine(g *Groups, numerators []float32, absolute bool) (skipped uint32) {
	const few = 8
	n, x, trials, numerator, top := g.n, &g.x[0], len(numerators)-1, &numerators[0], int(numerators[0])
	if trials < 2 || top >= 32 {
		return everyGroup
	}
	var ties [32]float32
	for l := range top {
		ties[l] = 1 / (float32(l) + 0.5)
	}
	perStep, tie := 1/(numerators[2]-numerators[1]), &ties[0]
	switch {
	case current >= tierAVX512 && absolute:
		return fitAffineAbsoluteAVX512(n, x, trials, numerator, perStep, tie, g.slots())
	case current >= tierAVX512:
		return fitAffineAVX512(n, x, trials, numerator, perStep, tie, g.slots())
	case absolute && top >= few:
		return everyGroup
	case absolute:
		return fitAffineFewAbsoluteAVX2(n, x, trials, numerator, perStep, tie, g.slots())
	case top < few:
		return fitAffineFewAVX2(n, x, trials, numerator, perStep, tie, g.slots())
	}
	return fitAffineAVX2(n, x, trials, numerator, perStep, tie, g.slots())
}

//go:noescape
func fitSymmetricAVX512(n int, x, w, wx *float32, half float32, trials int, numerators, fit *float32) (skipped uint32)

//go:noescape
func fitSymmetricAVX2(n int, x, w, wx *float32, half float32, trials int, numerators, fit *float32) (skipped uint32)

// eachVector runs a search for the vectors that have groups; at is the first lane.
func (g *Groups) eachVector(search func(at int) uint32) (skipped uint32) {
	lanes := vectorLanes()
	for at := 0; at < g.count; at += lanes {
		skipped |= search(at) << at
	}
	return skipped
}

func fitSymmetric(g *Groups, half float32, numerators []float32) (skipped uint32) {
	n, trials, numerator := g.n, len(numerators)-1, &numerators[0]
	return g.eachVector(func(at int) uint32 {
		x, w, wx, fit := &g.x[at], &g.w[at], &g.levels[at], &g.Scale[at]
		if current >= tierAVX512 {
			return fitSymmetricAVX512(n, x, w, wx, half, trials, numerator, fit)
		}
		return fitSymmetricAVX2(n, x, w, wx, half, trials, numerator, fit)
	})
}

//go:noescape
func refineSymmetricAVX512(n int, x, level *float32, half float32, fit *float32) (skipped uint32)

//go:noescape
func refineSymmetricAVX2(n int, x, level *float32, half float32, fit *float32) (skipped uint32)

func refineSymmetric(g *Groups, half float32) (skipped uint32) {
	return g.eachVector(func(at int) uint32 {
		if current >= tierAVX512 {
			return refineSymmetricAVX512(g.n, &g.x[at], &g.levels[at], half, &g.Scale[at])
		}
		return refineSymmetricAVX2(g.n, &g.x[at], &g.levels[at], half, &g.Scale[at])
	})
}

//go:noescape
func fitIQ4AVX512(n int, x, w *float32, trials int, numerators, fit *float32) (skipped uint32)

//go:noescape
func fitIQ4AVX2(n int, x, w *float32, trials int, numerators, fit *float32) (skipped uint32)

func fitIQ4(g *Groups, numerators []float32) (skipped uint32) {
	n, trials, numerator := g.n, len(numerators), &numerators[0]
	return g.eachVector(func(at int) uint32 {
		if current >= tierAVX512 {
			return fitIQ4AVX512(n, &g.x[at], &g.w[at], trials, numerator, &g.Scale[at])
		}
		return fitIQ4AVX2(n, &g.x[at], &g.w[at], trials, numerator, &g.Scale[at])
	})
}

//go:noescape
func levelsIQ4AVX512(groups int, level *uint8, x, factor *float32)

//go:noescape
func levelsIQ4AVX2(groups int, level *uint8, x, factor *float32)

func levelsIQ4(level []uint8, x, factor []float32) bool {
	switch current {
	case tierAVX512, tierAMX:
		levelsIQ4AVX512(len(factor), unsafe.SliceData(level), ptr(x), ptr(factor))
	case tierAVX2:
		levelsIQ4AVX2(len(factor), unsafe.SliceData(level), ptr(x), ptr(factor))
	default:
		return false
	}
	return true
}

//go:noescape
func positiveErrorsAVX2(n int, x, w, inverse, sums *float32, top int32)

func positiveErrors(x, w []float32, inverse, sums *[8]float32, top int) bool {
	if groupLanes() == 0 {
		return false
	}
	positiveErrorsAVX2(len(x), ptr(x), ptr(w), &inverse[0], &sums[0], int32(top))
	return true
}

//go:noescape
func fitPositiveAVX2(n int, x, w, level *float32, top float32, trials *float32, scale *float32) (skipped uint32)

func fitPositives(p *Positives, n int, top float32, trials *[9]float32) (skipped uint32) {
	return fitPositiveAVX2(n, &p.X[0][0], &p.W[0][0], &p.Level[0][0], top, &trials[0], &p.Scale[0])
}

//go:noescape
func errorWeightsAVX512(n int, w, x, importance *float32, spread float32)

//go:noescape
func errorWeightsAVX2(n int, w, x, importance *float32, spread float32)

func errorWeights(w, x, importance []float32, spread float32) {
	switch current {
	case tierAVX512, tierAMX:
		errorWeightsAVX512(len(w), ptr(w), ptr(x), ptr(importance), spread)
	case tierAVX2:
		errorWeightsAVX2(len(w), ptr(w), ptr(x), ptr(importance), spread)
	default:
		errorWeightsGeneric(w, x, importance, spread)
	}
}

//go:noescape
func divideLevelsAVX512(groups, n int, level *uint8, x, a, b *float32, lo, hi int32)

//go:noescape
func divideLevelsAVX2(groups, n int, level *uint8, x, a, b *float32, lo, hi int32)

func divideLevels(level []uint8, x []float32, n int, add, divisor []float32, lo, hi int) {
	switch current {
	case tierAVX512, tierAMX:
		divideLevelsAVX512(len(add), n, unsafe.SliceData(level), ptr(x), ptr(add), ptr(divisor), int32(lo), int32(hi))
	case tierAVX2:
		divideLevelsAVX2(len(add), n, unsafe.SliceData(level), ptr(x), ptr(add), ptr(divisor), int32(lo), int32(hi))
	default:
		divideLevelsGeneric(level, x, n, add, divisor, lo, hi)
	}
}

//go:noescape
func multiplyLevelsAVX512(groups, n int, level *uint8, x, a, b *float32, lo, hi int32)

//go:noescape
func multiplyLevelsAVX2(groups, n int, level *uint8, x, a, b *float32, lo, hi int32)

func multiplyLevels(level []uint8, x []float32, n int, from, factor []float32, lo, hi int) {
	switch current {
	case tierAVX512, tierAMX:
		multiplyLevelsAVX512(len(from), n, unsafe.SliceData(level), ptr(x), ptr(from), ptr(factor), int32(lo), int32(hi))
	case tierAVX2:
		multiplyLevelsAVX2(len(from), n, unsafe.SliceData(level), ptr(x), ptr(from), ptr(factor), int32(lo), int32(hi))
	default:
		multiplyLevelsGeneric(level, x, n, from, factor, lo, hi)
	}
}

//go:noescape
func quantizeF16AVX512(blocks int, dst *uint8, src *float32)

//go:noescape
func quantizeBF16AVX512(blocks int, dst *uint8, src *float32)

//go:noescape
func quantizeQ8_0AVX512(blocks int, dst *uint8, src *float32)

//go:noescape
func quantizeF16AVX2(blocks int, dst *uint8, src *float32)

//go:noescape
func quantizeBF16AVX2(blocks int, dst *uint8, src *float32)

//go:noescape
func quantizeQ8_0AVX2(blocks int, dst *uint8, src *float32)

//go:noescape
func quantizeQ4_0AVX512(blocks int, dst *uint8, src *float32)

//go:noescape
func quantizeQ4_0AVX2(blocks int, dst *uint8, src *float32)

//go:noescape
func quantizeQ5_0AVX512(blocks int, dst *uint8, src *float32)

//go:noescape
func quantizeQ5_0AVX2(blocks int, dst *uint8, src *float32)

// quantize is Quantize of this many blocks, at least one; it reports whether there is assembly for it.
func quantize(kind BlockKind, blocks int, dst []byte, src []float32) bool {
	switch current {
	case tierAVX512, tierAMX:
		return quantizeAVX512(kind, blocks, &dst[0], &src[0])
	case tierAVX2:
		return quantizeAVX2(kind, blocks, &dst[0], &src[0])
	}
	return false
}

func quantizeAVX512(kind BlockKind, blocks int, dst *uint8, src *float32) bool {
	switch kind {
	case F16Block:
		quantizeF16AVX512(blocks, dst, src)
	case BF16Block:
		quantizeBF16AVX512(blocks, dst, src)
	case Q4_0:
		quantizeQ4_0AVX512(blocks, dst, src)
	case Q5_0:
		quantizeQ5_0AVX512(blocks, dst, src)
	case Q8_0:
		quantizeQ8_0AVX512(blocks, dst, src)
	default:
		return false
	}
	return true
}

func quantizeAVX2(kind BlockKind, blocks int, dst *uint8, src *float32) bool {
	switch kind {
	case F16Block:
		quantizeF16AVX2(blocks, dst, src)
	case BF16Block:
		quantizeBF16AVX2(blocks, dst, src)
	case Q4_0:
		quantizeQ4_0AVX2(blocks, dst, src)
	case Q5_0:
		quantizeQ5_0AVX2(blocks, dst, src)
	case Q8_0:
		quantizeQ8_0AVX2(blocks, dst, src)
	default:
		return false
	}
	return true
}
