package kernels

// The loops here fit the blocks of a matrix to a change of its weights. Like those of the quantizers they give the same
// bits on every tier. Those that return done have no assembly everywhere; where done is false the caller, who has the
// definition, computes.

// RoundLevels changes the levels of groups of n weights, a multiple of 16:
//
//	level[i] = whole part of level[i] + from + change[i]*inverse[group] + up[i] - from, within 0 to top
//
// What is no number becomes 0.
func RoundLevels(level []uint8, change []float32, n int, inverse, up []float32, from float32, top int) {
	if n <= 0 || n%blockLen != 0 || len(level) != n*len(inverse) || len(change) != len(level) || len(up) != len(level) {
		panic("kernels: RoundLevels of slices of different lengths")
	}
	roundLevels(level, change, n, inverse, up, from, top)
}

func roundLevelsGeneric(level []uint8, change []float32, n int, inverse, up []float32, from float32, top int) {
	most := float32(top)
	for i, d := range change {
		f := float32(level[i]) + from + float32(d*inverse[i/n]) + up[i] - from
		switch { // compared as floats: the change may be far beyond the integers
		case !(f >= 0):
			f = 0
		case f > most:
			f = most
		}
		level[i] = uint8(f)
	}
}

// Thresholds fills u with numbers in [0, 1), multiples of 2⁻¹⁶: of each number of SplitMix64 that follows state four,
// the lowest bits first.
func Thresholds(u []float32, state uint64) {
	done := len(u) &^ (thresholdsLen - 1)
	if done > 0 && !thresholds(u[:done], state) {
		done = 0
	}
	thresholdsGeneric(u[done:], state+uint64(done/4)*splitMixStep)
}

// thresholdsLen is how many numbers the assembly makes at a time.
const thresholdsLen = 32

const splitMixStep = 0x9e3779b97f4a7c15

func thresholdsGeneric(u []float32, state uint64) {
	for i := 0; i < len(u); i += 4 {
		state += splitMixStep
		bits := (state ^ state>>30) * 0xbf58476d1ce4e5b9
		bits = (bits ^ bits>>27) * 0x94d049bb133111eb
		bits ^= bits >> 31
		for j := i; j < min(i+4, len(u)); j++ {
			u[j] = float32(uint16(bits)) / (1 << 16)
			bits >>= 16
		}
	}
}

// LevelSums sets sums to the sum of the levels of each group of n, a multiple of 16, and to that of their squares.
func LevelSums(sums [][2]int32, level []uint8, n int) {
	if n <= 0 || n%blockLen != 0 || len(level) != n*len(sums) {
		panic("kernels: LevelSums of slices of different lengths")
	}
	levelSums(sums, level, n)
}

func levelSumsGeneric(sums [][2]int32, level []uint8, n int) {
	for g := range sums {
		sums[g] = [2]int32{}
		for _, l := range level[g*n:][:n] {
			sums[g][0] += int32(l)
			sums[g][1] += int32(l) * int32(l)
		}
	}
}

// ScaleLevels are the levels of a quantized scale: code i, from Lo to Hi, stands for i·Step + First. PerStep is 1/Step,
// a power of two.
type ScaleLevels struct{ Lo, Hi, Step, First, PerStep float32 }

// mostSubScales is the most groups that share a factor.
const mostSubScales = 16

// A SubScales is a number for each group of eight blocks: a group a row and a block a column.
type SubScales [mostSubScales][8]float32

// ScalePairs are eight blocks of groups of weights scale·code - minimum. In each block a factor and a code make each
// scale, and another factor and a code each minimum. Fit chooses the codes of both together.
type ScalePairs struct {
	Factor, Inverse       [8]float32 // of the scales
	FactorMin, InverseMin [8]float32 // of the minima

	Sum                    [8]float32 // found: the mean squares of the weights' errors, added up
	ScaleCode, MinimumCode SubScales  // found; whole numbers

	_ [8]float32 // memory of the assembly: the least errors of a group
}

