package quant

// A ladder is the values of an integer sub-scale: rung i, from lo to hi, stands for i·step + first.
type ladder struct {
	lo, hi      int
	step, first float32
	perStep     float32 // 1/step
}

func (l *ladder) value(rung int) float32 { return float32(float32(rung)*l.step) + l.first }

// rung is the rung nearest to v. Steps are powers of two, so that dividing by one is exact.
func (l *ladder) rung(v float32) int {
	f := float32((v - l.first) * l.perStep)
	switch { // compared as floats: v may be far beyond the integers
	case !(f > float32(l.lo)):
		return l.lo
	case f >= float32(l.hi):
		return l.hi
	}
	return nearest(f)
}

// A rungs is a half precision factor and the rungs that a block has with it.
type rungs struct {
	d float32
	i [16]int16
}

// assign chooses the rungs nearest to want under the factor d.
func (l *ladder) assign(d float32, want []float32) (r rungs) {
	r.d = d
	inverse := inverseOf(d)
	for i, v := range want {
		r.i[i] = int16(l.rung(float32(v * inverse)))
	}
	return r
}

// error is Σ w·(want - d·rung)².
func (l *ladder) error(r rungs, want, w []float32) (sum float32) {
	for i, v := range want {
		e := v - float32(r.d*l.value(int(r.i[i])))
		sum += float32(w[i] * float32(e*e))
	}
	return sum
}

// refit is the factor of least error for the rungs of r, rounded to half precision.
func (l *ladder) refit(r rungs, want, w []float32) float32 {
	var num, den float32
	for i, v := range want {
		rung := l.value(int(r.i[i]))
		num += float32(float32(w[i]*v) * rung)
		den += float32(float32(w[i]*rung) * rung)
	}
	if den == 0 {
		return r.d
	}
	return clampHalf(num / den)
}

// fit finds a factor and rungs that come close to want, errors weighted by w. It tries the factor and the rungs of the
// base, each with the other fitted to it, and factors that map the number of largest magnitude to the last rungs.
func (l *ladder) fit(base rungs, want, w []float32) rungs {
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
	const ends = 3
	for i := range ends {
		try(clampHalf(top / l.value(l.hi-i)))
		if l.lo < 0 {
			try(clampHalf(top / l.value(l.lo+i)))
		}
	}
	try(l.refit(best, want, w))
	return best
}

// subScales says where the blocks of a type keep a half precision factor and the rungs of its groups.
type subScales struct {
	ladder
	n     int
	load  func(b []byte) rungs
	store func(b []byte, r rungs)
}

// loadGrid and storeGrid read and write a format whose scales are of that kind.
func (s *subScales) loadGrid(b []byte, g *blockGrid) {
	r := s.load(b)
	for i := range s.n {
		g.scale[i], g.offset[i] = float32(r.d*s.value(int(r.i[i]))), 0
	}
}

// storeGrid fits factor and rungs to the scales of g. Errors are weighted by their effect on the weights.
func (s *subScales) storeGrid(b []byte, g *blockGrid) {
	var w [16]float32
	for i := range s.n {
		w[i] = g.spread[i] + float32(g.mean[i]*g.mean[i])
	}
	base := s.load(b)
	r := s.fit(base, g.scale[:s.n], w[:s.n])
	s.store(b, r)
}

// affineScales says where the blocks of a type keep the factors and rungs of scales and of minima: a weight is
// d·scale·code - dmin·minimum.
type affineScales struct {
	ladder
	n     int
	load  func(b []byte) (scale, minimum rungs)
	store func(b []byte, scale, minimum rungs)
}

func (s *affineScales) loadGrid(b []byte, g *blockGrid) {
	scale, minimum := s.load(b)
	for i := range s.n {
		g.scale[i] = float32(scale.d * s.value(int(scale.i[i])))
		g.offset[i] = -float32(minimum.d * s.value(int(minimum.i[i])))
	}
}

// storeGrid fits both factors, trying those of the base too, and then the rungs of each group together: the minimum
// compensates the error of the scale as far as the mean of the codes allows.
func (s *affineScales) storeGrid(b []byte, g *blockGrid) {
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
	var bestScale, bestMinimum rungs
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

// together chooses the rungs for two factors. For each group it tries the scales near the wanted one, each with its
// best minimum, and takes the pair with the least error of the weights. It returns the summed mean square.
func (s *affineScales) together(d, dmin float32, g *blockGrid, low []float32) (scale, minimum rungs, sum float32) {
	scale.d, minimum.d = d, dmin
	inverse, inverseMin := inverseOf(d), inverseOf(dmin)
	for i := range s.n {
		least := float32(greatestFloat)
		middle := s.rung(float32(g.scale[i] * inverse))
		for rung := max(middle-1, s.lo); rung <= min(middle+1, s.hi); rung++ {
			miss := g.scale[i] - float32(d*s.value(rung))
			want := low[i] - float32(miss*g.mean[i])
			m := s.rung(float32(want * inverseMin))
			off := want - float32(dmin*s.value(m))
			e := float32(float32(miss*miss)*g.spread[i]) + float32(off*off)
			if e < least {
				least, scale.i[i], minimum.i[i] = e, int16(rung), int16(m)
			}
		}
		sum += least
	}
	return scale, minimum, sum
}
