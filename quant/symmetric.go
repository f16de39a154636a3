package quant

import "github.com/peftconv/peftconv/kernels"

// A symmetricGroup is a group of weights under search for a scale without minimum.
type symmetricGroup struct {
	x, w []float32
	wx   [maxGroup]float32 // w·x
	half float32           // codes run from -half to half-1
}

// fitSymmetric finds the scale with which scale·(code - half) comes closest to x, squared errors weighted by w, and
// the codes, 0 to 2·half-1. The weight of largest magnitude is mapped near the lowest code. A group of zeros gets code
// 0 throughout.
func fitSymmetric(codes []uint8, x, w []float32, half int) (scale float32) {
	top := peak(x)
	if absf(top) < noScale {
		clear(codes)
		return 0
	}
	g := symmetricGroup{x: x, w: w, half: float32(half)}
	for i, v := range x {
		g.wx[i] = float32(w[i] * v)
	}
	inverse := -g.half / top
	lx, ll := g.sums(inverse)
	g.store(codes, inverse)
	if ll != 0 {
		scale = lx / ll
	}
	best := scale * lx
	for i := -9; i <= 9; i++ {
		if i == 0 {
			continue
		}
		inverse = -(g.half + float32(0.1*float32(i))) / top
		lx, ll = g.sums(inverse)
		if ll > 0 && lx*lx > best*ll {
			g.store(codes, inverse)
			scale = lx / ll
			best = scale * lx
		}
	}
	return scale
}

// sums returns Σ w·x·l and Σ w·l² of the codes l for a scale of 1/inverse.
func (g *symmetricGroup) sums(inverse float32) (lx, ll float32) {
	x := g.x
	w, wx := g.w[:len(x)], g.wx[:len(x)]
	lo, hi := -g.half, g.half-1
	for i, v := range x {
		l := float32(inverse*v) + roundingBias - roundingBias
		switch {
		case l < lo:
			l = lo
		case l <= hi:
		case l > hi:
			l = hi
		default:
			l = 0 // the result of nearest for NaN
		}
		lx += float32(wx[i] * l)
		ll += float32(float32(w[i]*l) * l)
	}
	return lx, ll
}

// store sets the codes for a scale of 1/inverse, counted from the lowest.
func (g *symmetricGroup) store(codes []uint8, inverse float32) {
	half := int(g.half)
	for i, v := range g.x {
		codes[i] = uint8(half + nearestClamped(inverse*v, -half, half-1))
	}
}

// fitPositive finds the scale with which scale·code comes closest to x, which should not be negative, squared errors
// weighted by w, and the codes, 0 to top. The codes are improved one at a time.
func fitPositive(codes []uint8, x, w []float32, top int) (scale float32) {
	var greatest float32
	for _, v := range x {
		if !(greatest > v) {
			greatest = v
		}
	}
	if greatest < noScale {
		clear(codes)
		return 0
	}
	lx, ll := positiveSums(codes, x, w, top, bestInverse(x, w, greatest, top))
	for range 5 {
		changed := false
		for i, v := range x {
			// The group without weight i has a scale of its own; weight i takes the code nearest to it.
			old := float32(codes[i])
			wx := float32(w[i] * v)
			restX := lx - float32(wx*old)
			rest := ll - float32(float32(w[i]*old)*old)
			if !(restX > 0 && rest > 0) {
				continue
			}
			l := min(nearest(v*rest/restX), top)
			if l == int(codes[i]) {
				continue
			}
			restX += float32(wx * float32(l))
			rest += float32(float32(w[i]*float32(l)) * float32(l))
			if restX*restX*ll > lx*lx*rest {
				codes[i], lx, ll = uint8(l), restX, rest
				changed = true
			}
		}
		if !changed {
			break
		}
	}
	if ll > 0 {
		return lx / ll
	}
	return 0
}

// bestInverse is the number of codes per unit with the least error, of nine that spread about top codes up to the
// greatest weight.
func bestInverse(x, w []float32, greatest float32, top int) float32 {
	best := float32(top) / greatest
	scale := 1 / best
	var least float32
	for i, v := range x {
		diff := v - float32(scale*float32(uint8(nearest(best*v))))
		least += float32(float32(w[i]*diff) * diff)
	}
	var inverse [8]float32
	for i := range inverse {
		step := i - 4
		if step >= 0 {
			step++
		}
		inverse[i] = (float32(0.1*float32(step)) + float32(top)) / greatest
	}
	sums, ok := kernels.PositiveErrors(x, w, &inverse, top)
	if !ok {
		for i := range inverse {
			sums[i] = positiveError(x, w, inverse[i], top)
		}
	}
	for i, sum := range sums {
		if sum < least {
			least, best = sum, inverse[i]
		}
	}
	return best
}

// positiveError is Σ w·(x - scale·code)² of the codes for a scale of 1/inverse.
func positiveError(x, w []float32, inverse float32, top int) (sum float32) {
	scale := 1 / inverse
	for i, v := range x {
		diff := v - float32(scale*float32(min(nearest(inverse*v), top)))
		sum += float32(float32(w[i]*diff) * diff)
	}
	return sum
}

// positiveSums sets the codes for a scale of 1/inverse, and returns Σ w·x·code and Σ w·code².
func positiveSums(codes []uint8, x, w []float32, top int, inverse float32) (lx, ll float32) {
	for i, v := range x {
		l := min(nearest(inverse*v), top)
		codes[i] = uint8(l)
		lx += float32(float32(w[i]*v) * float32(l))
		ll += float32(float32(w[i]*float32(l)) * float32(l))
	}
	return lx, ll
}

// refineSymmetric is fitSymmetric with weights x² and another search: it starts from the scale that maps the weight of
// largest magnitude to the lowest code, and improves the codes one at a time.
func refineSymmetric(codes []uint8, x []float32, half int) (scale float32) {
	top := peak(x)
	if absf(top) < noScale {
		clear(codes)
		return 0
	}
	var signed [maxGroup]int // counted from the middle
	inverse := float32(-half) / top
	var lx, ll float32 // Σ w·x·l and Σ w·l²
	for i, v := range x {
		signed[i] = nearestClamped(inverse*v, -half, half-1)
		w, l := float32(v*v), float32(signed[i])
		lx += float32(float32(w*v) * l)
		ll += float32(float32(w*l) * l)
	}
	for range 5 {
		changed := false
		for i, v := range x {
			// The group without weight i has a scale of its own; weight i takes the code nearest to it.
			w, old := float32(v*v), float32(signed[i])
			wx := float32(w * v)
			restX := lx - float32(wx*old)
			if !(restX > 0) {
				continue
			}
			rest := ll - float32(float32(w*old)*old)
			l := nearestClamped(v*rest/restX, -half, half-1)
			if l == signed[i] {
				continue
			}
			restX += float32(wx * float32(l))
			rest += float32(float32(w*float32(l)) * float32(l))
			if rest > 0 && restX*restX*ll > lx*lx*rest {
				signed[i], lx, ll = l, restX, rest
				changed = true
			}
		}
		if !changed {
			break
		}
	}
	for i := range codes {
		codes[i] = uint8(signed[i] + half)
	}
	if ll > 0 {
		return lx / ll
	}
	return 0
}
