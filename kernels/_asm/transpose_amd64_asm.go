package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// transpose is the transposition of as many rows as a vector has lanes.
func transpose(g *gen, s isa) {
	g.kernel(s, "transpose", "(k int, dst *float32, width int, src *float32, ld, rows int)",
		"dst[p*width+r] = src[min(r, rows-1)*ld+p] for p < k, a multiple of the lanes, and r < lanes.")
	k, dst, width, src, ld, rows := g.param("k"), g.param("dst"), g.param("width"), g.param("src"), g.param("ld"),
		g.param("rows")
	g.SHLQ(operand.Imm(2), width)
	g.SHLQ(operand.Imm(2), ld)
	g.loop("block", k, g.lanes, func() {
		v := g.clampedRows(src, ld, rows)
		if g.lanes == 16 {
			v = g.transpose16(v)
		} else {
			v = g.transpose8(v)
		}
		for _, x := range v {
			g.VMOVUPS(x, operand.Mem{Base: dst})
			g.ADDQ(width, dst)
		}
		g.ADDQ(operand.Imm(uint64(g.bytes())), src)
	})
	g.end()
}

// clampedRows loads a vector from each row, the last one again in the place of those that are not there.
func (g *gen) clampedRows(src, ld, rows reg.Register) []reg.VecVirtual {
	v := g.vecs(g.lanes)
	g.eachClampedRow(src, ld, rows, func(r int, row operand.Mem) { g.VMOVUPS(row, v[r]) })
	return v
}

// eachClampedRow runs body for as many rows as a vector has lanes, for the last one again in the place of those that
// are not there.
func (g *gen) eachClampedRow(src, ld, rows reg.Register, body func(r int, row operand.Mem)) {
	p, next := g.GP64(), g.GP64()
	g.MOVQ(src, p)
	for r := range g.lanes {
		body(r, operand.Mem{Base: p})
		if r < g.lanes-1 {
			g.LEAQ(operand.Mem{Base: p, Index: ld, Scale: 1}, next)
			g.CMPQ(rows, operand.Imm(uint64(r+1)))
			g.CMOVQGT(next, p)
		}
	}
}

// transpose8 transposes 8 registers of 8 lanes.
func (g *gen) transpose8(v []reg.VecVirtual) []reg.VecVirtual {
	v = g.quads(v)
	w := g.vecs(8)
	for i := range 4 {
		g.evenQuarters(v[i], v[i+4], w[i])
		g.oddQuarters(v[i], v[i+4], w[i+4])
	}
	return w
}

// transpose16 transposes 16 registers of 16 lanes.
func (g *gen) transpose16(v []reg.VecVirtual) []reg.VecVirtual {
	v = g.quads(v)
	half, w := g.vecs(16), g.vecs(16)
	for i := range 4 {
		for j := 0; j < 16; j += 8 {
			g.evenQuarters(v[j+i], v[j+4+i], half[j+i])
			g.oddQuarters(v[j+i], v[j+4+i], half[j+4+i])
		}
	}
	for i := range 8 {
		g.evenQuarters(half[i], half[8+i], w[i])
		g.oddQuarters(half[i], half[8+i], w[8+i])
	}
	return w
}

// quads transposes the 4×4 blocks that each four registers hold in each of their 128-bit quarters: after
// it, register 4q+i has in its quarter h the elements 4h+i of the rows 4q … 4q+3.
func (g *gen) quads(v []reg.VecVirtual) []reg.VecVirtual {
	var w []reg.VecVirtual
	for q := 0; q < len(v); q += 4 {
		ab, cd, r := g.vecs(2), g.vecs(2), g.vecs(4)
		g.unpackLow(v[q], v[q+1], ab[0])
		g.unpackHigh(v[q], v[q+1], ab[1])
		g.unpackLow(v[q+2], v[q+3], cd[0])
		g.unpackHigh(v[q+2], v[q+3], cd[1])
		for i := range 2 {
			g.unpackLowPairs(ab[i], cd[i], r[2*i])
			g.unpackHighPairs(ab[i], cd[i], r[2*i+1])
		}
		w = append(w, r...)
	}
	return w
}

// fourRows are four rows that are ld bytes apart; ld3 is three times ld.
func fourRows(src, ld, ld3 reg.Register) []operand.Mem {
	return []operand.Mem{{Base: src}, {Base: src, Index: ld, Scale: 1}, {Base: src, Index: ld, Scale: 2},
		{Base: src, Index: ld3, Scale: 1}}
}

// copyPanel is the copy of rows of two vectors into a panel.
func copyPanel(g *gen, s isa) {
	g.kernel(s, "copyPanel", "(k int, dst, src *float32, ld int)",
		fmt.Sprintf("dst[p*%d+j] = src[p*ld+j] for p < k and j < %d.", 2*s.lanes, 2*s.lanes))
	k, dst, src, ld := g.param("k"), g.param("dst"), g.param("src"), g.param("ld")
	g.SHLQ(operand.Imm(2), ld)
	ld3 := g.GP64()
	g.LEAQ(operand.Mem{Base: ld, Index: ld, Scale: 2}, ld3)
	g.loop("four", k, 4, func() {
		for p, row := range fourRows(src, ld, ld3) {
			g.store(g.load([]operand.Mem{row, row.Offset(g.bytes())}), []operand.Mem{g.at(dst, 2*p), g.at(dst, 2*p+1)})
		}
		g.LEAQ(operand.Mem{Base: src, Index: ld, Scale: 4}, src)
		g.ADDQ(operand.U32(8*g.bytes()), dst)
	})
	g.loop("one", k, 1, func() {
		g.store(g.load([]operand.Mem{g.at(src, 0), g.at(src, 1)}), []operand.Mem{g.at(dst, 0), g.at(dst, 1)})
		g.ADDQ(ld, src)
		g.ADDQ(operand.Imm(uint64(2*g.bytes())), dst)
	})
	g.end()
}
