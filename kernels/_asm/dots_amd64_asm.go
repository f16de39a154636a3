package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// dotsTile is a tile of 4 × 4 dot products of rows that are both contiguous in k. columns of it fit the
// registers at a time.
func dotsTile(g *gen, s isa, columns int) {
	g.kernel(s, "dots", "(k int, a *float32, lda int, b *float32, ldb int, sums *[16]float32)",
		"sums[4*j+i] = the dot product of row i of a and row j of b, k elements each, a multiple of 16.")
	k, sums := g.param("k"), g.param("sums")
	a, b := g.fourRows("a", "lda"), g.fourRows("b", "ldb")
	offset := g.GP64()
	g.SHLQ(operand.Imm(2), k)
	for j := 0; j < 4; j += columns {
		acc := g.vecs(4 * columns)
		for _, v := range acc {
			g.zero(v)
		}
		g.XORQ(offset, offset)
		label := fmt.Sprint("columns", j)
		g.JMP(operand.LabelRef(label + "_check"))
		g.Label(label)
		g.dotsStep(a, b[j:j+columns], offset, acc)
		g.ADDQ(operand.Imm(uint64(g.bytes())), offset)
		g.Label(label + "_check")
		g.CMPQ(offset, k)
		g.JLT(operand.LabelRef(label))
		g.VMOVUPS(g.foldEach(acc, g.VADDPS), operand.Mem{Base: sums, Disp: 16 * j})
	}
	g.end()
}

// fourRows are the addresses of four rows.
func (g *gen) fourRows(base, ld string) [4]reg.Register {
	stride, rows := g.param(ld), [4]reg.Register{g.param(base), g.GP64(), g.GP64(), g.GP64()}
	for i := 1; i < 4; i++ {
		g.LEAQ(operand.Mem{Base: rows[i-1], Index: stride, Scale: 4}, rows[i])
	}
	return rows
}

// dotsStep multiplies a vector of each a with one of each b.
func (g *gen) dotsStep(a [4]reg.Register, b []reg.Register, offset reg.Register, acc []reg.VecVirtual) {
	x, y := g.vecs(4), g.vec()
	for i := range x {
		g.VMOVUPS(operand.Mem{Base: a[i], Index: offset, Scale: 1}, x[i])
	}
	for j := range b {
		g.VMOVUPS(operand.Mem{Base: b[j], Index: offset, Scale: 1}, y)
		for i := range x {
			g.VFMADD231PS(y, x[i], acc[4*j+i])
		}
	}
}

// foldEach is one register with the lanes of each of as many registers as it has lanes combined.
func (g *gen) foldEach(v []reg.VecVirtual, combine func(ops ...operand.Op)) reg.VecVirtual {
	var quads []reg.VecVirtual // with four results in each 128 bits, of these 128 bits
	for i := 0; i < len(v); i += 4 {
		ab := g.foldHalves(v[i], v[i+1], combine, g.unpackLow, g.unpackHigh)
		cd := g.foldHalves(v[i+2], v[i+3], combine, g.unpackLow, g.unpackHigh)
		quads = append(quads, g.foldHalves(ab, cd, combine, g.unpackLowPairs, g.unpackHighPairs))
	}
	for len(quads) > 1 {
		var next []reg.VecVirtual
		for i := 0; i < len(quads); i += 2 {
			next = append(next, g.foldHalves(quads[i], quads[i+1], combine, g.evenQuarters, g.oddQuarters))
		}
		quads = next
	}
	return quads[0]
}

// foldHalves combines the two halves into which low and high divide a and b.
func (g *gen) foldHalves(a, b reg.VecVirtual, combine func(ops ...operand.Op), low,
	high func(a, b, dst reg.VecVirtual)) reg.VecVirtual {
	l, h := g.vec(), g.vec()
	low(a, b, l)
	high(a, b, h)
	combine(l, h, l)
	return l
}

func (g *gen) unpackLow(a, b, dst reg.VecVirtual)       { g.VUNPCKLPS(b, a, dst) }
func (g *gen) unpackHigh(a, b, dst reg.VecVirtual)      { g.VUNPCKHPS(b, a, dst) }
func (g *gen) unpackLowPairs(a, b, dst reg.VecVirtual)  { g.VUNPCKLPD(b, a, dst) }
func (g *gen) unpackHighPairs(a, b, dst reg.VecVirtual) { g.VUNPCKHPD(b, a, dst) }

// evenQuarters are the even 128-bit quarters of a, then those of b.
func (g *gen) evenQuarters(a, b, dst reg.VecVirtual) {
	if g.lanes == 16 {
		g.VSHUFF32X4(operand.Imm(0x88), b, a, dst)
		return
	}
	g.VPERM2F128(operand.Imm(0x20), b, a, dst)
}

// oddQuarters are the odd 128-bit quarters of a, then those of b.
func (g *gen) oddQuarters(a, b, dst reg.VecVirtual) {
	if g.lanes == 16 {
		g.VSHUFF32X4(operand.Imm(0xdd), b, a, dst)
		return
	}
	g.VPERM2F128(operand.Imm(0x31), b, a, dst)
}
