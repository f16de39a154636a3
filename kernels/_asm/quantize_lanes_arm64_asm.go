package main

import (
	"fmt"
	"math"
)

// The searches of the block formats, as on amd64: four groups of weights side by side, a group a lane. Each lane does
// what the plain search does, in its order and with a rounding after every operation.

// neonQuantizeFile holds the searches of the block formats and the loops around them.
func neonQuantizeFile(k *neon) {
	k.fitAffine("fitAffine", false)
	k.fitAffine("fitAffineAbsolute", true)
	k.fitSymmetric()
	k.refineSymmetric()
	k.fitIQ4()
	k.levelsIQ4()
	k.positiveErrors()
	k.cutsTogether()
	k.cutsApart()
	k.snapPoint(8, 3)
	k.snapPoint(4, 8)
	k.nearestPoint()
	k.pointSums()
	k.quantizeF16()
	k.quantizeBF16()
	k.quantizeQ8_0()
	k.quantizeSigned("Q4_0", 18, 8, 0, 2)
	k.quantizeSigned("Q5_0", 22, 16, 2, 6)
	k.laneMean()
	k.laneMoments()
	k.errorWeights()
	k.groupLevels("divideLevels", "(x[i]+a[group])/b[group]", k.fadd, k.fdiv)
	k.groupLevels("multiplyLevels", "(x[i]-a[group])*b[group]", k.fsub, k.fmul)
}

// The instructions that compare, choose and count.

func (k *neon) fcmge(d, n, m v)  { k.three(0x6e20e400, "FCMGE", d, n, m) }
func (k *neon) fcmeq(d, n, m v)  { k.three(0x4e20e400, "FCMEQ", d, n, m) }
func (k *neon) fmaxnm(d, n, m v) { k.three(0x4e20c400, "FMAXNM", d, n, m) }
func (k *neon) fminnm(d, n, m v) { k.three(0x4ea0c400, "FMINNM", d, n, m) }
func (k *neon) smax(d, n, m v)   { k.three(0x4ea06400, "SMAX", d, n, m) }
func (k *neon) smin(d, n, m v)   { k.three(0x4ea06c00, "SMIN", d, n, m) }
func (k *neon) umin(d, n, m v)   { k.three(0x6ea06c00, "UMIN", d, n, m) }
func (k *neon) fabs(d, n v)      { k.two(0x4ea0f800, "FABS", d, n) }
func (k *neon) fcvtzs(d, n v)    { k.two(0x4ea1b800, "FCVTZS", d, n) } // to int32, towards zero, saturated

// bit sets the bits of d where those of a mask are set to those of n.
func (k *neon) bit(d, n, mask v) {
	k.word(0x6ea01c00|uint32(mask)<<16|uint32(n)<<5|uint32(d), "BIT V%d.16B, V%d.16B, V%d.16B", d, n, mask)
}

// addv is the sum of n's four int32s, in the lowest of d; fminv and uminv are the least.
func (k *neon) addv(d, n v) { k.word(0x4eb1b800|uint32(n)<<5|uint32(d), "ADDV S%d, V%d.4S", d, n) }
func (k *neon) fminv(d, n v) {
	k.word(0x6eb0f800|uint32(n)<<5|uint32(d), "FMINV S%d, V%d.4S", d, n)
}
func (k *neon) uminv(d, n v) {
	k.word(0x6eb1a800|uint32(n)<<5|uint32(d), "UMINV S%d, V%d.4S", d, n)
}

func (k *neon) and(d, n, m v) { k.op("VAND", b16(m), b16(n), b16(d)) }
func (k *neon) or(d, n, m v)  { k.op("VORR", b16(m), b16(n), b16(d)) }
func (k *neon) not(d, n v) {
	k.word(0x6e205800|uint32(n)<<5|uint32(d), "MVN V%d.16B, V%d.16B", d, n)
}
func (k *neon) add(d, n, m v) { k.op("VADD", m.s4(), n.s4(), d.s4()) }
func (k *neon) sub(d, n, m v) { k.op("VSUB", m.s4(), n.s4(), d.s4()) }

func (k *neon) shiftLeft(d, n v, by int)  { k.op("VSHL", fmt.Sprintf("$%d", by), n.s4(), d.s4()) }
func (k *neon) shiftRight(d, n v, by int) { k.op("VUSHR", fmt.Sprintf("$%d", by), n.s4(), d.s4()) }

// scoped gives the registers that f takes back.
func (k *neon) scoped(f func()) {
	vectors, generals := k.vectors, k.generals
	f()
	k.vectors, k.generals = vectors, generals
}

