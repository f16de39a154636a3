package quant

import "github.com/peftconv/peftconv/kernels"

// subScaleLevels are the levels of a quantized sub-scale: code i, from lo to hi, stands for i·step + first.
type subScaleLevels struct {
	lo, hi      int
	step, first float32
	perStep     float32 // 1/step
}

func (l *subScaleLevels) value(code int) float32 { return float32(float32(code)*l.step) + l.first }

// code is the code nearest to v. Steps are powers of two, so that dividing by one is exact.
func (l *subScaleLevels) code(v float32) int {
	f := float32((v - l.first) * l.perStep)
	switch { // compared as floats: v may be far beyond the integers
	case !(f > float32(l.lo)):
		return l.lo
	case f >= float32(l.hi):
		return l.hi
	}
	return nearest(f)
}

// subScaleCodes are a half precision factor and the codes of the sub-scales that it multiplies.
type subScaleCodes struct {
	d float32
	i [16]int16
}

// assign chooses the codes nearest to want under the factor d.
func (l *subScaleLevels) assign(d float32, want []float32) (r subScaleCodes) {
	r.d = d
	inverse := inverseOf(d)
	for i, v := range want {
		r.i[i] = int16(l.code(float32(v * inverse)))
	}
	return r
}

// error is Σ w·(want - d·level)².
func (l *subScaleLevels) error(r subScaleCodes, want, w []float32) (sum float32) {
	for i, v := range want {
		e := v - float32(r.d*l.value(int(r.i[i])))
		sum += float32(w[i] * float32(e*e))
	}
	return sum
}

// refit is the factor of least error for the codes of r, rounded to half precision.
func (l *subScaleLevels) refit(r subScaleCodes, want, w []float32) float32 {
	var num, den float32
	for i, v := range want {
		level := l.value(int(r.i[i]))
		num += float32(float32(w[i]*v) * level)
		den += float32(float32(w[i]*level) * level)
	}
	if den == 0 {
		return r.d
	}
	return clampHalf(num / den)
}

// fit finds a factor and codes that come close to want, errors weighted by w. It tries the factor and the codes of the
// base, each with the other fitted to it, and factors that map the number of largest magnitude to the last codes.
func (l *subScaleLevels) fit(base subScaleCodes, want, w []float32) subScaleCodes {
	if best, done := l.fitTogether(base, want, w); done {
		return best
	}
	best := base
	least := l.error(best, want, w)
	try := func(d float32) {
		if d == 0 || d-d != 0 {
			return
		}
		r := l.assign(d, want)
		if e := l.error(r, want, w); e < least {
			best, least = r, e
		}
	}
	try(base.d)
	try(l.refit(base, want, w))
	top := peak(want)
	for i := range fitEnds {
		try(clampHalf(top / l.value(l.hi-i)))
		if l.lo < 0 {
			try(clampHalf(top / l.value(l.lo+i)))
		}
	}
	try(l.refit(best, want, w))
	return best
}

// fitEnds is how many of the last codes the number of largest magnitude is mapped to.
const fitEnds = 3

// fitTogether is fit with all factors but the last tried at once; done is false where there is no assembly for it.
func (l *subScaleLevels) fitTogether(base subScaleCodes, want, w []float32) (best subScaleCodes, done bool) {
	if !haveEights() {
		return best, false
	}
	var factor, inverse [8]float32
	top, n := peak(want), 2
	factor[0], factor[1] = base.d, l.refit(base, want, w)
	for i := range fitEnds {
		factor[n] = clampHalf(top / l.value(l.hi-i))
		n++
		if l.lo < 0 {
			factor[n] = clampHalf(top / l.value(l.lo+i))
			n++
		}
	}
	for i, d := range factor[:n] {
		inverse[i] = inverseOf(d)
	}
	levels := l.forKernels()
	errors, done := kernels.ScaleErrors(want, w, &factor, &inverse, &levels)
	if !done {
		return best, false
	}
	best, least, chosen := base, l.error(base, want, w), -1
	for i, d := range factor[:n] {
		if e := errors[i]; d != 0 && d-d == 0 && e < least {
			least, chosen = e, i
		}
	}
	if chosen >= 0 {
		best = l.assign(factor[chosen], want)
	}
	if d := l.refit(best, want, w); d != 0 && d-d == 0 {
		r := l.assign(d, want)
		if l.error(r, want, w) < least {
			best = r
		}
	}
	return best, true
}

// forKernels is the levels as the kernels take them.
func (l *subScaleLevels) forKernels() kernels.ScaleLevels {
	return kernels.ScaleLevels{Lo: float32(l.lo), Hi: float32(l.hi), Step: l.step, First: l.first, PerStep: l.perStep}
}

// subScales says where the blocks of a type keep a half precision factor and the codes of its groups.
type subScales struct {
	subScaleLevels
	n     int
	load  func(b []byte) subScaleCodes
	store func(b []byte, r subScaleCodes)
}

