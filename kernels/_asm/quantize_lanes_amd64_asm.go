package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The searches work on groups of weights side by side: element i of all groups in one vector, a group a lane. Each lane
// does what the plain search does, in its order and with a rounding after every operation.

// Predicates of compare.
const (
	isEqual     = 0
	isLess      = 1
	atMost      = 2
	isUnordered = 3
	differs     = 4
	isNotLess   = 5
	exceeds     = 6 // or is no number
	isGreater   = 14
)

// compare is a mask of the lanes where a predicate b; b may be in memory.
func (g *gen) compare(a reg.Register, predicate uint64, b operand.Op) reg.Register {
	if g.lanes == 16 {
		m := g.K()
		g.VCMPPS(operand.Imm(predicate), b, a, m)
		return m
	}
	m := g.YMM()
	g.VCMPPS(operand.Imm(predicate), b, a, m)
	return m
}

// both is the lanes of both masks.
func (g *gen) both(a, b reg.Register) reg.Register {
	if g.lanes == 16 {
		m := g.K()
		g.KANDW(a, b, m)
		return m
	}
	m := g.YMM()
	g.VANDPS(a, b, m)
	return m
}

// choose sets the lanes of a mask in dst to those of src.
func (g *gen) choose(mask, src, dst reg.Register) {
	if g.lanes == 16 {
		g.VMOVAPS(src, mask, dst)
		return
	}
	g.VBLENDVPS(mask, src, dst, dst)
}

// chooseAt is choose where dst is in memory. The whole vector is stored, since a masked store is slow to load from.
func (g *gen) chooseAt(mask, src reg.Register, dst operand.Mem) {
	v := g.get(dst)
	g.choose(mask, src, v)
	g.VMOVUPS(v, dst)
}

// bitsOf is a mask as the bits of a general register.
func (g *gen) bitsOf(mask reg.Register) reg.GPVirtual {
	r := g.GP32()
	if g.lanes == 16 {
		g.KMOVW(mask, r)
	} else {
		g.VMOVMSKPS(mask, r)
	}
	return r
}

// get loads a vector into a new register.
func (g *gen) get(at operand.Mem) reg.VecVirtual {
	v := g.vec()
	g.VMOVUPS(at, v)
	return v
}

// binary puts the result of an operation into a new register. Operands stand as in the assembler: a is subtracted from
// b, or b divided by a.
func (g *gen) binary(op func(ops ...operand.Op), a, b operand.Op) reg.VecVirtual {
	v := g.vec()
	op(a, b, v)
	return v
}

// magnitude is |v| in a new register.
func (g *gen) magnitude(v reg.Register) reg.VecVirtual {
	return g.binary(g.VANDPS, g.bits(0x7fffffff), v)
}

// elements runs body for each vector of the n elements of a group; index is its offset in bytes.
func (g *gen) elements(label string, n reg.Register, unroll int, body func(index reg.Register, disp int)) {
	index, count := g.GP64(), g.GP64()
	g.XORQ(index, index)
	g.MOVQ(n, count)
	g.loop(label, count, unroll, func() {
		for u := range unroll {
			body(index, u*g.bytes())
		}
		g.ADDQ(operand.Imm(uint64(unroll*g.bytes())), index)
	})
}

// indexed is an element's address.
func indexed(base, index reg.Register, disp int) operand.Mem {
	return operand.Mem{Base: base, Index: index, Scale: 1, Disp: disp}
}

// slot is what a search knows of each group: vector number i of the parameter fit.
func slot(fit reg.Register, i int) operand.Mem { return operand.Mem{Base: fit, Disp: 64 * i} }

// Slots that the searches share with the Go code.
const (
	slotScale = iota
	slotOrigin
	slotInverse
	slotInverseOrigin
	slotLeast
	slotGreatest
	slotSumW
	slotSumX
	slotSmallest
)

const roundingBias = 3 << 22

// affineFit is what the parts of fitAffine have in common.
type affineFit struct {
	*gen
	n, x, w, level, fit reg.Register
	absolute            bool
}