// fetch loads a vector, or what is as large, from p; keep stores one.
func (k *neon) fetch(x v, p r, disp int) {
	k.op("FMOVQ", fmt.Sprintf("%d(%s)", disp, p), fmt.Sprintf("F%d", int(x)))
}
func (k *neon) keep(x v, p r, disp int) {
	k.op("FMOVQ", fmt.Sprintf("F%d", int(x)), fmt.Sprintf("%d(%s)", disp, p))
}

// get is a vector from p in a new register.
func (k *neon) get(p r, disp int) v {
	x := k.vec()
	k.fetch(x, p, disp)
	return x
}

// everywhere fills a register with the float32 at p, and moves p behind it.
func (k *neon) everywhere(x v, p r) { k.op("VLD1R.P", fmt.Sprintf("4(%s)", p), "["+x.s4()+"]") }

// chosen is keep of the lanes of a mask; t is overwritten.
func (k *neon) chosen(mask, x v, p r, disp int, t v) {
	k.fetch(t, p, disp)
	k.bit(t, x, mask)
	k.keep(t, p, disp)
}

// lanesOf sets to to the bits of a mask, of which t is a copy to work in, and returns a general register.
func (k *neon) lanesOf(mask v, to r) {
	k.scoped(func() {
		bits, t := k.vec(), k.vec()
		k.op("MOVD", "$0x0000000200000001", "R16")
		k.op("VMOV", "R16", bits.String()+".D[0]")
		k.op("MOVD", "$0x0000000800000004", "R16")
		k.op("VMOV", "R16", bits.String()+".D[1]")
		k.and(t, mask, bits)
		k.addv(t, t)
		k.op("FMOVS", fmt.Sprintf("F%d", int(t)), to)
	})
}

// giveLanes returns the bits of a mask.
func (k *neon) giveLanes(mask v) {
	to := k.gp()
	k.lanesOf(mask, to)
	k.op("MOVW", to, k.result())
	k.op("RET")
}

// elements runs body for each vector of the n elements of a group. The copies of the bases stand at it.
func (k *neon) elements(label string, n r, bases []r, body func(at []r)) {
	k.scoped(func() {
		count := k.gp()
		k.op("MOVD", n, count)
		at := make([]r, len(bases))
		for i, b := range bases {
			at[i] = k.gp()
			k.op("MOVD", b, at[i])
		}
		k.loop(label, count, 1, func() {
			k.scoped(func() { body(at) })
			for _, a := range at {
				k.op("ADD", "$16", a)
			}
		})
	})
}

// finite keeps what it takes to find groups that the plain search has to take.
type strays struct {
	*neon
	infinity, limit, skipped v
}

func (k *neon) newStrays() strays {
	return strays{k, k.bits(0x7f800000), k.constant(1 << 22), k.zeros(1)[0]}
}

// notBelow sets d to the lanes where |x| < limit does not hold.
func (s strays) notBelow(d, x, limit v) {
	s.fabs(d, x)
	s.fcmgt(d, limit, d)
	s.not(d, d)
}

// unlessFinite skips the groups where x is no finite number.
func (s strays) unlessFinite(x v) {
	s.scoped(func() {
		t := s.vec()
		s.notBelow(t, x, s.infinity)
		s.or(s.skipped, s.skipped, t)
	})
}

// laneAffine is what the parts of fitAffine have in common.
type laneAffine struct {
	strays
	n, x, w, level, fit r
	absolute            bool
	bias, top, zero     v
}

// slotAt is where slot number i is.
func slotAt(i int) int { return 128 * i }

func (k *neon) fitAffine(name string, absolute bool) {
	k.kernel(name, "(n int, x, w, level *float32, trials int, numerators *float32, fit *[14][32]float32) (skipped uint32)",
		"the search of Groups.FitAffine")
	f := laneAffine{n: k.param("n"), x: k.param("x"), w: k.param("w"), level: k.param("level"), fit: k.param("fit"),
		absolute: absolute}
	f.strays = k.newStrays()
	trials, numerator := k.param("trials"), k.param("numerators")
	f.bias, f.top, f.zero = k.constant(roundingBias), k.vec(), k.zeros(1)[0]
	f.measure()
	k.everywhere(f.top, numerator)
	inverse, sums := k.vec(), k.vecs(3)
	k.move(f.top, inverse)
	f.try("first", inverse, nil)
	k.scoped(func() {
		scale, one, origin, flat, e, t := k.vec(), k.constant(1), k.get(f.fit, slotAt(slotOrigin)), k.vec(), k.vec(), k.vec()
		k.fetch(flat, f.fit, slotAt(slotGreatest))
		k.fcmge(flat, origin, flat)
		k.keep(inverse, f.fit, slotAt(slotInverse))
		k.keep(origin, f.fit, slotAt(slotInverseOrigin))
		k.fdiv(scale, one, inverse)
		k.keep(scale, f.fit, slotAt(slotScale))
		f.error("first_error", scale, origin, e)
		k.keep(e, f.fit, slotAt(slotSmallest))
		// Groups that span no range get a scale of 0, levels of 0, and an error that nothing improves.
		k.chosen(flat, f.zero, f.fit, slotAt(slotScale), t)
		k.chosen(flat, f.zero, f.fit, slotAt(slotInverse), t)
		k.fneg(e, f.infinity)
		k.chosen(flat, e, f.fit, slotAt(slotSmallest), t)
	})
	k.loop("trial", trials, 1, func() {
		k.everywhere(inverse, numerator)
		f.try("trial", inverse, sums)
		f.improve(inverse, sums)
	})
	k.giveLanes(f.skipped)
}

