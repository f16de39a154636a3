package kernels

import "math"

// Quantizers search small groups of weights, and each of their roundings affects the bytes. So the assembly takes many
// groups at once, one per lane, and does in each lane what the plain search does, in the same order and with a
// rounding after every operation. The plain searches are in package quant. They define the kernels here, and they take
// the groups that a kernel reports as skipped: those with numbers that are not finite or too large to be rounded by an
// addition.

// MaxLanes is the greatest number of groups that are searched at once.
const MaxLanes = 32

// maxGroup is the most weights in a group.
const maxGroup = 32

// GroupLanes is the number of groups that are searched at once here, or 0 where there is no assembly.
func GroupLanes() int { return groupLanes() }

// Groups are groups of weights under search, side by side. Arrays have an element per group.
type Groups struct {
	Scale   [MaxLanes]float32    // found by the search; 0 where there is nothing to scale
	Origin  [MaxLanes]float32    // value of code 0
	Inverse [MaxLanes]float32    // codes per unit that give the codes of the search
	From    [MaxLanes]float32    // the origin from which its codes are counted
	_       [2][MaxLanes]float32 // memory of the assembly: least and greatest weight of each group
	Total   [MaxLanes]float32    // sum of the weights of the errors
	// memory of the assembly: weighted sum, smallest error so far, and what a trial needs
	_ [7][MaxLanes]float32

	n      int // weights in a group
	count  int // groups
	x, w   [maxGroup * MaxLanes]float32
	levels [maxGroup * MaxLanes]float32 // memory of the searches
}

// Load takes groups of n weights, 16 or 32, from the beginning of x, at most one per lane, and returns their number.
func (g *Groups) Load(x []float32, n int) (groups int) {
	if n != 16 && n != 32 {
		panic("kernels: groups of an unknown length")
	}
	g.n = n
	g.count = g.load(&g.x, x)
	return g.count
}

// load spreads the groups of x over the lanes. Lanes that are left get the last group.
func (g *Groups) load(to *[maxGroup * MaxLanes]float32, x []float32) (groups int) {
	groups = min(GroupLanes(), len(x)/g.n)
	if groups > 0 {
		loadGroups(g.n, to, x[:groups*g.n], groups)
	}
	return groups
}

// Weigh sets the weights of the errors.
func (g *Groups) Weigh(w []float32) { g.load(&g.w, w) }

// WeighMagnitudes weights errors by the magnitude of the weights.
func (g *Groups) WeighMagnitudes() {
	w := g.w[:g.n*MaxLanes]
	for i, v := range g.x[:len(w)] {
		w[i] = math.Float32frombits(math.Float32bits(v) &^ (1 << 31))
	}
}

// WeighSquares weights errors by the square of the weights.
func (g *Groups) WeighSquares() {
	w := g.w[:g.n*MaxLanes]
	copy(w, g.x[:])
	mul(w, g.x[:len(w)])
}

// WeighMeans weights errors by the magnitude of the weights plus the root mean square of the group.
func (g *Groups) WeighMeans() { laneMean(g.n, 1/float32(g.n), &g.w, &g.x) }

// FitAffine finds the scale and the origin with which scale·code + origin comes closest to the weights; the origin is
// not positive. numerators begins with the highest code; the others are the numbers of codes to spread over the range
// above the origin, in the order of the trials: positive, rising by the same step, to at most twice the first. Errors
// are squared, or absolute. Bit i of skipped says that group i was not searched and is left to the plain search.
func (g *Groups) FitAffine(numerators []float32, absolute bool) (skipped uint32) {
	return fitAffine(g, numerators, absolute)
}

// FitSymmetric finds the scale with which scale·code, code from -half to half-1, comes closest to the weights.
// numerators are the numbers of codes, negative, over the weight of largest magnitude, in the order of the trials.
func (g *Groups) FitSymmetric(half int, numerators []float32) (skipped uint32) {
	g.From = [MaxLanes]float32{}
	return fitSymmetric(g, float32(half), numerators)
}