func fitAffine(g *gen, s isa, name string, absolute bool) {
	g.kernel(s, name,
		"(n int, x, w, level *float32, trials int, numerators *float32, fit *[9][16]float32) (skipped uint32)",
		"the search of Groups.FitAffine")
	f := affineFit{g, g.param("n"), g.param("x"), g.param("w"), g.param("level"), g.param("fit"), absolute}
	trials, numerator := g.param("trials"), g.param("numerators")
	skipped := f.measure()
	inverse := f.try("first", operand.Mem{Base: numerator}, nil, skipped) // the highest level
	flat := g.compare(g.get(slot(f.fit, slotGreatest)), atMost, slot(f.fit, slotOrigin))
	g.store([]reg.VecVirtual{inverse, g.get(slot(f.fit, slotOrigin))},
		[]operand.Mem{slot(f.fit, slotInverse), slot(f.fit, slotInverseOrigin)})
	scale := g.binary(g.VDIVPS, inverse, g.constant(1))
	g.VMOVUPS(scale, slot(f.fit, slotScale))
	e := f.error("first_error", scale, g.get(slot(f.fit, slotOrigin)))
	g.VMOVUPS(e, slot(f.fit, slotSmallest))
	f.leaveOut(flat, skipped)
	current := g.GP64()
	g.MOVQ(numerator, current)
	g.loop("trial", trials, 1, func() {
		g.ADDQ(operand.Imm(4), current)
		var sums [3]reg.VecVirtual
		inverse := f.try("trial", operand.Mem{Base: current}, &sums, skipped)
		f.improve(inverse, sums)
	})
	f.give(skipped)
}

// give returns the bits of the lanes that went astray.
func (f *affineFit) give(skipped reg.GPVirtual) {
	f.Store(skipped, f.ReturnIndex(0))
	f.end()
}

// measure fills the slots of the extent and the sums. The lanes of which a sum is no number are skipped.
func (f *affineFit) measure() (skipped reg.GPVirtual) {
	x0 := f.get(operand.Mem{Base: f.x})
	least, greatest, sumW := f.get(operand.Mem{Base: f.x}), f.get(operand.Mem{Base: f.x}), f.get(operand.Mem{Base: f.w})
	sumX := f.binary(f.VMULPS, sumW, x0)
	rest := f.GP64()
	f.LEAQ(operand.Mem{Base: f.n, Disp: -1}, rest)
	f.elements("measure", rest, 1, func(index reg.Register, _ int) {
		x, w := f.get(indexed(f.x, index, f.bytes())), f.get(indexed(f.w, index, f.bytes()))
		f.VMINPS(least, x, least)
		f.VMAXPS(greatest, x, greatest)
		f.VADDPS(w, sumW, sumW)
		f.VADDPS(f.binary(f.VMULPS, w, x), sumX, sumX)
	})
	f.VMINPS(least, f.constant(0), least)
	f.store([]reg.VecVirtual{least, least, greatest, sumW, sumX}, []operand.Mem{
		slot(f.fit, slotOrigin), slot(f.fit, slotLeast), slot(f.fit, slotGreatest), slot(f.fit, slotSumW),
		slot(f.fit, slotSumX)})
	skipped = f.bitsOf(f.compare(f.magnitude(sumX), isNotLess, f.bits(0x7f800000)))
	f.ORL(f.bitsOf(f.compare(f.magnitude(sumW), isNotLess, f.bits(0x7f800000))), skipped)
	return skipped
}

// leaveOut gives the groups that span no range a scale of 0, levels of 0, and an error that nothing improves.
func (f *affineFit) leaveOut(flat reg.Register, skipped reg.GPVirtual) {
	zero := f.constant(0)
	f.chooseAt(flat, zero, slot(f.fit, slotScale))
	f.chooseAt(flat, zero, slot(f.fit, slotInverse))
	f.chooseAt(flat, f.get(f.bits(0xff800000)), slot(f.fit, slotSmallest))
}