// measure fills the slots of the extent and the sums. The lanes of which a sum is no number are skipped.
func (f *laneAffine) measure() {
	f.scoped(func() {
		least, greatest, sumW, sumX, rest := f.vec(), f.vec(), f.vec(), f.vec(), f.gp()
		f.fetch(least, f.x, 0)
		f.move(least, greatest)
		f.fetch(sumW, f.w, 0)
		f.fmul(sumX, sumW, least)
		f.op("SUB", "$1", f.n, rest)
		f.elements("measure", rest, []r{f.x, f.w}, func(at []r) {
			x, w, t := f.get(at[0], 16), f.get(at[1], 16), f.vec()
			f.fcmgt(t, least, x)
			f.bit(least, x, t)
			f.fcmgt(t, x, greatest)
			f.bit(greatest, x, t)
			f.fadd(sumW, sumW, w)
			f.fmul(w, w, x)
			f.fadd(sumX, sumX, w)
		})
		t := f.vec()
		f.fcmgt(t, least, f.zero)
		f.bit(least, f.zero, t)
		f.keep(least, f.fit, slotAt(slotOrigin))
		f.keep(least, f.fit, slotAt(slotLeast))
		f.keep(greatest, f.fit, slotAt(slotGreatest))
		f.keep(sumW, f.fit, slotAt(slotSumW))
		f.keep(sumX, f.fit, slotAt(slotSumX))
		f.unlessFinite(sumX)
		f.unlessFinite(sumW)
	})
}

// try sets the levels that so many levels over the range above the origin lead to, and the sums of w·level, w·level²
// and w·level·x. inverse is the number of levels, and then that per unit. Groups whose levels lie beyond what can be
// rounded are skipped, unless they span no range.
func (f *laneAffine) try(label string, inverse v, sums []v) {
	f.scoped(func() {
		origin, greatest, least := f.get(f.fit, slotAt(slotOrigin)), f.get(f.fit, slotAt(slotGreatest)),
			f.get(f.fit, slotAt(slotLeast))
		reach, low := f.vec(), f.vec()
		f.fsub(reach, greatest, origin)
		f.fdiv(inverse, inverse, reach)
		f.fabs(reach, reach)
		f.fsub(low, least, origin)
		f.fabs(low, low)
		f.fmaxnm(reach, reach, low)
		f.fmul(reach, reach, inverse)
		f.notBelow(reach, reach, f.limit)
		f.fcmge(low, least, greatest)
		f.bic(reach, reach, low)
		f.or(f.skipped, f.skipped, reach)
		for _, s := range sums {
			f.clear(s)
		}
		bases := []r{f.x, f.level, f.w}
		if sums == nil {
			bases = bases[:2]
		}
		f.elements(label+"_levels", f.n, bases, func(at []r) {
			x, l := f.get(at[0], 0), f.vec()
			f.fsub(l, x, origin)
			f.fmul(l, l, inverse)
			f.fadd(l, l, f.bias)
			f.fsub(l, l, f.bias)
			f.fminnm(l, l, f.top)
			f.fmaxnm(l, l, f.zero)
			f.keep(l, at[1], 0)
			if sums != nil {
				wl := f.get(at[2], 0)
				f.fmul(wl, wl, l)
				f.fadd(sums[0], sums[0], wl)
				f.fmul(l, l, wl)
				f.fadd(sums[1], sums[1], l)
				f.fmul(x, x, wl)
				f.fadd(sums[2], sums[2], x)
			}
		})
	})
}

// clear clears a register.
func (f *laneAffine) clear(x v) { f.neon.zero(x) }