// loadScales and storeScales read and write a format whose scales are of that kind.
func (s *subScales) loadScales(b []byte, g *blockScales) {
	r := s.load(b)
	for i := range s.n {
		g.scale[i], g.offset[i] = float32(r.d*s.value(int(r.i[i]))), 0
	}
}

// storeScales fits factor and codes to the scales of g. Errors are weighted by their effect on the weights.
func (s *subScales) storeScales(b []byte, g *blockScales) {
	var w [16]float32
	for i := range s.n {
		w[i] = g.spread[i] + float32(g.mean[i]*g.mean[i])
	}
	base := s.load(b)
	r := s.fit(base, g.scale[:s.n], w[:s.n])
	s.store(b, r)
}

// affineScales says where the blocks of a type keep the factors and codes of scales and of minima: a weight is
// d·scale·code - dmin·minimum.
type affineScales struct {
	subScaleLevels
	n     int
	load  func(b []byte) (scale, minimum subScaleCodes)
	store func(b []byte, scale, minimum subScaleCodes)
}

func (s *affineScales) loadScales(b []byte, g *blockScales) {
	scale, minimum := s.load(b)
	for i := range s.n {
		g.scale[i] = float32(scale.d * s.value(int(scale.i[i])))
		g.offset[i] = -float32(minimum.d * s.value(int(minimum.i[i])))
	}
}

// storeScales fits both factors, trying those of the base too, and then the codes of each group together: the minimum
// compensates the error of the scale as far as the mean of the codes allows.
func (s *affineScales) storeScales(b []byte, g *blockScales) {
	baseScale, baseMinimum := s.load(b)
	var ones, low, miss [16]float32
	for i := range s.n {
		ones[i] = 1
	}
	fitted := s.fit(baseScale, g.scale[:s.n], g.spread[:s.n])
	for i := range s.n {
		low[i] = -g.offset[i]
		miss[i] = low[i] - float32((g.scale[i]-float32(fitted.d*s.value(int(fitted.i[i]))))*g.mean[i])
	}
	fittedMinimum := s.fit(baseMinimum, miss[:s.n], ones[:s.n])
	var bestScale, bestMinimum subScaleCodes
	least := float32(greatestFloat)
	for _, d := range [...][2]float32{{baseScale.d, baseMinimum.d}, {fitted.d, fittedMinimum.d}} {
		scale, minimum, e := s.together(d[0], d[1], g, low[:])
		if e < least {
			bestScale, bestMinimum, least = scale, minimum, e
		}
	}
	if least < greatestFloat {
		s.store(b, bestScale, bestMinimum)
	}
}

// together chooses the codes for two factors. For each group it tries the scales near the wanted one, each with its
// best minimum, and takes the pair with the least error of the weights. It returns the summed mean square.
func (s *affineScales) together(
	d, dmin float32, g *blockScales, low []float32,
) (scale, minimum subScaleCodes, sum float32) {
	scale.d, minimum.d = d, dmin
	inverse, inverseMin := inverseOf(d), inverseOf(dmin)
	if s.n%8 == 0 && haveEights() {
		return s.togetherInLanes(scale, minimum, g, low, inverse, inverseMin)
	}
	for i := range s.n {
		least := float32(greatestFloat)
		middle := s.code(float32(g.scale[i] * inverse))
		for code := max(middle-1, s.lo); code <= min(middle+1, s.hi); code++ {
			miss := g.scale[i] - float32(d*s.value(code))
			want := low[i] - float32(miss*g.mean[i])
			m := s.code(float32(want * inverseMin))
			off := want - float32(dmin*s.value(m))
			e := float32(float32(miss*miss)*g.spread[i]) + float32(off*off)
			if e < least {
				least, scale.i[i], minimum.i[i] = e, int16(code), int16(m)
			}
		}
		sum += least
	}
	return scale, minimum, sum
}

// togetherInLanes is together, eight groups at a time.
func (s *affineScales) togetherInLanes(
	scale, minimum subScaleCodes, g *blockScales, low []float32, inverse, inverseMin float32,
) (_, _ subScaleCodes, sum float32) {
	levels := s.forKernels()
	var pair kernels.ScalePairs
	for i := range pair.Factor {
		pair.Factor[i], pair.Inverse[i] = scale.d, inverse
		pair.FactorMin[i], pair.InverseMin[i] = minimum.d, inverseMin
	}
	for at := 0; at < s.n; at += 8 {
		copy(pair.Scale[:], g.scale[at:])
		copy(pair.Mean[:], g.mean[at:])
		copy(pair.Spread[:], g.spread[at:])
		copy(pair.Low[:], low[at:])
		pair.Fit(&levels)
		for i, e := range pair.Least {
			sum += e
			scale.i[at+i], minimum.i[at+i] = int16(pair.ScaleCode[i]), int16(pair.MinimumCode[i])
		}
	}
	return scale, minimum, sum
}