// try sets the levels that numerator levels over the range above the origin lead to, and the sums of w·level, w·level²
// and w·level·x. It returns the levels per unit. Groups whose levels lie beyond what can be rounded are skipped, unless
// they span no range.
func (f *affineFit) try(label string, numerator operand.Mem, sums *[3]reg.VecVirtual,
	skipped reg.GPVirtual) reg.VecVirtual {
	origin, greatest := f.get(slot(f.fit, slotOrigin)), f.get(slot(f.fit, slotGreatest))
	inverse := f.vec()
	f.VBROADCASTSS(numerator, inverse)
	f.VDIVPS(f.binary(f.VSUBPS, origin, greatest), inverse, inverse)
	low := f.magnitude(f.binary(f.VSUBPS, origin, f.get(slot(f.fit, slotLeast))))
	reach := f.magnitude(f.binary(f.VSUBPS, origin, greatest))
	f.VMAXPS(low, reach, reach)
	f.VMULPS(inverse, reach, reach)
	outside := f.compare(f.magnitude(reach), isNotLess, f.number(1<<22))
	spans := f.compare(greatest, exceeds, slot(f.fit, slotLeast))
	f.ORL(f.bitsOf(f.both(outside, spans)), skipped)
	bias, top, zero := f.constant(roundingBias), f.vec(), f.constant(0)
	f.VBROADCASTSS(f.topAt(), top)
	if sums != nil {
		*sums = [3]reg.VecVirtual(f.zeros(3))
	}
	f.elements(label+"_levels", f.n, 2, func(index reg.Register, disp int) {
		x := f.get(indexed(f.x, index, disp))
		l := f.binary(f.VSUBPS, origin, x)
		f.VMULPS(inverse, l, l)
		f.VADDPS(bias, l, l)
		f.VSUBPS(bias, l, l)
		f.VMINPS(top, l, l)
		f.VMAXPS(zero, l, l)
		f.VMOVUPS(l, indexed(f.level, index, disp))
		if sums != nil {
			wl := f.binary(f.VMULPS, indexed(f.w, index, disp), l)
			f.VADDPS(wl, sums[0], sums[0])
			f.VMULPS(wl, l, l)
			f.VADDPS(l, sums[1], sums[1])
			f.VMULPS(wl, x, x)
			f.VADDPS(x, sums[2], sums[2])
		}
	})
	return inverse
}

// topAt is the address of the highest level, the first numerator.
func (f *affineFit) topAt() operand.Mem {
	p := f.GP64()
	f.Load(f.Param("numerators"), p)
	return operand.Mem{Base: p}
}

// error is the weighted error of scale·level + offset.
func (f *affineFit) error(label string, scale, offset reg.Register) reg.VecVirtual {
	sum := f.zeros(1)[0]
	f.elements(label, f.n, 2, func(index reg.Register, disp int) {
		d := f.binary(f.VMULPS, indexed(f.level, index, disp), scale)
		f.VADDPS(offset, d, d)
		f.VSUBPS(indexed(f.x, index, disp), d, d)
		if f.absolute {
			f.VANDPS(f.bits(0x7fffffff), d, d)
		} else {
			f.VMULPS(d, d, d)
		}
		f.VMULPS(indexed(f.w, index, disp), d, d)
		f.VADDPS(d, sum, sum)
	})
	return sum
}