// Fit tries for each of n groups the code nearest to the wanted scale and its neighbours, each with the minimum that is
// best then. mean and spread are the mean and the variance of the codes of the weights, low the wanted minima. It
// returns done false where there is no assembly.
func (p *ScalePairs) Fit(n int, l *ScaleLevels, scale, mean, spread, low *SubScales) (done bool) {
	if n > mostSubScales {
		panic("kernels: a ScalePairs of too many groups")
	}
	return scalePairs(p, n, l, scale, mean, spread, low)
}

// ScaleFits are eight blocks, in each of which a factor and a code of each group make the scales of the groups. Fit
// finds factors and codes that come close to what is wanted.
type ScaleFits struct {
	Want, Weight SubScales  // the wanted scales, and the weights of the squares of their errors
	Code         SubScales  // of the base, then those found; whole numbers
	Factor       [8]float32 // of the base, then those found; half precision numbers

	_ [4][8]float32 // memory of the assembly: least error, best factor, whether it is new, largest scale
}

// Fit tries, of n groups, the factor of the base, the best one for its codes, and those that map the scale of largest
// magnitude to each of the levels ends; each with the codes nearest to the scales. Then it tries the best factor for
// the codes that are found. It returns done false where there is no assembly.
func (f *ScaleFits) Fit(n int, l *ScaleLevels, ends []float32) (done bool) {
	if n > mostSubScales || len(ends) == 0 {
		panic("kernels: a ScaleFits of too many groups, or without levels at the end")
	}
	return scaleFits(f, n, l, ends)
}

// Moments are sums over each of some groups, at most MomentLanes, in the order of its elements: Σ p, Σ p², Σ d, Σ p·d.
type Moments [4][MomentLanes]float64

// MomentLanes is the greatest number of groups that are measured at once.
const MomentLanes = 16

// LaneMoments are the groups that Moments are computed of, and memory for it.
type LaneMoments struct {
	Offset      [MomentLanes]float32
	Sums        Moments
	old, change [maxGroup * MomentLanes]float32
}

// Measure sets Sums of as many groups of n elements, 16 or 32, as fit, at the beginning of old and change, with p =
// old - Offset and d = change, and returns their number: 0 where there is no assembly.
func (m *LaneMoments) Measure(old, change []float32, n int) (groups int) {
	if n != 16 && n != 32 || len(old) != len(change) {
		panic("kernels: moments of groups of an unknown length")
	}
	groups = min(vectorLanes(), len(old)/n)
	if groups > 0 {
		loadLanes(n, &m.old[0], old[:groups*n], groups)
		loadLanes(n, &m.change[0], change[:groups*n], groups)
		laneMoments(n, m)
	}
	return groups
}

// ChangeSums adds up, with made = now - old, all in float64:
//
//	asked = Σ change², kept = Σ made·change, missed = Σ (made - change)²
//
// in eight sums each, element i in number i%8, which are then added two by two.
func ChangeSums(old, change, now []float32) (asked, kept, missed float64) {
	if len(old) != len(change) || len(old) != len(now) {
		panic("kernels: ChangeSums of slices of different lengths")
	}
	var sums [3][8]float64
	done := len(old) &^ 7
	if !changeSums(old[:done], change[:done], now[:done], &sums) {
		done = 0
	}
	changeSumsGeneric(old[done:], change[done:], now[done:], &sums)
	total := func(s *[8]float64) float64 {
		return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]))
	}
	return total(&sums[0]), total(&sums[1]), total(&sums[2])
}

func changeSumsGeneric(old, change, now []float32, sums *[3][8]float64) {
	for i, d := range change {
		made, want := float64(now[i])-float64(old[i]), float64(d)
		sums[0][i&7] += float64(want * want)
		sums[1][i&7] += float64(made * want)
		sums[2][i&7] += float64((made - want) * (made - want))
	}
}

// Combine is
//
//	for k, f := range factor { y[i] += f * x[k*stride+i] }
//
// for whole blocks, each product and sum rounded once together. It returns done false, and leaves y, where there is no
// assembly.
func Combine(y, factor, x []float32, stride int) (done bool) {
	if len(y) != whole(len(y)) || len(factor) > 0 && len(x) < (len(factor)-1)*stride+len(y) {
		panic("kernels: Combine of a part of a block or of fewer rows than factors")
	}
	return combine(y, factor, x, stride)
}
