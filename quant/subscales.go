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
	for _, end := range l.ends(new([2 * fitEnds]float32)) {
		try(clampHalf(top / end))
	}
	try(l.refit(best, want, w))
	return best
}

// fitEnds is how many of the last codes the number of largest magnitude is mapped to.
const fitEnds = 3

// ends are the levels that fit maps the number of largest magnitude to.
func (l *subScaleLevels) ends(memory *[2 * fitEnds]float32) []float32 {
	ends := memory[:0]
	for i := range fitEnds {
		ends = append(ends, l.value(l.hi-i))
		if l.lo < 0 {
			ends = append(ends, l.value(l.lo+i))
		}
	}
	return ends
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

// fitAll is fit of several blocks at once. The wanted numbers and their weights are in f.
func (l *subScaleLevels) fitAll(f *kernels.ScaleFits, n int, base []subScaleCodes) {
	for b, r := range base {
		f.Factor[b] = r.d
		for i, c := range r.i[:n] {
			f.Code[i][b] = float32(c)
		}
	}
	levels := l.forKernels()
	f.Fit(n, &levels, l.ends(new([2 * fitEnds]float32)))
}

// storeTogether is storeScales of several blocks.
func (s *subScales) storeTogether(c *changedBlocks) {
	f, codes := &c.fits, c.codes[:c.n]
	for b := range codes {
		codes[b] = s.load(c.blocks[b])
		g := &c.scales[b]
		for i := range s.n {
			f.Want[i][b], f.Weight[i][b] = g.scale[i], g.spread[i]+float32(g.mean[i]*g.mean[i])
		}
	}
	s.fitAll(f, s.n, codes)
	for b := range codes {
		s.store(c.blocks[b], codesAt(f.Factor[b], &f.Code, s.n, b))
	}
}

// codesAt are a factor and the codes of block b.
func codesAt(d float32, codes *kernels.SubScales, n, b int) (r subScaleCodes) {
	r.d = d
	for i := range n {
		r.i[i] = int16(codes[i][b])
	}
	return r
}

// storeTogether is storeScales of several blocks.
func (s *affineScales) storeTogether(c *changedBlocks) {
	fits, minima := &c.fits, &c.minima
	for b := range c.n {
		c.codes[b], c.minCodes[b] = s.load(c.blocks[b])
		g := &c.scales[b]
		for i := range s.n {
			fits.Want[i][b], fits.Weight[i][b], c.mean[i][b], c.low[i][b] = g.scale[i], g.spread[i], g.mean[i], -g.offset[i]
		}
	}
	s.fitAll(fits, s.n, c.codes[:c.n])
	for i := range s.n {
		for b := range c.n {
			miss := fits.Want[i][b] - float32(fits.Factor[b]*(float32(fits.Code[i][b]*s.step)+s.first))
			minima.Want[i][b], minima.Weight[i][b] = c.low[i][b]-float32(miss*c.mean[i][b]), 1
		}
	}
	s.fitAll(minima, s.n, c.minCodes[:c.n])
	of := &c.pairs[0]
	for b := range c.n {
		of.Factor[b], of.FactorMin[b] = c.codes[b].d, c.minCodes[b].d
	}
	c.pairs[1].Factor, c.pairs[1].FactorMin = fits.Factor, minima.Factor
	levels := s.forKernels()
	for k := range c.pairs {
		p := &c.pairs[k]
		for b := range c.n {
			p.Inverse[b], p.InverseMin[b] = inverseOf(p.Factor[b]), inverseOf(p.FactorMin[b])
		}
		p.Fit(s.n, &levels, &fits.Want, &c.mean, &fits.Weight, &c.low)
	}
	for b := range c.n {
		best, least := -1, float32(greatestFloat)
		for k := range c.pairs {
			if e := c.pairs[k].Sum[b]; e < least {
				best, least = k, e
			}
		}
		if best >= 0 {
			p := &c.pairs[best]
			s.store(c.blocks[b], codesAt(p.Factor[b], &p.ScaleCode, s.n, b),
				codesAt(p.FactorMin[b], &p.MinimumCode, s.n, b))
		}
	}
}
