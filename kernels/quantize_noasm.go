//go:build (!amd64 && !arm64) || purego

package kernels

func vectorLanes() int { return 0 }

func groupLanes() int { return 0 }

func loadLanes(n int, to *float32, x []float32, groups int) {}

func loadGroups(n int, to *[maxGroup * MaxLanes]float32, x []float32, groups int) {}

func laneMean(n int, inverse float32, w, x *[maxGroup * MaxLanes]float32) {}

// everyGroup leaves all groups to the plain search.
const everyGroup = 1<<MaxLanes - 1

func fitAffine(g *Groups, numerators []float32, absolute bool) (skipped uint32) { return everyGroup }

func fitSymmetric(g *Groups, half float32, numerators []float32) (skipped uint32) { return everyGroup }

func refineSymmetric(g *Groups, half float32) (skipped uint32) { return everyGroup }

func fitIQ4(g *Groups, numerators []float32) (skipped uint32) { return everyGroup }

func levelsIQ4(level []uint8, x, factor []float32) bool { return false }

func positiveErrors(x, w []float32, inverse, sums *[8]float32, top int) bool { return false }

func errorWeights(w, x, importance []float32, spread float32) {
	errorWeightsGeneric(w, x, importance, spread)
}

func divideLevels(level []uint8, x []float32, n int, add, divisor []float32, lo, hi int) {
	divideLevelsGeneric(level, x, n, add, divisor, lo, hi)
}

func multiplyLevels(level []uint8, x []float32, n int, from, factor []float32, lo, hi int) {
	multiplyLevelsGeneric(level, x, n, from, factor, lo, hi)
}

func quantize(kind BlockKind, blocks int, dst []byte, src []float32) bool { return false }

func fitPositives(p *Positives, n int, top float32, trials *[9]float32) (skipped uint32) {
	return 1<<PositiveLanes - 1
}
