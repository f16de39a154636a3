package quant

// maxGroup is the most weights that share a scale found by search.
const maxGroup = 32

// An affineSearch finds the scale and the minimum of a group of weights. It tries steps+1 scales: those that spread
// top+first, top+first+step, … codes over the range of the group.
type affineSearch struct {
	top         float32 // highest code
	first, step float32
	steps       int
	absolute    bool // weighs absolute errors, not squared ones
}

// An affineGroup is a group of weights under search.
type affineGroup struct {
	x, w       []float32         // the weights, and how much the error of each counts
	sumW, sumX float32           // Σ w, Σ w·x
	least      float32           // of the weights and 0
	greatest   float32           // of the weights
	origin     float32           // what code 0 stands for: least, then the best offset so far
	above      [maxGroup]float32 // x - origin
	reach      float32           // greatest magnitude of these
	codes      [maxGroup]float32 // codes of the scale that is tried
}

// fit finds the scale, the minimum and the codes with which scale·code - minimum comes closest to x, the errors
// weighted by w. The minimum is not negative.
//
// Each trial counts its codes from the best offset so far, so the order of the trials matters.
func (s *affineSearch) fit(codes []uint8, x, w []float32) (scale, minimum float32) {
	g := affineGroup{x: x, w: w}
	g.measure()
	if g.greatest <= g.origin {
		clear(codes)
		return 0, -g.origin
	}
	inverse := s.top / (g.greatest - g.origin)
	g.setCodes(inverse, s.top)
	g.store(codes)
	scale = 1 / inverse
	smallest := g.error(scale, g.origin, s.absolute)
	for i := 0; i <= s.steps; i++ {
		inverse = (s.first + float32(s.step*float32(i)) + s.top) / (g.greatest - g.origin)
		g.setCodes(inverse, s.top)
		trial, offset, ok := g.solve(g.sums())
		if !ok {
			continue
		}
		if e := g.error(trial, offset, s.absolute); e < smallest {
			smallest, scale = e, trial
			g.setOrigin(offset)
			g.store(codes)
		}
	}
	return scale, -g.origin
}

// measure fills in all but the codes of a fresh group.
func (g *affineGroup) measure() {
	x := g.x
	w := g.w[:len(x)]
	least, greatest := x[0], x[0]
	sumW := w[0]
	sumX := float32(sumW * x[0])
	for i := 1; i < len(x); i++ {
		if x[i] < least {
			least = x[i]
		}
		if x[i] > greatest {
			greatest = x[i]
		}
		sumW += w[i]
		sumX += float32(w[i] * x[i])
	}
	if least > 0 {
		least = 0
	}
	g.sumW, g.sumX, g.least, g.greatest = sumW, sumX, least, greatest
	g.setOrigin(least)
}

func (g *affineGroup) setOrigin(origin float32) {
	above := g.above[:len(g.x)]
	for i, v := range g.x {
		above[i] = v - origin
	}
	g.origin = origin
	g.reach = max(absf(g.least-origin), absf(g.greatest-origin))
}

// setCodes sets the codes for a scale of 1/inverse.
func (g *affineGroup) setCodes(inverse, top float32) {
	codes := g.codes[:len(g.x)]
	if !(absf(inverse*g.reach) < roundingRange) {
		for i, v := range g.above[:len(codes)] {
			codes[i] = float32(nearestClamped(float32(inverse*v), 0, int(top)))
		}
		return
	}
	for i, v := range g.above[:len(codes)] {
		l := float32(inverse*v) + roundingBias - roundingBias
		if l > top {
			l = top
		}
		if l < 0 {
			l = 0
		}
		codes[i] = l
	}
}

// sums is Σ w·code, Σ w·codes² and Σ w·code·x.
func (g *affineGroup) sums() (l, ll, lx float32) {
	x := g.x
	w, codes := g.w[:len(x)], g.codes[:len(x)]
	for i, v := range x {
		q := codes[i]
		wq := float32(w[i] * q)
		l += wq
		ll += float32(wq * q)
		lx += float32(wq * v)
	}
	return l, ll, lx
}

// solve is the scale and offset of least squared error for the codes that have the given sums.
func (g *affineGroup) solve(l, ll, lx float32) (scale, offset float32, ok bool) {
	det := float32(g.sumW*ll) - float32(l*l)
	if !(det > 0) {
		return 0, 0, false
	}
	scale = (float32(g.sumW*lx) - float32(g.sumX*l)) / det
	offset = (float32(ll*g.sumX) - float32(l*lx)) / det
	if offset > 0 {
		return lx / ll, 0, true
	}
	return scale, offset, true
}

// error is the weighted error of scale·code + offset.
func (g *affineGroup) error(scale, offset float32, absolute bool) float32 {
	x := g.x
	w, codes := g.w[:len(x)], g.codes[:len(x)]
	var sum float32
	if absolute {
		for i, v := range x {
			sum += float32(w[i] * absf(float32(scale*codes[i])+offset-v))
		}
		return sum
	}
	for i, v := range x {
		diff := float32(scale*codes[i]) + offset - v
		sum += float32(w[i] * float32(diff*diff))
	}
	return sum
}

// store keeps the codes.
func (g *affineGroup) store(codes []uint8) {
	for i := range codes {
		codes[i] = uint8(g.codes[i])
	}
}