// improve solves for the scale and offset of least squared error for the levels of a trial, and keeps them where they
// are better.
func (f *affineFit) improve(inverse reg.Register, sums [3]reg.VecVirtual) {
	l, ll, lx := sums[0], sums[1], sums[2]
	sumW, sumX := f.get(slot(f.fit, slotSumW)), f.get(slot(f.fit, slotSumX))
	det := f.binary(f.VSUBPS, f.binary(f.VMULPS, l, l), f.binary(f.VMULPS, ll, sumW))
	ok := f.compare(det, isGreater, f.number(0))
	scale := f.binary(f.VSUBPS, f.binary(f.VMULPS, l, sumX), f.binary(f.VMULPS, lx, sumW))
	f.VDIVPS(det, scale, scale)
	offset := f.binary(f.VSUBPS, f.binary(f.VMULPS, lx, l), f.binary(f.VMULPS, sumX, ll))
	f.VDIVPS(det, offset, offset)
	positive := f.compare(offset, isGreater, f.number(0))
	bits := f.bitsOf(positive)
	f.TESTL(bits, bits)
	f.JZ(operand.LabelRef("below"))
	f.choose(positive, f.binary(f.VDIVPS, ll, lx), scale)
	f.choose(positive, f.constant(0), offset)
	f.Label("below")
	e := f.error("trial_error", scale, offset)
	better := f.both(f.compare(e, isLess, slot(f.fit, slotSmallest)), ok)
	f.chooseAt(better, e, slot(f.fit, slotSmallest))
	f.chooseAt(better, scale, slot(f.fit, slotScale))
	f.chooseAt(better, inverse, slot(f.fit, slotInverse))
	f.chooseAt(better, f.get(slot(f.fit, slotOrigin)), slot(f.fit, slotInverseOrigin))
	f.chooseAt(better, offset, slot(f.fit, slotOrigin))
}

// fitSymmetric is the search for a scale without minimum.
func fitSymmetric(g *gen, s isa) {
	g.kernel(s, "fitSymmetric",
		"(n int, x, w, wx *float32, half float32, trials int, numerators *float32, fit *[9][16]float32) (skipped uint32)",
		"the search of Groups.FitSymmetric")
	n, x, w, wx, fit := g.param("n"), g.param("x"), g.param("w"), g.param("wx"), g.param("fit")
	trials, numerator := g.param("trials"), g.param("numerators")
	top := g.peaks(n, x)
	sumW := g.zeros(1)[0]
	g.elements("products", n, 2, func(index reg.Register, disp int) {
		v := g.get(indexed(w, index, disp))
		g.VADDPS(v, sumW, sumW)
		g.VMULPS(indexed(x, index, disp), v, v)
		g.VMOVUPS(v, indexed(wx, index, disp))
	})
	g.VMOVUPS(sumW, slot(fit, slotSumW))
	half := g.splat("half")
	lowest, highest := g.binary(g.VSUBPS, half, g.constant(0)), g.binary(g.VSUBPS, g.number(1), half)
	bias := g.constant(roundingBias)
	inverse := g.vec()
	sums := func(label string) (lx, ll reg.VecVirtual) {
		g.VBROADCASTSS(operand.Mem{Base: numerator}, inverse)
		g.VDIVPS(top, inverse, inverse)
		z := g.zeros(2)
		g.elements(label, n, 2, func(index reg.Register, disp int) {
			l := g.binary(g.VMULPS, indexed(x, index, disp), inverse)
			g.VADDPS(bias, l, l)
			g.VSUBPS(bias, l, l)
			g.VMAXPS(lowest, l, l)
			g.VMINPS(highest, l, l)
			g.VADDPS(g.binary(g.VMULPS, indexed(wx, index, disp), l), z[0], z[0])
			wl := g.binary(g.VMULPS, indexed(w, index, disp), l)
			g.VMULPS(l, wl, wl)
			g.VADDPS(wl, z[1], z[1])
		})
		return z[0], z[1]
	}
	lx, ll := sums("first")
	skipped := g.bitsOf(g.compare(g.magnitude(lx), isNotLess, g.bits(0x7f800000)))
	g.ORL(g.bitsOf(g.compare(g.magnitude(ll), isNotLess, g.bits(0x7f800000))), skipped)
	scale, best := g.zeros(2)[0], g.vec()
	g.choose(g.compare(ll, differs, g.number(0)), g.binary(g.VDIVPS, ll, lx), scale)
	g.VMULPS(lx, scale, best)
	g.VMOVUPS(scale, slot(fit, slotScale))
	g.VMOVUPS(inverse, slot(fit, slotInverse))
	g.loop("trial", trials, 1, func() {
		g.ADDQ(operand.Imm(4), numerator)
		lx, ll := sums("trial_sums")
		better := g.compare(g.binary(g.VMULPS, lx, lx), isGreater, g.binary(g.VMULPS, ll, best))
		better = g.both(better, g.compare(ll, isGreater, g.number(0)))
		s := g.binary(g.VDIVPS, ll, lx)
		g.choose(better, g.binary(g.VMULPS, lx, s), best)
		g.chooseAt(better, s, slot(fit, slotScale))
		g.chooseAt(better, inverse, slot(fit, slotInverse))
	})
	nothing := g.compare(g.magnitude(top), isLess, g.bits(noScale))
	g.chooseAt(nothing, g.constant(0), slot(fit, slotScale))
	g.chooseAt(nothing, g.constant(0), slot(fit, slotInverse))
	g.Store(skipped, g.ReturnIndex(0))
	g.end()
}

