package main

import (
	"math"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The searches of formats whose levels stand for the values of a table. Of two neighbouring values the nearer is the
// upper one from the middle between them on.

// betweenIQ4 is the middle between values i and i+1.
func betweenIQ4(i int) float32 { return (float32(valuesIQ4[i]) + float32(valuesIQ4[i+1])) / 2 }

// levelBelowIQ4 is the level of what lies at f, which is no middle.
func levelBelowIQ4(f float32) int {
	level := 0
	for level < 15 && betweenIQ4(level) < f {
		level++
	}
	return level
}

// floatWords is the bits of as many numbers as index returns for 0 to n-1.
func floatWords(n int, index func(i int) float32) []uint32 {
	words := make([]uint32, n)
	for i := range words {
		words[i] = math.Float32bits(index(i))
	}
	return words
}

// nearestIQ4 returns a function that gives the value, or else the level, nearest to each lane of f, which it
// overwrites.
func (g *gen) nearestIQ4(value bool) func(f reg.VecVirtual) reg.VecVirtual {
	if g.lanes == 16 {
		return g.nearestInStepsIQ4(value)
	}
	return g.nearestInTreeIQ4(value)
}

// nearestInStepsIQ4 finds the number of the step of eight units about f. There is a middle in it, or none.
func (g *gen) nearestInStepsIQ4(value bool) func(f reg.VecVirtual) reg.VecVirtual {
	center := func(i int) float32 { return float32(8 * ((i+16)%32 - 16)) } // of the step of which the low five bits are i
	middles := g.data("middlesIQ4", floatWords(32, func(i int) float32 {
		m := betweenIQ4(min(levelBelowIQ4(center(i)-4), 14))
		if m < center(i)-4 || m > center(i)+4 {
			return 1e30
		}
		return m / 8
	}))
	levels, values := make([]uint32, 32), make([]uint32, 32)
	for i := range levels {
		levels[i] = uint32(levelBelowIQ4(center(i) - 4))
		values[i] = math.Float32bits(float32(valuesIQ4[levels[i]]))
	}
	below := g.data("levelsBelowIQ4", levels)
	if value {
		below = g.data("valuesBelowIQ4", values)
	}
	table := g.load([]operand.Mem{middles, middles.Offset(64), below, below.Offset(64)})
	eighth, most, least, one := g.constant(0.125), g.constant(15), g.constant(-15), g.vec()
	g.VMOVUPS(g.bits(1), one)
	return func(f reg.VecVirtual) reg.VecVirtual {
		step, middle := g.vec(), g.vec()
		g.VMULPS(eighth, f, f)
		g.VMINPS(most, f, f) // in this order a NaN is replaced
		g.VMAXPS(least, f, f)
		g.VCVTPS2DQ(f, step)
		g.VMOVAPS(step, middle)
		g.VPERMI2PS(table[1], table[0], middle)
		g.VPADDD(one, step, g.compare(f, isNotLess, middle), step)
		g.VPERMI2PS(table[3], table[2], step)
		return step
	}
}

// nearestInTreeIQ4 halves the levels that are left, four times.
func (g *gen) nearestInTreeIQ4(value bool) func(f reg.VecVirtual) reg.VecVirtual {
	tree := func(depth int) operand.Mem {
		name := "middlesIQ4_" + string(rune('0'+depth))
		return g.data(name, floatWords(8, func(i int) float32 {
			return betweenIQ4(16>>depth*(i%(1<<depth)) + 8>>depth - 1)
		}))
	}
	first := g.constant(betweenIQ4(7))
	second, third, last := tree(1), tree(2), tree(3)
	values := g.data("floatsIQ4", floatWords(16, func(i int) float32 { return float32(valuesIQ4[i]) }))
	return func(f reg.VecVirtual) reg.VecVirtual {
		upper := g.compare(f, isNotLess, first)
		level, middle := g.zeros(1)[0], g.vec()
		g.VPSUBD(upper, level, level)
		for _, middles := range []operand.Mem{second, third, last} {
			g.VPERMPS(middles, level, middle)
			g.VPADDD(level, level, level)
			g.VPSUBD(g.compare(f, isNotLess, middle), level, level)
		}
		if !value {
			return level
		}
		g.VPERMPS(values, level, middle)
		g.VPERMPS(values.Offset(32), level, f)
		g.VBLENDVPS(upper, f, middle, middle)
		return middle
	}
}

// fitIQ4 is the search for a scale of the values of IQ4.
func fitIQ4(g *gen, s isa) {
	g.kernel(s, "fitIQ4", "(n int, x, w *float32, trials int, numerators, fit *float32) (skipped uint32)",
		"the search of Groups.FitIQ4")
	n, x, w, fit := g.param("n"), g.param("x"), g.param("w"), g.param("fit")
	trials, numerator := g.param("trials"), g.param("numerators")
	top := g.peaks(n, x)
	nearest := g.nearestIQ4(true)
	inverse := g.binary(g.VDIVPS, g.constant(127), top)
	g.VDIVPS(inverse, g.constant(1), inverse)
	sums := func(label string) (qx, qq reg.VecVirtual) {
		z := g.zeros(2)
		g.elements(label, n, 2, func(index reg.Register, disp int) {
			v := g.get(indexed(x, index, disp))
			q := nearest(g.binary(g.VMULPS, v, inverse))
			wq := g.binary(g.VMULPS, indexed(w, index, disp), q)
			g.VMULPS(wq, v, v)
			g.VADDPS(v, z[0], z[0])
			g.VMULPS(wq, q, q)
			g.VADDPS(q, z[1], z[1])
		})
		return z[0], z[1]
	}
	qx, qq := sums("first")
	skipped := g.bitsOf(g.compare(g.magnitude(qx), isNotLess, g.bits(0x7f800000)))
	g.ORL(g.bitsOf(g.compare(g.magnitude(qq), isNotLess, g.bits(0x7f800000))), skipped)
	scale, best := g.zeros(2)[0], g.vec()
	g.choose(g.compare(qq, isGreater, g.number(0)), g.binary(g.VDIVPS, qq, qx), scale)
	g.VMULPS(qx, scale, best)
	g.loop("trial", trials, 1, func() {
		g.VBROADCASTSS(operand.Mem{Base: numerator}, inverse)
		g.VDIVPS(top, inverse, inverse)
		g.ADDQ(operand.Imm(4), numerator)
		qx, qq := sums("trial_sums")
		better := g.compare(g.binary(g.VMULPS, qx, qx), isGreater, g.binary(g.VMULPS, qq, best))
		better = g.both(better, g.compare(qq, isGreater, g.number(0)))
		s := g.binary(g.VDIVPS, qq, qx)
		g.choose(better, g.binary(g.VMULPS, qx, s), best)
		g.choose(better, s, scale)
	})
	nothing := g.compare(g.magnitude(top), isLess, g.bits(noScale))
	g.choose(nothing, g.constant(0), scale)
	g.VMOVUPS(scale, slot(fit, slotScale))
	g.Store(skipped, g.ReturnIndex(0))
	g.end()
}

// levelsIQ4 finds the nearest levels when the scales are known.
func levelsIQ4(g *gen, s isa) {
	g.kernel(s, "levelsIQ4", "(groups int, level *uint8, x, factor *float32)",
		"level[i] = the level of IQ4 nearest to x[i]*factor[group] for groups of 32 elements")
	groups, level, x, factors := g.param("groups"), g.param("level"), g.param("x"), g.param("factor")
	nearest, factor := g.nearestIQ4(false), g.vec()
	g.loop("group", groups, 1, func() {
		g.VBROADCASTSS(operand.Mem{Base: factors}, factor)
		g.ADDQ(operand.Imm(4), factors)
		for range 32 / s.lanes {
			g.storeBytes(nearest(g.binary(g.VMULPS, operand.Mem{Base: x}, factor)), level)
			g.ADDQ(operand.Imm(uint64(g.bytes())), x)
			g.ADDQ(operand.Imm(uint64(g.lanes)), level)
		}
	})
	g.end()
}
