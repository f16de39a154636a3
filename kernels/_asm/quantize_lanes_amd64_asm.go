package main

import (
	"fmt"

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
	isAtLeast   = 13
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
			body(index, 2*u*g.bytes())
		}
		g.ADDQ(operand.U32(2*unroll*g.bytes()), index)
	})
}

// indexed is an element's address.
func indexed(base, index reg.Register, disp int) operand.Mem {
	return operand.Mem{Base: base, Index: index, Scale: 1, Disp: disp}
}

// slot is what a search knows of each group: vector number i of the parameter fit.
func slot(fit reg.Register, i int) operand.Mem { return operand.Mem{Base: fit, Disp: 128 * i} }

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
	slotTop // biased
	slotTrial
	slotNumerator // of the trial
	slotTrialInverse
	slotTie
)

const roundingBias = 3 << 22

// affineFit is what the parts of fitAffine have in common. It searches two vectors of groups at once, so that one
// computes while the other waits.
type affineFit struct {
	*gen
	n, x, numerators, fit reg.Register
	skipped               reg.GPVirtual
	absolute              bool
	entries               int               // of the table of ties: 32, 8 or, where all groups try all scales, 0
	ties                  []reg.VecVirtual  // the table
	inverse, scale        [2]reg.VecVirtual // of the trial
	offset, e             [2]reg.VecVirtual
	ok                    [2]reg.Register
}

// The arrays of Groups follow each other.
const (
	weightsAt = 4 * 32 * 32
	levelsAt  = 2 * weightsAt
)

// fitAffine tries the scales in their order. With a table of ties, a group goes on to the next scale at which one of
// its levels changes, as long as its origin is the same: in between, the levels and so the errors are the same.
//
// ties[l] is 1/(l + 1/2) for a level l below the highest, else 0. Where v is the number that is rounded to level l,
// v·ties[l] says how far v is on the way to the next level. It grows with the number of levels.
func fitAffine(g *gen, s isa, name string, absolute bool, entries int) {
	g.kernel(s, name, "(n int, x *float32, trials int, numerators *float32, perStep float32, ties *float32, "+
		"fit *[14][32]float32) (skipped uint32)", "the search of Groups.FitAffine")
	f := affineFit{gen: g, n: g.param("n"), x: g.param("x"), numerators: g.param("numerators"), fit: g.param("fit"),
		skipped: g.GP32(), absolute: absolute, entries: entries}
	f.begin()
	f.measure()
	f.first()
	count := g.GP64()
	g.Load(g.Param("trials"), count)
	if entries == 0 {
		current := g.GP64()
		g.MOVQ(f.numerators, current)
		g.loop("trial", count, 1, func() {
			g.ADDQ(operand.Imm(4), current)
			f.trial(func(set int) reg.VecVirtual {
				numerator := g.vec()
				g.VBROADCASTSS(operand.Mem{Base: current}, numerator)
				return numerator
			})
		})
	} else {
		f.ties = g.vecs(entries / g.lanes)
		for i, v := range f.ties {
			g.VMOVUPS(operand.Mem{Base: g.param("ties"), Disp: i * g.bytes()}, v)
		}
		last := g.GP64()
		g.LEAQ(operand.Mem{Base: count, Disp: -1}, last)
		g.Label("trial")
		f.trial(func(set int) reg.VecVirtual { return f.numeratorOf(set, last) })
		g.JNZ(operand.LabelRef("trial"))
	}
	g.Store(f.skipped, g.ReturnIndex(0))
	g.end()
}

// slot is what is known of each group of a vector: number i.
func (f *affineFit) slot(set, i int) operand.Mem {
	return operand.Mem{Base: f.fit, Disp: 128*i + set*f.bytes()}
}

// eachSet runs body for both vectors of groups.
func eachSet(body func(set int)) {
	body(0)
	body(1)
}

// elements runs body for each element of both vectors of groups.
func (f *affineFit) elements(label string, count reg.Register, first int, body func(at [2]operand.Mem)) {
	p, rest := f.GP64(), f.GP64()
	f.LEAQ(operand.Mem{Base: f.x, Disp: 2 * first * f.bytes()}, p)
	f.MOVQ(count, rest)
	f.loop(label, rest, 1, func() {
		body([2]operand.Mem{{Base: p}, {Base: p, Disp: f.bytes()}})
		f.ADDQ(operand.U32(2*f.bytes()), p)
	})
}