// noScale is 1e-15: magnitudes below it count as nothing.
const noScale = 0x26901d7d

// peaks is the element of largest magnitude of each group, the first of several.
func (g *gen) peaks(n, x reg.Register) reg.VecVirtual {
	top, mag := g.zeros(2)[0], g.vec()
	g.zero(mag)
	g.elements("peak", n, 1, func(index reg.Register, disp int) {
		v := g.get(indexed(x, index, disp))
		a := g.magnitude(v)
		larger := g.compare(a, isGreater, mag)
		g.choose(larger, v, top)
		g.choose(larger, a, mag)
	})
	return top
}

// refineRounds is how often refineSymmetric goes over a group.
const refineRounds = 5

// refineSymmetric is the search that improves the levels one at a time. A group in which a round changes nothing stays
// as it is in those that follow.
func refineSymmetric(g *gen, s isa) {
	g.kernel(s, "refineSymmetric", "(n int, x, level *float32, half float32, fit *[9][16]float32) (skipped uint32)",
		"the search of Groups.RefineSymmetric; level is set to the levels, counted from the middle")
	n, x, level, fit := g.param("n"), g.param("x"), g.param("level"), g.param("fit")
	half := g.splat("half")
	lowest, highest := g.binary(g.VSUBPS, half, g.constant(0)), g.binary(g.VSUBPS, g.number(1), half)
	top := g.peaks(n, x)
	g.VMOVUPS(top, slot(fit, slotInverse))
	inverse := g.binary(g.VDIVPS, top, lowest)
	lx, ll := g.zeros(2)[0], g.vec()
	g.zero(ll)
	round := func(f reg.VecVirtual) {
		g.VADDPS(g.number(roundingBias), f, f)
		g.VSUBPS(g.number(roundingBias), f, f)
		g.VMAXPS(lowest, f, f)
		g.VMINPS(highest, f, f)
	}
	g.elements("first", n, 1, func(index reg.Register, disp int) {
		v := g.get(indexed(x, index, disp))
		l := g.binary(g.VMULPS, inverse, v)
		round(l)
		g.VMOVUPS(l, indexed(level, index, disp))
		w := g.binary(g.VMULPS, v, v)
		g.VMULPS(w, v, v)
		g.VMULPS(l, v, v)
		g.VADDPS(v, lx, lx)
		g.VMULPS(l, w, w)
		g.VMULPS(l, w, w)
		g.VADDPS(w, ll, ll)
	})
	skipped := g.bitsOf(g.compare(g.magnitude(lx), isNotLess, g.bits(0x7f800000)))
	g.ORL(g.bitsOf(g.compare(g.magnitude(ll), isNotLess, g.bits(0x7f800000))), skipped)
	rounds, changed := g.GP64(), g.GP32()
	g.MOVQ(operand.U32(refineRounds), rounds)
	g.loop("round", rounds, 1, func() {
		g.XORL(changed, changed)
		g.elements("weight", n, 1, func(index reg.Register, disp int) {
			v, old := g.get(indexed(x, index, disp)), g.get(indexed(level, index, disp))
			w := g.binary(g.VMULPS, v, v)
			wx := g.binary(g.VMULPS, w, v)
			restX := g.binary(g.VSUBPS, g.binary(g.VMULPS, old, wx), lx)
			ok := g.compare(restX, isGreater, g.number(0))
			rest := g.binary(g.VMULPS, old, w)
			g.VMULPS(old, rest, rest)
			g.VSUBPS(rest, ll, rest)
			l := g.binary(g.VMULPS, rest, v)
			g.VDIVPS(restX, l, l)
			// Beyond what an addition rounds lie the results of plain arithmetic alone.
			outside := g.compare(g.magnitude(l), isNotLess, g.number(1<<22))
			g.ORL(g.bitsOf(g.both(outside, ok)), skipped)
			round(l)
			ok = g.both(ok, g.compare(l, differs, old))
			g.VADDPS(g.binary(g.VMULPS, l, wx), restX, restX)
			g.VMULPS(l, w, w)
			g.VMULPS(l, w, w)
			g.VADDPS(w, rest, rest)
			ok = g.both(ok, g.compare(rest, isGreater, g.number(0)))
			mine, theirs := g.binary(g.VMULPS, restX, restX), g.binary(g.VMULPS, lx, lx)
			g.VMULPS(ll, mine, mine)
			g.VMULPS(rest, theirs, theirs)
			ok = g.both(ok, g.compare(mine, isGreater, theirs))
			g.choose(ok, restX, lx)
			g.choose(ok, rest, ll)
			g.choose(ok, l, old)
			g.VMOVUPS(old, indexed(level, index, disp))
			g.ORL(g.bitsOf(ok), changed)
		})
		g.TESTL(changed, changed)
		g.JZ(operand.LabelRef("settled"))
	})
	g.Label("settled")
	scale := g.zeros(1)[0]
	g.choose(g.compare(ll, isGreater, g.number(0)), g.binary(g.VDIVPS, ll, lx), scale)
	nothing := g.compare(g.magnitude(g.get(slot(fit, slotInverse))), isLess, g.bits(noScale))
	g.choose(nothing, g.constant(0), scale)
	g.VMOVUPS(scale, slot(fit, slotScale))
	g.Store(skipped, g.ReturnIndex(0))
	g.end()
}