// error sets sum to the weighted error of scale·level + offset.
func (f *laneAffine) error(label string, scale, offset, sum v) {
	f.clear(sum)
	f.elements(label, f.n, []r{f.level, f.x, f.w}, func(at []r) {
		d, x, w := f.get(at[0], 0), f.get(at[1], 0), f.get(at[2], 0)
		f.fmul(d, d, scale)
		f.fadd(d, d, offset)
		f.fsub(d, d, x)
		if f.absolute {
			f.fabs(d, d)
		} else {
			f.fmul(d, d, d)
		}
		f.fmul(d, d, w)
		f.fadd(sum, sum, d)
	})
}

// improve solves for the scale and offset of least squared error for the levels of a trial, and keeps them where they
// are better.
func (f *laneAffine) improve(inverse v, sums []v) {
	f.scoped(func() {
		l, ll, lx := sums[0], sums[1], sums[2]
		sumW, sumX := f.get(f.fit, slotAt(slotSumW)), f.get(f.fit, slotAt(slotSumX))
		det, ok, scale, offset, t, e := f.vec(), f.vec(), f.vec(), f.vec(), f.vec(), f.vec()
		f.fmul(det, ll, sumW)
		f.fmul(t, l, l)
		f.fsub(det, det, t)
		f.fcmgt(ok, det, f.zero)
		f.fmul(scale, lx, sumW)
		f.fmul(t, l, sumX)
		f.fsub(scale, scale, t)
		f.fdiv(scale, scale, det)
		f.fmul(offset, sumX, ll)
		f.fmul(t, lx, l)
		f.fsub(offset, offset, t)
		f.fdiv(offset, offset, det)
		f.fcmgt(e, offset, f.zero)
		f.fdiv(t, lx, ll)
		f.bit(scale, t, e)
		f.bit(offset, f.zero, e)
		f.error("trial_error", scale, offset, e)
		f.fetch(t, f.fit, slotAt(slotSmallest))
		f.fcmgt(t, t, e)
		f.and(ok, ok, t)
		f.chosen(ok, e, f.fit, slotAt(slotSmallest), t)
		f.chosen(ok, scale, f.fit, slotAt(slotScale), t)
		f.chosen(ok, inverse, f.fit, slotAt(slotInverse), t)
		f.fetch(e, f.fit, slotAt(slotOrigin))
		f.chosen(ok, e, f.fit, slotAt(slotInverseOrigin), t)
		f.chosen(ok, offset, f.fit, slotAt(slotOrigin), t)
	})
}

// peaks sets top to the element of largest magnitude of each group, the first of several.
func (k *neon) peaks(n, x r, top v) {
	k.zero(top)
	k.scoped(func() {
		largest := k.zeros(1)[0]
		k.elements("peak", n, []r{x}, func(at []r) {
			x, a, larger := k.get(at[0], 0), k.vec(), k.vec()
			k.fabs(a, x)
			k.fcmgt(larger, a, largest)
			k.bit(top, x, larger)
			k.bit(largest, a, larger)
		})
	})
}

// fewest sets the lanes of x to 0 where the magnitude of top counts as nothing.
func (k *neon) fewest(top v, x ...v) {
	k.scoped(func() {
		t, least := k.vec(), k.bits(noScale)
		k.fabs(t, top)
		k.fcmgt(t, least, t)
		for _, x := range x {
			k.bic(x, x, t)
		}
	})
}

// levelRange is the levels from -half to half-1.
type levelRange struct {
	*neon
	lowest, highest, bias v
}

func (k *neon) newLevelRange() levelRange {
	half, zero, one := k.splat("half"), k.zeros(1)[0], k.constant(1)
	k.fsub(zero, zero, half)
	k.fsub(one, half, one)
	return levelRange{k, zero, one, k.constant(roundingBias)}
}

func (l levelRange) round(x v) {
	l.fadd(x, x, l.bias)
	l.fsub(x, x, l.bias)
	l.fmaxnm(x, x, l.lowest)
	l.fminnm(x, x, l.highest)
}