// RefineSymmetric is FitSymmetric with squared weights and another search: it starts from the scale that maps the
// weight of largest magnitude to the lowest code, and improves the codes one at a time. It sets Scale only.
func (g *Groups) RefineSymmetric(half int) (skipped uint32) { return refineSymmetric(g, float32(half)) }

// FitIQ4 is FitSymmetric with the uneven values of IQ4. The first trial maps the weight of largest magnitude to the
// lowest value; numerators are the values to which the other trials map it. It sets Scale only.
func (g *Groups) FitIQ4(numerators []float32) (skipped uint32) { return fitIQ4(g, numerators) }

// LevelsIQ4 sets the codes of IQ4 nearest to x[i]*factor[group], for groups of 32 weights, one per factor. It returns
// false where there is no assembly.
func LevelsIQ4(level []uint8, x, factor []float32) bool {
	checkLevels(level, x, maxGroup, factor, factor)
	return levelsIQ4(level, x, factor)
}

// PositiveErrors is, for each of eight scales,
//
//	Σ w·(x - level/inverse)², level = min(nearest(x*inverse), top)
//
// It returns false where there is no assembly.
func PositiveErrors(x, w []float32, inverse *[8]float32, top int) (sums [8]float32, ok bool) {
	if len(x) != len(w) {
		panic("kernels: PositiveErrors of slices of different lengths")
	}
	ok = positiveErrors(x, w, inverse, &sums, top)
	return sums, ok
}

// PositiveLanes is the number of groups in Positives.
const PositiveLanes = 8

// Positives are groups of up to 16 numbers that are not negative, side by side: (number, group).
type Positives struct {
	X, W  [16][PositiveLanes]float32 // the numbers, and the weights of their errors
	Level [16][PositiveLanes]float32 // found by the search
	Scale [PositiveLanes]float32     // the same; 0 where there is nothing to scale
}

// Fit finds the scales with which scale·level, level from 0 to top, comes closest to the first n numbers of each
// group, and the levels, which are improved one at a time. Bit i of skipped says that group i is left to the plain
// search.
func (p *Positives) Fit(n, top int) (skipped uint32) {
	if n > len(p.X) {
		panic("kernels: groups of too many numbers")
	}
	trials := [9]float32{float32(top)}
	for i := range 8 {
		step := i - 4
		if step >= 0 {
			step++
		}
		trials[i+1] = float32(0.1*float32(step)) + float32(top)
	}
	return fitPositives(p, n, float32(top), &trials)
}

// Quantize quantizes as many whole blocks as src has and dst can hold, each scaled by its weight of largest magnitude,
// without importance, and returns the number of weights; 0 where there is no assembly. It supports Q8_0, Q4_0, Q5_0,
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

// DivideLevels computes the codes of groups of n weights, 16 or 32, one group per element of add:
//
//	level[i] = min(max(nearest((x[i]+add[group])/divisor[group]), lo), hi) - lo
func DivideLevels(level []uint8, x []float32, n int, add, divisor []float32, lo, hi int) {
	checkLevels(level, x, n, add, divisor)
	divideLevels(level, x, n, add, divisor, lo, hi)
}

// MultiplyLevels computes the codes of groups of n weights, 16 or 32, one group per element of from:
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

// nearestLevel rounds f, ties to even, clamps it to lo … hi and counts from lo. Beyond 2²² and for NaN, the result is
// that of the low bits of the biased number.
func nearestLevel(f float32, lo, hi int) uint8 {
	const bias = 3 << 22
	n := int(math.Float32bits(f+bias)&0x7fffff) - 0x400000
	return uint8(min(max(n, lo), hi) - lo)
}

func checkLevels(level []uint8, x []float32, n int, a, b []float32) {
	if n <= 0 || n%blockLen != 0 || len(a) != len(b) || len(x) != n*len(a) || len(level) != len(x) {
		panic("kernels: codes of groups of different lengths")
	}
}
