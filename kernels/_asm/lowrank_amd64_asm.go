package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// lowRankFile holds the second product of maps of low rank.
func lowRankFile(g *gen) {
	for _, s := range []isa{avx512, avx2} {
		addRowDots(g, s)
	}
}

// addRowDots multiplies as many short rows at a time as a register has lanes.
func addRowDots(g *gen, s isa) {
	g.kernel(s, "addRowDots", "(n, k int, y, u, b *float32, ld int)",
		"y[j] += the dot product of row j of b and u, of k elements each, a multiple of 16; n is one too.")
	n, y, u, b, ld := g.param("n"), g.param("y"), g.param("u"), g.param("b"), g.param("ld")
	g.SHLQ(operand.Imm(2), ld)
	g.loop("rows", n, s.lanes, func() {
		acc := g.zeros(s.lanes)
		count, x, row := g.param("k"), g.GP64(), g.GP64()
		g.MOVQ(u, x)
		g.MOVQ(b, row)
		g.loop("k", count, s.lanes, func() {
			v, at := g.vec(), g.GP64()
			g.VMOVUPS(operand.Mem{Base: x}, v)
			g.MOVQ(row, at)
			for i := range acc {
				g.VFMADD231PS(operand.Mem{Base: at}, v, acc[i])
				if i+1 < len(acc) {
					g.ADDQ(ld, at)
				}
			}
			g.ADDQ(operand.Imm(uint64(g.bytes())), x)
			g.ADDQ(operand.Imm(uint64(g.bytes())), row)
		})
		for range s.lanes {
			g.ADDQ(ld, b)
		}
		var sums reg.VecVirtual = g.foldEach(acc, g.VADDPS)
		g.VADDPS(operand.Mem{Base: y}, sums, sums)
		g.VMOVUPS(sums, operand.Mem{Base: y})
		g.ADDQ(operand.Imm(uint64(g.bytes())), y)
	})
	g.end()
}