// skip leaves the groups of a mask to the plain search.
func (f *affineFit) skip(set int, mask reg.Register) {
	bits := f.bitsOf(mask)
	if set > 0 {
		f.SHLL(operand.Imm(uint64(f.lanes)), bits)
	}
	f.ORL(bits, f.skipped)
}

// begin fills the slots that are the same for all groups: the biased highest level, and the number of the trial.
func (f *affineFit) begin() {
	f.XORL(f.skipped, f.skipped)
	top, zero := f.vec(), f.zeros(1)[0]
	f.VBROADCASTSS(operand.Mem{Base: f.numerators}, top)
	f.VADDPS(f.number(roundingBias), top, top)
	eachSet(func(set int) {
		f.VMOVUPS(top, f.slot(set, slotTop))
		f.VMOVUPS(zero, f.slot(set, slotTrial))
	})
}

// measure fills the slots of the extent and the sums. The lanes of which a sum is no number are skipped.
func (f *affineFit) measure() {
	var least, greatest, sumW, sumX [2]reg.VecVirtual
	eachSet(func(set int) {
		at := operand.Mem{Base: f.x, Disp: set * f.bytes()}
		least[set], greatest[set], sumW[set] = f.get(at), f.get(at), f.get(at.Offset(weightsAt))
		sumX[set] = f.binary(f.VMULPS, sumW[set], least[set])
	})
	rest := f.GP64()
	f.LEAQ(operand.Mem{Base: f.n, Disp: -1}, rest)
	f.elements("measure", rest, 1, func(at [2]operand.Mem) {
		eachSet(func(set int) {
			x, w := f.get(at[set]), f.get(at[set].Offset(weightsAt))
			f.VMINPS(least[set], x, least[set])
			f.VMAXPS(greatest[set], x, greatest[set])
			f.VADDPS(w, sumW[set], sumW[set])
			f.VMULPS(w, x, x)
			f.VADDPS(x, sumX[set], sumX[set])
		})
	})
	eachSet(func(set int) {
		f.VMINPS(least[set], f.constant(0), least[set])
		f.store([]reg.VecVirtual{least[set], least[set], greatest[set], sumW[set], sumX[set]}, []operand.Mem{
			f.slot(set, slotOrigin), f.slot(set, slotLeast), f.slot(set, slotGreatest), f.slot(set, slotSumW),
			f.slot(set, slotSumX)})
		f.skip(set, f.compare(f.magnitude(sumX[set]), isNotLess, f.bits(0x7f800000)))
		f.skip(set, f.compare(f.magnitude(sumW[set]), isNotLess, f.bits(0x7f800000)))
	})
}

// first maps the greatest weight to the highest level. Groups that span no range get a scale of 0, levels of 0, and
// an error that nothing improves.
func (f *affineFit) first() {
	eachSet(func(set int) {
		numerator := f.vec()
		f.VBROADCASTSS(operand.Mem{Base: f.numerators}, numerator)
		f.inverse[set] = f.inverseOf(set, numerator)
	})
	f.levels("first_levels", nil)
	eachSet(func(set int) {
		f.scale[set], f.offset[set] = f.binary(f.VDIVPS, f.inverse[set], f.constant(1)), f.get(f.slot(set, slotOrigin))
		f.store([]reg.VecVirtual{f.inverse[set], f.offset[set], f.scale[set]}, []operand.Mem{
			f.slot(set, slotInverse), f.slot(set, slotInverseOrigin), f.slot(set, slotScale)})
	})
	f.errors("first_errors")
	eachSet(func(set int) {
		f.VMOVUPS(f.e[set], f.slot(set, slotSmallest))
		flat := f.compare(f.get(f.slot(set, slotGreatest)), atMost, f.slot(set, slotOrigin))
		zero := f.constant(0)
		f.chooseAt(flat, zero, f.slot(set, slotScale))
		f.chooseAt(flat, zero, f.slot(set, slotInverse))
		f.chooseAt(flat, f.get(f.bits(0xff800000)), f.slot(set, slotSmallest))
	})
}