// fitSymmetric is the search for a scale without minimum.
func (k *neon) fitSymmetric() {
	k.kernel("fitSymmetric",
		"(n int, x, w, wx *float32, half float32, trials int, numerators *float32, fit *[14][32]float32) (skipped uint32)",
		"the search of Groups.FitSymmetric")
	n, x, w, wx, fit := k.param("n"), k.param("x"), k.param("w"), k.param("wx"), k.param("fit")
	trials, numerator := k.param("trials"), k.param("numerators")
	s, top, zero := k.newStrays(), k.vec(), k.zeros(1)[0]
	k.peaks(n, x, top)
	k.scoped(func() {
		sum := k.zeros(1)[0]
		k.elements("products", n, []r{w, x, wx}, func(at []r) {
			w, x := k.get(at[0], 0), k.get(at[1], 0)
			k.fadd(sum, sum, w)
			k.fmul(w, w, x)
			k.keep(w, at[2], 0)
		})
		k.keep(sum, fit, slotAt(slotSumW))
	})
	levels, inverse, lx, ll := k.newLevelRange(), k.vec(), k.vec(), k.vec()
	sums := func(label string) {
		k.everywhere(inverse, numerator)
		k.fdiv(inverse, inverse, top)
		k.zero(lx)
		k.zero(ll)
		k.elements(label, n, []r{x, wx, w}, func(at []r) {
			l, wx, w := k.get(at[0], 0), k.get(at[1], 0), k.get(at[2], 0)
			k.fmul(l, l, inverse)
			levels.round(l)
			k.fmul(wx, wx, l)
			k.fadd(lx, lx, wx)
			k.fmul(w, w, l)
			k.fmul(w, w, l)
			k.fadd(ll, ll, w)
		})
	}
	sums("first")
	s.unlessFinite(lx)
	s.unlessFinite(ll)
	scale, best, bestInverse, t, better := k.vec(), k.vec(), k.vec(), k.vec(), k.vec()
	k.fdiv(scale, lx, ll)
	k.fcmeq(t, ll, zero)
	k.bic(scale, scale, t)
	k.fmul(best, scale, lx)
	k.move(inverse, bestInverse)
	k.loop("trial", trials, 1, func() {
		sums("trial_sums")
		k.fmul(better, lx, lx)
		k.fmul(t, best, ll)
		k.fcmgt(better, better, t)
		k.fcmgt(t, ll, zero)
		k.and(better, better, t)
		k.fdiv(t, lx, ll)
		k.bit(scale, t, better)
		k.fmul(t, t, lx)
		k.bit(best, t, better)
		k.bit(bestInverse, inverse, better)
	})
	k.fewest(top, scale, bestInverse)
	k.keep(scale, fit, slotAt(slotScale))
	k.keep(bestInverse, fit, slotAt(slotInverse))
	k.giveLanes(s.skipped)
}

// refineSymmetric is the search that improves the levels one at a time. A group in which a round changes nothing stays
// as it is in those that follow.
func (k *neon) refineSymmetric() {
	k.kernel("refineSymmetric", "(n int, x, level *float32, half float32, fit *[14][32]float32) (skipped uint32)",
		"the search of Groups.RefineSymmetric; level is set to the levels, counted from the middle")
	n, x, level, fit := k.param("n"), k.param("x"), k.param("level"), k.param("fit")
	s, levels, top, zero := k.newStrays(), k.newLevelRange(), k.vec(), k.zeros(1)[0]
	k.peaks(n, x, top)
	lx, ll, inverse := k.vec(), k.vec(), k.vec()
	k.zero(lx)
	k.zero(ll)
	k.fdiv(inverse, levels.lowest, top)
	k.elements("first", n, []r{x, level}, func(at []r) {
		v, l, w := k.get(at[0], 0), k.vec(), k.vec()
		k.fmul(l, v, inverse)
		levels.round(l)
		k.keep(l, at[1], 0)
		k.fmul(w, v, v)
		k.fmul(v, v, w)
		k.fmul(v, v, l)
		k.fadd(lx, lx, v)
		k.fmul(w, w, l)
		k.fmul(w, w, l)
		k.fadd(ll, ll, w)
	})
	s.unlessFinite(lx)
	s.unlessFinite(ll)
	changed, rounds, any := k.vec(), k.gp(), k.gp()
	k.op("MOVD", fmt.Sprintf("$%d", refineRounds), rounds)
	k.loop("round", rounds, 1, func() {
		k.zero(changed)
		k.elements("weight", n, []r{x, level}, func(at []r) {
			v, old, w, wx := k.get(at[0], 0), k.get(at[1], 0), k.vec(), k.vec()
			restX, rest, ok, l, t := k.vec(), k.vec(), k.vec(), k.vec(), k.vec()
			k.fmul(w, v, v)
			k.fmul(wx, w, v)
			k.fmul(restX, old, wx)
			k.fsub(restX, lx, restX)
			k.fcmgt(ok, restX, zero)
			k.fmul(rest, old, w)
			k.fmul(rest, rest, old)
			k.fsub(rest, ll, rest)
			k.fmul(l, rest, v)
			k.fdiv(l, l, restX)
			// Beyond what an addition rounds lie the results of plain arithmetic alone.
			s.notBelow(t, l, s.limit)
			k.and(t, t, ok)
			k.or(s.skipped, s.skipped, t)
			levels.round(l)
			k.fcmeq(t, l, old)
			k.bic(ok, ok, t)
			k.fmul(t, l, wx)
			k.fadd(restX, restX, t)
			k.fmul(w, w, l)
			k.fmul(w, w, l)
			k.fadd(rest, rest, w)
			k.fcmgt(t, rest, zero)
			k.and(ok, ok, t)
			k.fmul(t, restX, restX)
			k.fmul(t, t, ll)
			k.fmul(w, lx, lx)
			k.fmul(w, w, rest)
			k.fcmgt(t, t, w)
			k.and(ok, ok, t)
			k.bit(lx, restX, ok)
			k.bit(ll, rest, ok)
			k.bit(old, l, ok)
			k.keep(old, at[1], 0)
			k.or(changed, changed, ok)
		})
		k.umaxv(changed, changed)
		k.op("FMOVS", fmt.Sprintf("F%d", int(changed)), any)
		k.op("CBZW", any, "settled")
	})
	k.label("settled")
	scale, t := k.vec(), k.vec()
	k.fdiv(scale, lx, ll)
	k.fcmgt(t, ll, zero)
	k.and(scale, scale, t)
	k.fewest(top, scale)
	k.keep(scale, fit, slotAt(slotScale))
	k.giveLanes(s.skipped)
}

