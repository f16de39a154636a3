package kernels

import "math"

// The block formats are found by searches over small groups of weights, whose every rounding decides about bytes.
// Assembly therefore takes many groups at once, one a lane, and does in each lane what the plain search does, in its
// order and with a rounding after every operation. The plain searches are those of package quant; they are the
// definitions of the kernels here, and take the groups of which a kernel says that they are strange: those with numbers
// that are not finite or too large to be rounded by an addition.

// MaxLanes is the greatest number of groups that are searched at once.
const MaxLanes = 16

// maxGroup is the most weights in a group.
const maxGroup = 32

// GroupLanes is how many groups are searched at once here, or 0 where there is no assembly to do it.
func GroupLanes() int { return groupLanes() }

// Groups are groups of weights under search, side by side. The fields are as many as there are groups.
type Groups struct {
	Scale   [MaxLanes]float32    // found by the search; 0 where there is nothing to scale
	Origin  [MaxLanes]float32    // what level 0 stands for
	Inverse [MaxLanes]float32    // levels per unit that lead to the levels of the search
	From    [MaxLanes]float32    // and the origin from which they are counted
	_       [2][MaxLanes]float32 // memory of the assembly: least and greatest weight of each group
	Total   [MaxLanes]float32    // sum of the weights of the errors
	_       [2][MaxLanes]float32 // memory of the assembly: weighted sum, smallest error so far

	n      int // weights in a group
	x, w   [maxGroup * MaxLanes]float32
	levels [maxGroup * MaxLanes]float32 // memory of the searches
}

// Load takes groups of n weights, 16 or 32, from the beginning of x, as many as there are lanes or x holds, and returns how many.
func (g *Groups) Load(x []float32, n int) (groups int) {
	if n != 16 && n != 32 {
		panic("kernels: groups of an unknown length")
	}
	g.n = n
	return g.load(&g.x, x)
}

// load spreads the groups of x over the lanes, the last one over those that are left.
func (g *Groups) load(to *[maxGroup * MaxLanes]float32, x []float32) (groups int) {
	groups = min(GroupLanes(), len(x)/g.n)
	if groups > 0 {
		loadLanes(g.n, to, x[:groups*g.n], groups)
	}
	return groups
}

// Weigh sets how much the error of each weight counts.
func (g *Groups) Weigh(w []float32) { g.load(&g.w, w) }

// WeighMagnitudes lets errors count by the magnitude of their weights.
func (g *Groups) WeighMagnitudes() {
	w := g.w[:g.n*MaxLanes]
	for i, v := range g.x[:len(w)] {
		w[i] = math.Float32frombits(math.Float32bits(v) &^ (1 << 31))
	}
}

// WeighSquares lets errors count by the squares of their weights.
func (g *Groups) WeighSquares() {
	w := g.w[:g.n*MaxLanes]
	copy(w, g.x[:])
	mul(w, g.x[:len(w)])
}

// WeighMeans lets errors count by the magnitude of their weights and the root mean square of the group together.
func (g *Groups) WeighMeans() { laneMean(g.n, 1/float32(g.n), &g.w, &g.x) }

// FitAffine finds the scale and the origin with which scale·level + origin, which is not positive, comes closest to the
// weights. numerators begins with the highest level; the others are the numbers of levels to spread over the range above
// the origin, in the order in which they are tried. Errors are squared unless they are to be absolute. Bit i of strange
// says that nothing is known of group i.
func (g *Groups) FitAffine(numerators []float32, absolute bool) (strange uint32) {
	return fitAffine(g, numerators, absolute)
}

// FitSymmetric finds the scale with which scale·level, level from -half to half-1, comes closest to the weights.
// numerators are the numbers of levels, negative, over the weight of largest magnitude, in the order in which they are
// tried.
func (g *Groups) FitSymmetric(half int, numerators []float32) (strange uint32) {
	g.From = [MaxLanes]float32{}
	return fitSymmetric(g, float32(half), numerators)
}

// RefineSymmetric is FitSymmetric with squared weights and another search: it starts from the scale that brings the weight of
// largest magnitude to the lowest level, and improves the levels one at a time. Nothing but Scale is set.
func (g *Groups) RefineSymmetric(half int) (strange uint32) { return refineSymmetric(g, float32(half)) }

