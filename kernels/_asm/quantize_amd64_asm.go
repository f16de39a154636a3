package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// quantizeFile holds the searches of the block formats and the loops around them.
func quantizeFile(g *gen) {
	cutsTogether(g)
	cutsApart(g)
	positiveErrors(g)
	for _, s := range []isa{avx512, avx2} {
		fitSymmetric(g, s)
		refineSymmetric(g, s)
		fitIQ4(g, s)
		levelsIQ4(g, s)
		points(g, s)
		quantizeF16(g, s)
		quantizeBF16(g, s)
		quantizeQ8_0(g, s)
		quantizeSigned(g, s, "Q4_0", 18, 8, 0, 2)
		quantizeSigned(g, s, "Q5_0", 22, 16, 2, 6)
		laneMean(g, s)
		errorWeights(g, s)
		groupLevels(g, s, "divideLevels", "(x[i]+a[group])/b[group]", g.VADDPS, g.VDIVPS)
		groupLevels(g, s, "multiplyLevels", "(x[i]-a[group])*b[group]", g.VSUBPS, g.VMULPS)
	}
	fitPositive(g)
	fitAffine(g, avx512, "fitAffine", false, 32)
	fitAffine(g, avx512, "fitAffineAbsolute", true, 32)
	fitAffine(g, avx2, "fitAffine", false, 0)
	fitAffine(g, avx2, "fitAffineFew", false, 8)
	fitAffine(g, avx2, "fitAffineFewAbsolute", true, 8)
}

// laneMean raises each magnitude by the root mean square of its group.
func laneMean(g *gen, s isa) {
	g.kernel(s, "laneMean", "(n int, inverse float32, w, x *float32)",
		"w = √(Σ x² · inverse) + |x| for groups of n elements, a power of two, of which inverse is the inverse")
	n, w, x := g.param("n"), g.param("w"), g.param("x")
	sum := g.zeros(1)[0]
	g.elements("squares", n, 2, func(index reg.Register, disp int) {
		v := g.get(indexed(x, index, disp))
		g.VMULPS(v, v, v)
		g.VADDPS(v, sum, sum)
	})
	g.VMULPS(g.splat("inverse"), sum, sum)
	g.VSQRTPS(sum, sum)
	g.elements("weights", n, 2, func(index reg.Register, disp int) {
		v := g.magnitude(g.get(indexed(x, index, disp)))
		g.VADDPS(sum, v, v)
		g.VMOVUPS(v, indexed(w, index, disp))
	})
	g.end()
}

func errorWeights(g *gen, s isa) {
	g.kernel(s, "errorWeights", "(n int, w, x, importance *float32, spread float32)",
		"w[i] = importance[i]*√(spread + x[i]²)")
	spread := g.splat("spread")
	g.stream(g.param("n"), 1, []string{"w", "x", "importance"}, func(at [][]operand.Mem) {
		for i := range at[0] {
			v := g.get(at[1][i])
			g.VMULPS(v, v, v)
			g.VADDPS(v, spread, v)
			g.VSQRTPS(v, v)
			g.VMULPS(at[2][i], v, v)
			g.VMOVUPS(v, at[0][i])
		}
	})
	g.end()
}

// groupLevels rounds what two operations make of the weights of each group.
func groupLevels(g *gen, s isa, name, formula string, first, second func(ops ...operand.Op)) {
	g.kernel(s, name, "(groups, n int, level *uint8, x, a, b *float32, lo, hi int32)",
		"level[i] = min(max(nearest("+formula+"), lo), hi) - lo for groups of n elements, a multiple of 16")
	groups, n, level, x, a, b := g.param("groups"), g.param("n"), g.param("level"), g.param("x"), g.param("a"),
		g.param("b")
	lo, hi := g.vec(), g.vec()
	g.VBROADCASTSS(g.address(g.Param("lo")), lo)
	g.VBROADCASTSS(g.address(g.Param("hi")), hi)
	bias := g.constant(roundingBias)
	va, vb, count := g.vec(), g.vec(), g.GP64()
	g.loop("group", groups, 1, func() {
		g.VBROADCASTSS(operand.Mem{Base: a}, va)
		g.VBROADCASTSS(operand.Mem{Base: b}, vb)
		g.ADDQ(operand.Imm(4), a)
		g.ADDQ(operand.Imm(4), b)
		g.MOVQ(n, count)
		g.loop("vector", count, g.lanes, func() {
			v := g.get(operand.Mem{Base: x})
			first(va, v, v)
			second(vb, v, v)
			g.VADDPS(bias, v, v)
			g.nearest(v)
			g.integers(g.VPMAXSD, lo, v)
			g.integers(g.VPMINSD, hi, v)
			g.integers(g.VPSUBD, lo, v)
			g.storeBytes(v, level)
			g.ADDQ(operand.Imm(uint64(g.bytes())), x)
			g.ADDQ(operand.Imm(uint64(g.lanes)), level)
		})
	})
	g.end()
}

// nearest is the whole number that the low bits of a biased number say.
func (g *gen) nearest(v reg.Register) {
	g.VANDPS(g.bits(0x7fffff), v, v)
	g.integers(g.VPSUBD, g.bits(0x400000), v)
}

// integers is an operation of 32-bit lanes on a and v, into v.
func (g *gen) integers(op func(ops ...operand.Op), a operand.Op, v reg.Register) { op(a, v, v) }

// storeBytes stores the low bytes of 32-bit lanes, of 0 to 255.
func (g *gen) storeBytes(v reg.VecVirtual, at reg.Register) {
	if g.lanes == 16 {
		g.VPMOVDB(v, operand.Mem{Base: at})
		return
	}
	high := g.XMM()
	g.VEXTRACTI128(operand.Imm(1), v, high)
	g.VPACKUSDW(high, v.AsX(), high)
	g.VPACKUSWB(high, high, high)
	g.VMOVQ(high, operand.Mem{Base: at})
}