// nearestIQ4 finds the value of IQ4, or its level, nearest to a number, by halving the levels that are left four times.
// Four times the level stands in each byte of a lane: with the number of the byte it is the place in a table of
// float32.
type nearestIQ4 struct {
	*neon
	first, four, ramp v
	second            [2]v
	third, last       []v
	values            []v
}

// floatTable fills registers with numbers.
func (k *neon) floatTable(n int, f func(i int) float32) []v {
	x := k.vecs(n / 4)
	for i := range n / 2 {
		low, high := math.Float32bits(f(2*i)), math.Float32bits(f(2*i+1))
		k.op("MOVD", fmt.Sprintf("$0x%08x%08x", high, low), "R16")
		k.op("VMOV", "R16", fmt.Sprintf("%s.D[%d]", x[i/2], i%2))
	}
	return x
}

func (k *neon) newNearestIQ4() nearestIQ4 {
	tree := func(depth int) func(i int) float32 {
		return func(i int) float32 { return betweenIQ4(16>>depth*(i%(1<<depth)) + 8>>depth - 1) }
	}
	return nearestIQ4{neon: k, first: k.constant(betweenIQ4(7)), four: k.byteConstant(4),
		ramp:   k.each(func(i int) int { return i % 4 }),
		second: [2]v{k.constant(tree(1)(0)), k.constant(tree(1)(1))},
		third:  k.floatTable(4, tree(2)), last: k.floatTable(8, tree(3)),
		values: k.floatTable(16, func(i int) float32 { return float32(valuesIQ4[i]) })}
}

// place looks up a number of a table.
func (k *neon) place(index v, table []v, to v) {
	var names []string
	for _, x := range table {
		names = append(names, b16(x))
	}
	list := names[0]
	for _, n := range names[1:] {
		list += ", " + n
	}
	k.op("VTBL", b16(index), "["+list+"]", b16(to))
}

// find sets level to four times the level next to f in each byte, for a table. f at a middle, or no number, is above
// it.
func (q nearestIQ4) find(f, level v) {
	q.scoped(func() {
		less, middle, at := q.vec(), q.vec(), q.vec()
		step := func() { // level = 2*level, and 4 more where f is not less than middle
			q.fcmgt(less, middle, f)
			q.bytesOp("VADD", level, level, level)
			q.bic(at, q.four, less)
			q.bytesOp("VADD", at, level, level)
		}
		q.fcmgt(less, q.first, f)
		q.bic(level, q.four, less)
		q.move(q.second[1], middle)
		q.bit(middle, q.second[0], less)
		step()
		for _, table := range [][]v{q.third, q.last} {
			q.or(at, level, q.ramp)
			q.place(at, table, middle)
			step()
		}
	})
}