// inverseOf is the number of levels per unit for numerator levels over the range above the origin. Groups whose levels
// lie far beyond what matters are skipped, unless they span no range: those that an addition cannot round, and those
// for which this may happen before a level changes.
func (f *affineFit) inverseOf(set int, numerator reg.VecVirtual) reg.VecVirtual {
	origin, greatest := f.get(f.slot(set, slotOrigin)), f.get(f.slot(set, slotGreatest))
	f.VDIVPS(f.binary(f.VSUBPS, origin, greatest), numerator, numerator)
	low := f.magnitude(f.binary(f.VSUBPS, origin, f.get(f.slot(set, slotLeast))))
	reach := f.magnitude(f.binary(f.VSUBPS, origin, greatest))
	f.VMAXPS(low, reach, reach)
	f.VMULPS(numerator, reach, reach)
	outside := f.compare(f.magnitude(reach), isNotLess, f.number(1<<20))
	spans := f.compare(greatest, exceeds, f.slot(set, slotLeast))
	f.skip(set, f.gen.both(outside, spans))
	f.VMOVUPS(numerator, f.slot(set, slotTrialInverse))
	return numerator
}

// numeratorOf is the number of levels that each group tries. The groups that are done try the last one again.
func (f *affineFit) numeratorOf(set int, last reg.Register) reg.VecVirtual {
	trial, numerator := f.vec(), f.vec()
	f.VMOVD(last.(reg.GPVirtual).As32(), trial.AsX())
	f.VPBROADCASTD(trial.AsX(), trial)
	f.VPMINSD(f.slot(set, slotTrial), trial, trial)
	at := operand.Mem{Base: f.numerators, Index: trial, Scale: 4, Disp: 4}
	if f.lanes == 16 {
		all := f.K()
		f.KXNORW(all, all, all)
		f.VGATHERDPS(at, all, numerator)
	} else {
		all := f.vec()
		f.VPCMPEQD(all, all, all)
		f.VGATHERDPS(all, at, numerator)
	}
	f.VMOVUPS(numerator, f.slot(set, slotNumerator))
	return numerator
}

// trial tries a scale of each group. With a table of ties, it leaves the zero flag set when all groups are done.
func (f *affineFit) trial(numerator func(set int) reg.VecVirtual) {
	eachSet(func(set int) { f.inverse[set] = f.inverseOf(set, numerator(set)) })
	var sums [2]affineSums
	f.levels("trial_levels", &sums)
	eachSet(func(set int) { f.solve(set, sums[set]) })
	f.errors("trial_errors")
	eachSet(f.improve)
	if f.entries > 0 {
		f.goOn()
	}
}

// affineSums are the sums of w·level, w·level² and w·level·x, and the greatest v·ties[level].
type affineSums struct{ l, ll, lx, tie reg.VecVirtual }

// levels sets the levels of a trial, and their sums.
func (f *affineFit) levels(label string, sums *[2]affineSums) {
	var origin [2]reg.VecVirtual
	eachSet(func(set int) {
		origin[set] = f.get(f.slot(set, slotOrigin))
		if sums != nil {
			z := f.zeros(3)
			sums[set] = affineSums{l: z[0], ll: z[1], lx: z[2]}
			if f.entries > 0 {
				sums[set].tie = f.get(f.number(1.0 / (1 << 20)))
			}
		}
	})
	var bias, top operand.Op = f.number(roundingBias), f.slot(0, slotTop)
	if f.lanes == 16 {
		bias, top = f.constant(roundingBias), f.get(f.slot(0, slotTop))
	}
	f.elements(label, f.n, 0, func(at [2]operand.Mem) {
		eachSet(func(set int) {
			l := f.get(at[set])
			f.VSUBPS(origin[set], l, l)
			f.VMULPS(f.inverse[set], l, l)
			tie := f.vec()
			if sums != nil && f.entries > 0 {
				v := l
				l = f.binary(f.VADDPS, bias, v)
				f.VMINPS(top, l, l)
				f.VMAXPS(bias, l, l)
				if f.entries > f.lanes {
					f.VMOVAPS(l, tie)
					f.VPERMI2PS(f.ties[1], f.ties[0], tie)
				} else {
					f.VPERMPS(f.ties[0], l, tie)
				}
				f.VMULPS(v, tie, tie)
				f.VMAXPS(tie, sums[set].tie, sums[set].tie)
			} else {
				f.VADDPS(bias, l, l)
				f.VMINPS(top, l, l)
				f.VMAXPS(bias, l, l)
			}
			f.VSUBPS(bias, l, l)
			f.VMOVUPS(l, at[set].Offset(levelsAt))
			if sums != nil {
				s := sums[set]
				wl := f.binary(f.VMULPS, at[set].Offset(weightsAt), l)
				f.VADDPS(wl, s.l, s.l)
				f.VMULPS(wl, l, l)
				f.VADDPS(l, s.ll, s.ll)
				f.VMULPS(at[set], wl, wl)
				f.VADDPS(wl, s.lx, s.lx)
			}
		})
	})
	if sums != nil && f.entries > 0 {
		eachSet(func(set int) { f.VMOVUPS(sums[set].tie, f.slot(set, slotTie)) })
	}
}