// positiveErrors has a scale a lane, and the weights one after the other.
func positiveErrors(g *gen) {
	g.kernel(avx2, "positiveErrors", "(n int, x, w, inverse, sums *float32, top int32)", "the sums of PositiveErrors")
	n, x, w, top := g.param("n"), g.param("x"), g.param("w"), g.vec()
	g.VBROADCASTSS(g.address(g.Param("top")), top)
	inverse := g.get(operand.Mem{Base: g.param("inverse")})
	scale, bias, sum := g.binary(g.VDIVPS, inverse, g.constant(1)), g.constant(roundingBias), g.zeros(1)[0]
	index := g.GP64()
	g.XORQ(index, index)
	g.loop("weight", n, 1, func() {
		v, weight := g.vec(), g.vec()
		g.VBROADCASTSS(indexed(x, index, 0), v)
		g.VBROADCASTSS(indexed(w, index, 0), weight)
		g.ADDQ(operand.Imm(4), index)
		l := g.binary(g.VMULPS, inverse, v)
		g.VADDPS(bias, l, l)
		g.nearest(l)
		g.integers(g.VPMINSD, top, l)
		g.VCVTDQ2PS(l, l)
		g.VMULPS(scale, l, l)
		g.VSUBPS(l, v, v)
		g.VMULPS(v, weight, weight)
		g.VMULPS(v, weight, weight)
		g.VADDPS(weight, sum, sum)
	})
	g.VMOVUPS(sum, operand.Mem{Base: g.param("sums")})
	g.end()
}
