package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Rounding of rows to 8-bit integers, on registers of 256 bits for all tiers.

// roundFile holds the loops that round numbers to records. They stop before a block that the definition has to round:
// one with a number that is not finite, of zeros alone, or whose largest magnitude has both signs.
func roundFile(g *gen) {
	roundSupers(g)
	roundBlocks(g)
}

// rounding starts a kernel that writes records of so many bytes from so many numbers.
func (g *gen) rounding(name, doc string, record, numbers int, body func(dst, x reg.Register)) {
	g.kernel(avx2, name, "(n int, dst *byte, x *float32) (done int)", doc,
		"It stops before a block with a number that is not finite, or without one largest magnitude above 0.")
	n, dst, x := g.param("n"), g.param("dst"), g.param("x")
	g.loop("block", n, 1, func() {
		body(dst, x)
		g.ADDQ(operand.U32(record), dst)
		g.ADDQ(operand.U32(4*numbers), x)
	})
	g.Label("stop")
	done := g.param("n")
	g.SUBQ(n, done)
	g.Store(done, g.ReturnIndex(0))
	g.end()
}

// stopIfOdd stops where the sum of zero times all numbers is not zero.
func (g *gen) stopIfOdd(odd reg.VecVirtual) {
	sum := g.foldLanes(odd, g.VADDPS)
	g.VUCOMISS(sum, sum)
	g.JP(operand.LabelRef("stop"))
}

// codes writes 32 codes, the nearest integers to inverse times the numbers at x from number at on, and gives them as
// bytes and as int32.
func (g *gen) codes(x reg.Register, at int, inverse reg.VecVirtual, dst reg.Register,
	order operand.Mem) (packed reg.VecVirtual, v []reg.VecVirtual) {
	v = g.vecs(4)
	for i := range v {
		g.VMULPS(operand.Mem{Base: x, Disp: 4*at + 32*i}, inverse, v[i])
		g.VCVTPS2DQ(v[i], v[i])
	}
	low, high, index := g.vec(), g.vec(), g.vec()
	g.VPACKSSDW(v[1], v[0], low)
	g.VPACKSSDW(v[3], v[2], high)
	g.VPACKSSWB(high, low, low)
	g.VMOVDQU(order, index)
	g.VPERMD(low, index, low)
	g.VMOVDQU(low, operand.Mem{Base: dst, Disp: at})
	return low, v
}

// packedOrder is the address of where the eight words are that packing has put in turn.
func (g *gen) packedOrder() operand.Mem {
	return g.data("packedOrder", []uint32{0, 4, 1, 5, 2, 6, 3, 7})
}

func roundSupers(g *gen) {
	g.rounding("roundSupers", "dst = records of 256 of the numbers of x.", superRecord, 256, func(dst, x reg.Register) {
		top, bottom, odd, zero := g.vec(), g.vec(), g.vec(), g.vec()
		g.zero(odd)
		g.zero(zero)
		g.VMOVUPS(operand.Mem{Base: x}, top)
		g.VMOVAPS(top, bottom)
		for i := range 32 {
			v := g.vec()
			g.VMOVUPS(g.at(x, i), v)
			g.VMAXPS(v, top, top)
			g.VMINPS(v, bottom, bottom)
			g.VFMADD231PS(v, zero, odd)
		}
		g.stopIfOdd(odd)
		most, least := g.foldLanes(top, g.VMAXPS), g.foldLanes(bottom, g.VMINPS)
		negative := g.XMM()
		g.VXORPS(g.bits(1<<31), least, negative)
		g.VUCOMISS(negative, most)
		g.JE(operand.LabelRef("stop"))
		g.JA(operand.LabelRef("positive"))
		g.VMOVAPS(least, most)
		g.Label("positive")
		inverse, step, one, wide := g.XMM(), g.XMM(), g.XMM(), g.vec()
		g.VMOVSS(g.number(-127), inverse)
		g.VDIVSS(most, inverse, inverse)
		g.VMOVSS(g.number(1), one)
		g.VDIVSS(inverse, one, step)
		g.VMOVSS(step, operand.Mem{Base: dst, Disp: superStep})
		g.VBROADCASTSS(inverse, wide)
		var sums []reg.VecVirtual
		for half := range 2 {
			var each []reg.VecVirtual
			for i := range 4 {
				_, v := g.codes(x, 128*half+32*i, wide, dst, g.packedOrder())
				g.VPADDD(v[1], v[0], v[0])
				g.VPADDD(v[3], v[2], v[2])
				each = append(each, v[0], v[2])
			}
			sums = append(sums, g.foldEach(each, g.VPADDD))
		}
		words, pairs := g.vec(), g.vec()
		g.VPACKSSDW(sums[1], sums[0], words)
		g.VPERMQ(operand.Imm(0xd8), words, words)
		g.VMOVDQU(words, operand.Mem{Base: dst, Disp: superSums16})
		g.VPMADDWD(g.bits(0x00010001), words, pairs)
		g.VPACKSSDW(pairs, pairs, pairs)
		g.VPERMQ(operand.Imm(0xd8), pairs, pairs)
		g.VMOVDQU(pairs.AsX(), operand.Mem{Base: dst, Disp: superSums32})
	})
}

func roundBlocks(g *gen) {
	g.rounding("roundBlocks", "dst = records of 32 of the numbers of x.", smallRecord, 32, func(dst, x reg.Register) {
		top, odd, zero := g.vec(), g.vec(), g.vec()
		for _, v := range []reg.VecVirtual{top, odd, zero} {
			g.zero(v)
		}
		for i := range 4 {
			v := g.vec()
			g.VMOVUPS(g.at(x, i), v)
			g.VFMADD231PS(v, zero, odd)
			g.VANDPS(g.bits(1<<31-1), v, v)
			g.VMAXPS(v, top, top)
		}
		g.stopIfOdd(odd)
		most := g.foldLanes(top, g.VMAXPS)
		g.VUCOMISS(zero.AsX(), most)
		g.JE(operand.LabelRef("stop"))
		inverse, step, wide := g.XMM(), g.XMM(), g.vec()
		g.VMOVSS(g.number(127), inverse)
		g.VDIVSS(inverse, most, step)
		g.VDIVSS(most, inverse, inverse)
		g.VBROADCASTSS(inverse, wide)
		codes, _ := g.codes(x, 0, wide, dst, g.packedOrder())
		ones, fours, less := g.vec(), g.vec(), g.vec()
		g.VMOVDQU(g.bits(0x01010101), ones)
		g.VPMADDUBSW(codes, ones, fours)
		g.VPMADDWD(g.bits(0x00010001), fours, fours)
		g.VPSUBD(fours, zero, less)
		g.VMOVDQU(less, operand.Mem{Base: dst, Disp: smallFours})
		sum := g.foldLanes(fours, g.VPADDD)
		both := g.XMM()
		g.VCVTDQ2PS(sum, both)
		g.VMULSS(step, both, both)
		g.VUNPCKLPS(both, step, both) // the step and the sum behind it
		g.VCVTPS2PH(operand.Imm(0), both, both)
		g.VCVTPH2PS(both, both)
		g.VMOVLPS(both, operand.Mem{Base: dst, Disp: smallStep})
	})
}