// errors sets e to the weighted errors of scale·level + offset.
func (f *affineFit) errors(label string) {
	sums := f.zeros(2)
	f.e = [2]reg.VecVirtual(sums)
	f.elements(label, f.n, 0, func(at [2]operand.Mem) {
		eachSet(func(set int) {
			d := f.binary(f.VMULPS, at[set].Offset(levelsAt), f.scale[set])
			f.VADDPS(f.offset[set], d, d)
			f.VSUBPS(at[set], d, d)
			if f.absolute {
				f.VANDPS(f.bits(0x7fffffff), d, d)
			} else {
				f.VMULPS(d, d, d)
			}
			f.VMULPS(at[set].Offset(weightsAt), d, d)
			f.VADDPS(d, sums[set], sums[set])
		})
	})
}

// solve sets scale and offset to those of least squared error for the levels of a trial.
func (f *affineFit) solve(set int, sums affineSums) {
	l, ll, lx := sums.l, sums.ll, sums.lx
	sumW, sumX := f.get(f.slot(set, slotSumW)), f.get(f.slot(set, slotSumX))
	det := f.binary(f.VSUBPS, f.binary(f.VMULPS, l, l), f.binary(f.VMULPS, ll, sumW))
	f.ok[set] = f.compare(det, isGreater, f.number(0))
	scale := f.binary(f.VSUBPS, f.binary(f.VMULPS, l, sumX), f.binary(f.VMULPS, lx, sumW))
	f.VDIVPS(det, scale, scale)
	offset := f.binary(f.VSUBPS, f.binary(f.VMULPS, lx, l), f.binary(f.VMULPS, sumX, ll))
	f.VDIVPS(det, offset, offset)
	positive := f.compare(offset, isGreater, f.number(0))
	bits := f.bitsOf(positive)
	below := fmt.Sprintf("below%d", set)
	f.TESTL(bits, bits)
	f.JZ(operand.LabelRef(below))
	f.choose(positive, f.binary(f.VDIVPS, ll, lx), scale)
	f.choose(positive, f.constant(0), offset)
	f.Label(below)
	f.scale[set], f.offset[set] = scale, offset
}

// improve keeps what is better.
func (f *affineFit) improve(set int) {
	better := f.gen.both(f.compare(f.e[set], isLess, f.slot(set, slotSmallest)), f.ok[set])
	if f.entries > 0 {
		better = f.gen.both(better, f.active(set))
	}
	f.chooseAt(better, f.e[set], f.slot(set, slotSmallest))
	f.chooseAt(better, f.scale[set], f.slot(set, slotScale))
	f.chooseAt(better, f.get(f.slot(set, slotTrialInverse)), f.slot(set, slotInverse))
	f.chooseAt(better, f.get(f.slot(set, slotOrigin)), f.slot(set, slotInverseOrigin))
	f.chooseAt(better, f.offset[set], f.slot(set, slotOrigin))
	if f.entries > 0 {
		f.pass(set, better)
	}
}

// active is the groups that are not done.
func (f *affineFit) active(set int) reg.Register {
	count := f.vec()
	f.VPBROADCASTD(f.address(f.Param("trials")), count)
	if f.lanes == 16 {
		m := f.K()
		f.VPCMPD(operand.Imm(isGreater), f.slot(set, slotTrial), count, m)
		return m
	}
	f.VPCMPGTD(f.slot(set, slotTrial), count, count)
	return count
}

// pass goes past the trial, and past those at which no level changes if it was no better. Margins see to it that this
// is certain: v and the numerators are rounded, by less than 2⁻²⁰.
func (f *affineFit) pass(set int, better reg.Register) {
	tie, until, part := f.get(f.slot(set, slotTie)), f.vec(), f.vec()
	if f.lanes == 16 {
		f.VRCP14PS(tie, until)
	} else {
		f.VRCPPS(tie, until)
	}
	f.VMULPS(until, tie, tie)
	f.VMOVUPS(f.number(2), part)
	f.VSUBPS(tie, part, part)
	f.VMULPS(part, until, until) // 1/tie, but for 2⁻²⁰ of it
	f.VMULPS(f.number(1-1.0/(1<<16)), until, until)
	f.VSUBPS(f.number(1), until, until)
	f.VMULPS(f.slot(set, slotNumerator), until, until)
	f.VBROADCASTSS(f.address(f.Param("perStep")), part)
	f.VMULPS(part, until, until)
	f.VSUBPS(f.number(1.0/(1<<8)), until, until)
	f.VMAXPS(f.number(0), until, until)
	f.VMINPS(f.number(64), until, until)
	f.choose(better, f.constant(0), until)
	count := f.vec()
	f.VCVTTPS2DQ(until, count)
	f.integers(f.VPADDD, f.bits(1), count)
	f.integers(f.VPADDD, f.slot(set, slotTrial), count)
	f.VMOVUPS(count, f.slot(set, slotTrial))
}