// fitIQ4 is the search for a scale of the values of IQ4.
func (k *neon) fitIQ4() {
	k.kernel("fitIQ4",
		"(n int, x, w *float32, trials int, numerators *float32, fit *[14][32]float32) (skipped uint32)",
		"the search of Groups.FitIQ4")
	n, x, w, fit := k.param("n"), k.param("x"), k.param("w"), k.param("fit")
	trials, numerator := k.param("trials"), k.param("numerators")
	s, top, inverse := k.newStrays(), k.vec(), k.vec()
	k.peaks(n, x, top)
	k.scoped(func() { // the first scale is that of top over 127
		t, one := k.constant(127), k.constant(1)
		k.fdiv(t, top, t)
		k.fdiv(inverse, one, t)
	})
	near, qx, qq := k.newNearestIQ4(), k.vec(), k.vec()
	sums := func(label string) {
		k.zero(qx)
		k.zero(qq)
		k.elements(label, n, []r{x, w}, func(at []r) {
			v, w, q, t := k.get(at[0], 0), k.get(at[1], 0), k.vec(), k.vec()
			k.fmul(q, v, inverse)
			near.find(q, t)
			k.or(t, t, near.ramp)
			k.place(t, near.values, q)
			k.fmul(w, w, q)
			k.fmul(v, v, w)
			k.fadd(qx, qx, v)
			k.fmul(q, q, w)
			k.fadd(qq, qq, q)
		})
	}
	sums("first")
	s.unlessFinite(qx)
	s.unlessFinite(qq)
	scale, best, better, t := k.vec(), k.vec(), k.vec(), k.vec()
	positive := func(d v) {
		k.zero(d)
		k.fcmgt(d, qq, d)
	}
	k.fdiv(scale, qx, qq)
	positive(t)
	k.and(scale, scale, t)
	k.fmul(best, scale, qx)
	k.loop("trial", trials, 1, func() {
		k.everywhere(inverse, numerator)
		k.fdiv(inverse, inverse, top)
		sums("trial_sums")
		k.fmul(better, qx, qx)
		k.fmul(t, best, qq)
		k.fcmgt(better, better, t)
		positive(t)
		k.and(better, better, t)
		k.fdiv(t, qx, qq)
		k.bit(scale, t, better)
		k.fmul(t, t, qx)
		k.bit(best, t, better)
	})
	k.fewest(top, scale)
	k.keep(scale, fit, slotAt(slotScale))
	k.giveLanes(s.skipped)
}

// levelsIQ4 finds the nearest levels when the scales are known.
func (k *neon) levelsIQ4() {
	k.kernel("levelsIQ4", "(groups int, level *uint8, x, factor *float32)",
		"level[i] = the level of IQ4 nearest to x[i]*factor[group] for groups of 32 elements")
	groups, level, x, factors := k.param("groups"), k.param("level"), k.param("x"), k.param("factor")
	near, factor, l, v := k.newNearestIQ4(), k.vec(), k.vecs(4), k.vec()
	k.loop("group", groups, 1, func() {
		k.everywhere(factor, factors)
		for range 2 {
			for i := range l {
				k.fetch(v, x, 16*i)
				k.fmul(v, v, factor)
				near.find(v, l[i])
			}
			k.lowBytes(l)
			k.byteShift("VUSHR", 2, l[0], l[0])
			k.keep(l[0], level, 0)
			k.op("ADD", "$64", x)
			k.op("ADD", "$16", level)
		}
	})
	k.op("RET")
}

// lowBytes sets the first of four registers to the low bytes of all int32s.
func (k *neon) lowBytes(l []v) {
	k.lowHalves(l[0], l[1], l[0], "H8")
	k.lowHalves(l[2], l[3], l[2], "H8")
	k.lowHalves(l[0], l[2], l[0], "B16")
}

// nearest is the whole number that the low bits of a biased number say.
type nearest struct {
	*neon
	bias, mask, middle v
}

func (k *neon) newNearest() nearest {
	return nearest{k, k.constant(roundingBias), k.bits(0x7fffff), k.bits(0x400000)}
}

// of makes the whole number next to x.
func (n nearest) of(x v) {
	n.fadd(x, x, n.bias)
	n.and(x, x, n.mask)
	n.sub(x, x, n.middle)
}

// positiveErrors has a scale a lane, and the weights one after the other.
func (k *neon) positiveErrors() {
	k.kernel("positiveErrors", "(n int, x, w, inverse, sums *float32, top int32)", "the sums of PositiveErrors")
	n, x, w, inverses, sums := k.param("n"), k.param("x"), k.param("w"), k.param("inverse"), k.param("sums")
	near, top, one := k.newNearest(), k.splat("top"), k.constant(1)
	inverse, scale, sum := k.vecs(2), k.vecs(2), k.zeros(2)
	for i := range 2 {
		k.fetch(inverse[i], inverses, 16*i)
		k.fdiv(scale[i], one, inverse[i])
	}
	v, weight, l, d, e := k.vec(), k.vec(), k.vec(), k.vec(), k.vec()
	k.loop("weight", n, 1, func() {
		k.everywhere(v, x)
		k.everywhere(weight, w)
		for i := range 2 {
			k.fmul(l, v, inverse[i])
			near.of(l)
			k.smin(l, l, top)
			k.scvtf(l, l)
			k.fmul(l, l, scale[i])
			k.fsub(d, v, l)
			k.fmul(e, weight, d)
			k.fmul(e, e, d)
			k.fadd(sum[i], sum[i], e)
		}
	})
	k.storePair(sum[0], sum[1], sums, 0)
	k.op("RET")
}

