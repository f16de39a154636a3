package quant

import "github.com/peftconv/peftconv/kernels"

// The sixteen codes of IQ4_NL and IQ4_XS have unevenly spaced values, valuesIQ4.

// valuesIQ4 repeats its last value for codes beyond the sixteenth, which no block has.
var valuesIQ4 = [256]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

// aboveIQ4[127+f] is the first code whose value is above f, a whole number from -127 to 112.
var aboveIQ4 = func() (above [240]uint8) {
	for i := range above {
		for valuesIQ4[above[i]] <= float32(i-127) {
			above[i]++
		}
	}
	return above
}()

// codeIQ4 is the code of the value nearest to f; the upper one of two that are equally near.
func codeIQ4(f float32) uint8 {
	if f <= valuesIQ4[0] {
		return 0
	}
	if !(f < valuesIQ4[15]) {
		return 15
	}
	above := aboveIQ4[min(uint(f+127), uint(len(aboveIQ4)-1))]
	if f-valuesIQ4[above-1] < valuesIQ4[above]-f {
		return above - 1
	}
	return above
}

// weightsIQ4 sets w to the weights of the errors.
func weightsIQ4(w, x *[32]float32, importance []float32, spread float32) {
	if importance != nil {
		errorWeights(w[:], x[:], importance, spread)
		return
	}
	for i, v := range x {
		w[i] = float32(v * v)
	}
}

// codesIQ4 sets the codes nearest to x times the factor of each group of 32.
func codesIQ4(codes []uint8, x, factor []float32) {
	if kernels.LevelsIQ4(codes, x, factor) {
		return
	}
	for i, v := range x {
		codes[i] = codeIQ4(float32(factor[i/32] * v))
	}
}

// triesIQ4 is the number of scales that fitIQ4 tries on either side of the first.
const triesIQ4 = 7

// newLanesIQ4 is fitIQ4 in lanes. It does not set codes.
func newLanesIQ4() *laneSearch {
	l := laneSearches.Get().(*laneSearch)
	l.find, l.affine, l.numerators = findIQ4, nil, l.memory[:0]
	for i := -triesIQ4; i <= triesIQ4; i++ {
		l.numerators = append(l.numerators, float32(i)+valuesIQ4[0])
	}
	return l
}

// fitIQ4 finds the scale with which the values come closest to x: of those that bring the weight of largest magnitude
// to a value from -134 to -120.
func fitIQ4(x, w *[32]float32) (scale float32) {
	top := peak(x[:])
	if absf(top) < noScale {
		return 0
	}
	qx, qq := sumsIQ4(x, w, 1/(-top/valuesIQ4[0]))
	if qq > 0 {
		scale = qx / qq
	}
	best := scale * qx
	for i := -triesIQ4; i <= triesIQ4; i++ {
		qx, qq = sumsIQ4(x, w, (float32(i)+valuesIQ4[0])/top)
		if qq > 0 && qx*qx > best*qq {
			scale = qx / qq
			best = scale * qx
		}
	}
	return scale
}

// sumsIQ4 is Σ w·value·x and Σ w·value² with the values that are nearest when x is multiplied by inverse.
func sumsIQ4(x, w *[32]float32, inverse float32) (qx, qq float32) {
	for i, v := range x {
		q := valuesIQ4[codeIQ4(float32(inverse*v))]
		wq := float32(w[i] * q)
		qx += float32(wq * v)
		qq += float32(wq * q)
	}
	return qx, qq
}