// FitIQ4 is FitSymmetric with the uneven values of IQ4, of which the lowest is first brought to the weight of largest
// magnitude as it is. numerators are what else it is brought to. Nothing but Scale is set.
func (g *Groups) FitIQ4(numerators []float32) (strange uint32) { return fitIQ4(g, numerators) }

// LevelsIQ4 sets the levels of IQ4 nearest to x[i]*factor[group] of groups of 32 weights, as many as factor has. It is
// false where there is no assembly to do it.
func LevelsIQ4(level []uint8, x, factor []float32) bool {
	checkLevels(level, x, maxGroup, factor, factor)
	return levelsIQ4(level, x, factor)
}

// PositiveErrors is, for each of eight numbers of levels per unit,
//
//	Σ w·(x - level/inverse)², level = min(nearest(x*inverse), top)
//
// It is false where there is no assembly to do it.
func PositiveErrors(x, w []float32, inverse *[8]float32, top int) (sums [8]float32, ok bool) {
	if len(x) != len(w) {
		panic("kernels: PositiveErrors of slices of different lengths")
	}
	ok = positiveErrors(x, w, inverse, &sums, top)
	return sums, ok
}

// Quantize fills as much of dst as whole blocks of src do, each scaled by its weight of largest magnitude, without
// importance, and returns how many weights these are: 0 where there is no assembly to do it. It is there for Q8_0, Q4_0, Q5_0,
// and F16Block and BF16Block, which are not scaled.
func Quantize(kind BlockKind, dst []byte, src []float32) (done int) {
	size := blockSizes[kind]
	blocks := min(len(src)/size.weights, len(dst)/size.bytes)
	if blocks == 0 || !quantize(kind, blocks, dst, src) {
		return 0
	}
	return blocks * size.weights
}

// ErrorWeights is
//
//	for i := range w { w[i] = importance[i] * √(spread + x[i]*x[i]) }
//
// for whole blocks.
func ErrorWeights(w, x, importance []float32, spread float32) {
	if len(w) != len(x) || len(w) != len(importance) || len(w) != whole(len(w)) {
		panic("kernels: ErrorWeights of slices of different lengths or of a part of a block")
	}
	errorWeights(w, x, importance, spread)
}

// DivideLevels rounds groups of n weights, 16 or 32, as many as add has:
//
//	level[i] = min(max(nearest((x[i]+add[group])/divisor[group]), lo), hi) - lo
func DivideLevels(level []uint8, x []float32, n int, add, divisor []float32, lo, hi int) {
	checkLevels(level, x, n, add, divisor)
	divideLevels(level, x, n, add, divisor, lo, hi)
}

// MultiplyLevels rounds groups of n weights, 16 or 32, as many as from has:
//
//	level[i] = min(max(nearest((x[i]-from[group])*factor[group]), lo), hi) - lo
func MultiplyLevels(level []uint8, x []float32, n int, from, factor []float32, lo, hi int) {
	checkLevels(level, x, n, from, factor)
	multiplyLevels(level, x, n, from, factor, lo, hi)
}

// errorWeightsGeneric is kept from being inlined in other packages, where the compiler loses the conversion.
//
//go:noinline
func errorWeightsGeneric(w, x, importance []float32, spread float32) {
	for i, v := range x {
		w[i] = importance[i] * float32(math.Sqrt(float64(spread+float32(v*v))))
	}
}

func divideLevelsGeneric(level []uint8, x []float32, n int, add, divisor []float32, lo, hi int) {
	for i, v := range x {
		level[i] = nearestLevel((v+add[i/n])/divisor[i/n], lo, hi)
	}
}

func multiplyLevelsGeneric(level []uint8, x []float32, n int, from, factor []float32, lo, hi int) {
	for i, v := range x {
		level[i] = nearestLevel(float32((v-from[i/n])*factor[i/n]), lo, hi)
	}
}

// nearestLevel rounds f, ties to even, and counts from lo, of lo to hi. Beyond 2²² and for NaN, it is what the low bits of
// the biased number say.
func nearestLevel(f float32, lo, hi int) uint8 {
	const bias = 3 << 22
	n := int(math.Float32bits(f+bias)&0x7fffff) - 0x400000
	return uint8(min(max(n, lo), hi) - lo)
}

func checkLevels(level []uint8, x []float32, n int, a, b []float32) {
	if n <= 0 || n%blockLen != 0 || len(a) != len(b) || len(x) != n*len(a) || len(level) != len(x) {
		panic("kernels: levels of groups of different lengths")
	}
}