// laneMean raises each magnitude by the root mean square of its group.
func (k *neon) laneMean() {
	k.kernel("laneMean", "(n int, inverse float32, w, x *float32)",
		"w = √(Σ x² · inverse) + |x| for groups of n elements, a power of two, of which inverse is the inverse")
	n, inverse, w, x := k.param("n"), k.splat("inverse"), k.param("w"), k.param("x")
	sum := k.zeros(1)[0]
	k.elements("squares", n, []r{x}, func(at []r) {
		v := k.get(at[0], 0)
		k.fmul(v, v, v)
		k.fadd(sum, sum, v)
	})
	k.fmul(sum, sum, inverse)
	k.fsqrt(sum, sum)
	k.elements("weights", n, []r{x, w}, func(at []r) {
		v := k.get(at[0], 0)
		k.fabs(v, v)
		k.fadd(v, v, sum)
		k.keep(v, at[1], 0)
	})
	k.op("RET")
}

// laneMoments adds up products of groups in lanes, in float64.
func (k *neon) laneMoments() {
	k.kernel("laneMoments", "(n int, old, change, offset *float32, sums *[4][16]float64)",
		"Σ p, Σ p², Σ d, Σ p·d of n elements of groups in lanes, p = old - offset, d = change; products are exact")
	n, old, change, offset, sums := k.param("n"), k.param("old"), k.param("change"), k.param("offset"), k.param("sums")
	away, total := k.get(offset, 0), [2][]v{k.zeros(4), k.zeros(4)}
	k.elements("element", n, []r{old, change}, func(at []r) {
		p, change, x, d := k.get(at[0], 0), k.get(at[1], 0), k.vec(), k.vec()
		k.fsub(p, p, away)
		for half, t := range total {
			if half == 0 {
				k.fcvtl(x, p)
				k.fcvtl(d, change)
			} else {
				k.fcvtl2(x, p)
				k.fcvtl2(d, change)
			}
			k.faddDouble(t[0], t[0], x)
			k.fmlaDouble(t[1], x, x)
			k.faddDouble(t[2], t[2], d)
			k.fmlaDouble(t[3], x, d)
		}
	})
	for i := range 4 {
		k.storePair(total[0][i], total[1][i], sums, 128*i)
	}
	k.op("RET")
}

func (k *neon) errorWeights() {
	k.kernel("errorWeights", "(n int, w, x, importance *float32, spread float32)",
		"w[i] = importance[i]*√(spread + x[i]²)")
	w, x, importance, spread := k.param("w"), k.param("x"), k.param("importance"), k.splat("spread")
	v, i := k.vecs(4), k.vecs(4)
	k.blocks(4, func() {
		k.load(x, v)
		k.load(importance, i)
		for j := range v {
			k.fmul(v[j], v[j], v[j])
			k.fadd(v[j], v[j], spread)
			k.fsqrt(v[j], v[j])
			k.fmul(v[j], v[j], i[j])
		}
		k.store(v, w)
	})
	k.op("RET")
}

// groupLevels rounds what two operations make of the weights of each group.
func (k *neon) groupLevels(name, formula string, first, second func(d, n, m v)) {
	k.kernel(name, "(groups, n int, level *uint8, x, a, b *float32, lo, hi int32)",
		"level[i] = min(max(nearest("+formula+"), lo), hi) - lo for groups of n elements, a multiple of 16")
	groups, n, level, x, a, b := k.param("groups"), k.param("n"), k.param("level"), k.param("x"), k.param("a"),
		k.param("b")
	lo, hi, near, va, vb, v, count := k.splat("lo"), k.splat("hi"), k.newNearest(), k.vec(), k.vec(), k.vecs(4), k.gp()
	k.loop("group", groups, 1, func() {
		k.everywhere(va, a)
		k.everywhere(vb, b)
		k.op("MOVD", n, count)
		k.loop("vector", count, 16, func() {
			k.load(x, v)
			for _, v := range v {
				first(v, v, va)
				second(v, v, vb)
				near.of(v)
				k.smax(v, v, lo)
				k.smin(v, v, hi)
				k.sub(v, v, lo)
			}
			k.lowBytes(v)
			k.keep(v[0], level, 0)
			k.op("ADD", "$16", level)
		})
	})
	k.op("RET")
}