// goOn sets the zero flag if all groups are done.
func (f *affineFit) goOn() {
	bits := f.bitsOf(f.active(0))
	f.ORL(f.bitsOf(f.active(1)), bits)
}

// fitSymmetric is the search for a scale without minimum.
func fitSymmetric(g *gen, s isa) {
	g.kernel(s, "fitSymmetric",
		"(n int, x, w, wx *float32, half float32, trials int, numerators, fit *float32) (skipped uint32)",
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

// refineRounds is how often refineSymmetric and fitPositive go over a group.
const refineRounds = 5

// A levelFit improves levels one at a time. lx and ll are Σ w·x·l and Σ w·l² of the levels l so far.
type levelFit struct {
	*gen
	lx, ll  reg.VecVirtual
	changed reg.GPVirtual
}

// rounds goes over the levels refineRounds times, or until none changes.
func (g *levelFit) rounds(round func()) {
	rounds := g.GP64()
	g.changed = g.GP32()
	g.MOVQ(operand.U32(refineRounds), rounds)
	g.loop("round", rounds, 1, func() {
		g.XORL(g.changed, g.changed)
		round()
		g.TESTL(g.changed, g.changed)
		g.JZ(operand.LabelRef("settled"))
	})
	g.Label("settled")
}

// take replaces a level, old, which is in memory too, by l where ok says so and the fit is better with it. restX and
// rest are lx and ll as they are then.
func (g *levelFit) take(ok reg.Register, restX, rest, l, old reg.VecVirtual, level operand.Mem) {
	mine, theirs := g.binary(g.VMULPS, restX, restX), g.binary(g.VMULPS, g.lx, g.lx)
	g.VMULPS(g.ll, mine, mine)
	g.VMULPS(rest, theirs, theirs)
	ok = g.both(ok, g.compare(mine, isGreater, theirs))
	g.choose(ok, restX, g.lx)
	g.choose(ok, rest, g.ll)
	g.choose(ok, l, old)
	g.VMOVUPS(old, level)
	g.ORL(g.bitsOf(ok), g.changed)
}

// scale is that of the levels, 0 where all of them are.
func (g *levelFit) scale() reg.VecVirtual {
	scale := g.zeros(1)[0]
	g.choose(g.compare(g.ll, isGreater, g.number(0)), g.binary(g.VDIVPS, g.ll, g.lx), scale)
	return scale
}

// refineSymmetric is the search that improves the levels one at a time. A group in which a round changes nothing stays
// as it is in those that follow.
func refineSymmetric(g *gen, s isa) {
	g.kernel(s, "refineSymmetric", "(n int, x, level *float32, half float32, fit *float32) (skipped uint32)",
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
	better := levelFit{gen: g, lx: lx, ll: ll}
	better.rounds(func() {
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
			better.take(ok, restX, rest, l, old, indexed(level, index, disp))
		})
	})
	scale := better.scale()
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

// fitPositive is the search for a scale of eight groups of numbers that are not negative. Groups with others are
// skipped.
func fitPositive(g *gen) {
	g.kernel(avx2, "fitPositive", "(n int, x, w, level *float32, top float32, trials *float32, scale *float32) "+
		"(skipped uint32)", "the search of Positives.Fit; trials are the numbers of levels over the greatest of a group, "+
		"behind the highest level")
	n, x, w, level := g.param("n"), g.param("x"), g.param("w"), g.param("level")
	top := g.splat("top")
	rounded := func(v reg.VecVirtual) {
		g.VADDPS(g.number(roundingBias), v, v)
		g.VSUBPS(g.number(roundingBias), v, v)
		g.VMINPS(top, v, v)
	}
	each := func(label string, body func(at reg.Register)) {
		at, rest := g.GP64(), g.GP64()
		g.XORQ(at, at)
		g.MOVQ(n, rest)
		g.loop(label, rest, 1, func() {
			body(at)
			g.ADDQ(operand.Imm(uint64(g.bytes())), at)
		})
	}
	greatest, ordinary := g.zeros(1)[0], g.vec()
	g.VPCMPEQD(ordinary, ordinary, ordinary)
	each("extent", func(at reg.Register) {
		v := g.get(indexed(x, at, 0))
		g.VANDPS(g.compare(v, isAtLeast, g.number(0)), ordinary, ordinary)
		g.VANDPS(g.compare(v, isLess, g.bits(0x7f800000)), ordinary, ordinary)
		g.VMAXPS(v, greatest, greatest)
	})
	skipped := g.bitsOf(ordinary)
	g.NOTL(skipped)

	least, best, trial, rest := g.vec(), g.vec(), g.param("trials"), g.GP64()
	g.MOVQ(operand.U32(positiveTrials), rest)
	g.VMOVUPS(g.bits(0x7f800000), least)
	first := g.get(g.bits(0xffffffff))
	g.loop("trial", rest, 1, func() {
		inverse, sum := g.vec(), g.zeros(1)[0]
		g.VBROADCASTSS(operand.Mem{Base: trial}, inverse)
		g.ADDQ(operand.Imm(4), trial)
		g.VDIVPS(greatest, inverse, inverse)
		step := g.binary(g.VDIVPS, inverse, g.constant(1))
		each("errors", func(at reg.Register) {
			v := g.get(indexed(x, at, 0))
			l := g.binary(g.VMULPS, inverse, v)
			rounded(l)
			g.VMULPS(step, l, l)
			g.VSUBPS(l, v, v)
			e := g.binary(g.VMULPS, indexed(w, at, 0), v)
			g.VMULPS(v, e, e)
			g.VADDPS(e, sum, sum)
		})
		less := g.compare(sum, isLess, least)
		g.VORPS(first, less, less)
		g.choose(less, sum, least)
		g.choose(less, inverse, best)
		g.VXORPS(first, first, first)
	})
	lx, ll := g.zeros(2)[0], g.vec()
	g.zero(ll)
	each("levels", func(at reg.Register) {
		v, weight := g.get(indexed(x, at, 0)), g.get(indexed(w, at, 0))
		l := g.binary(g.VMULPS, best, v)
		rounded(l)
		g.VMOVUPS(l, indexed(level, at, 0))
		g.VMULPS(v, weight, v)
		g.VMULPS(l, v, v)
		g.VADDPS(v, lx, lx)
		g.VMULPS(l, weight, weight)
		g.VMULPS(l, weight, weight)
		g.VADDPS(weight, ll, ll)
	})
	fit := levelFit{gen: g, lx: lx, ll: ll}
	fit.rounds(func() {
		each("number", func(at reg.Register) {
			v, w, old := g.get(indexed(x, at, 0)), g.get(indexed(w, at, 0)), g.get(indexed(level, at, 0))
			wx := g.binary(g.VMULPS, v, w)
			restX := g.binary(g.VSUBPS, g.binary(g.VMULPS, old, wx), lx)
			less := g.binary(g.VMULPS, old, w)
			g.VMULPS(old, less, less)
			rest := g.binary(g.VSUBPS, less, ll)
			ok := g.both(g.compare(restX, isGreater, g.number(0)), g.compare(rest, isGreater, g.number(0)))
			l := g.binary(g.VMULPS, rest, v)
			g.VDIVPS(restX, l, l)
			g.ORL(g.bitsOf(g.both(g.compare(g.magnitude(l), isNotLess, g.number(1<<22)), ok)), skipped)
			rounded(l)
			ok = g.both(ok, g.compare(l, differs, old))
			g.VMULPS(l, wx, wx)
			g.VADDPS(wx, restX, restX)
			g.VMULPS(l, w, w)
			g.VMULPS(l, w, w)
			g.VADDPS(w, rest, rest)
			fit.take(ok, restX, rest, l, old, indexed(level, at, 0))
		})
	})
	scale := fit.scale()
	nothing := g.compare(greatest, isLess, g.bits(noScale))
	g.choose(nothing, g.constant(0), scale)
	g.VMOVUPS(scale, operand.Mem{Base: g.param("scale")})
	each("nothing", func(at reg.Register) {
		g.VMOVUPS(g.binary(g.VANDNPS, g.get(indexed(level, at, 0)), nothing), indexed(level, at, 0))
	})
	g.Store(skipped, g.ReturnIndex(0))
	g.end()
}

// positiveTrials is the scales that fitPositive tries.
const positiveTrials = 9
