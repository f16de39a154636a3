package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// tileFile holds what the matrix product is made of: an outer-product tile for each even height, the tile of
// dot products, and the transposition of rows into panels.
func tileFile(g *gen) {
	for rows := 2; rows <= 14; rows += 2 {
		outerTile(g, avx512, rows)
	}
	for rows := 2; rows <= 6; rows += 2 {
		outerTile(g, avx2, rows)
	}
	dotsTile(g, avx512, 4)
	dotsTile(g, avx2, 2)
	transpose(g, avx512)
	transpose(g, avx2)
	copyPanel(g, avx512)
	copyPanel(g, avx2)
}

// outerTile is a tile of rows × 2 vectors: each step of k multiplies a column of the packed A by a row of B.
func outerTile(g *gen, s isa, rows int) {
	g.kernel(s, fmt.Sprintf("tile%d", rows), "(k int, a, b *float32, bs int, c *float32, ldc int, add bool)",
		fmt.Sprintf("a is packed (k, %d), b has k rows bs apart, c has rows ldc apart.", rows))
	t := tile{gen: g, rows: rows, k: g.param("k"), a: g.param("a"), b: g.param("b"), bs: g.param("bs"), acc: g.vecs(2 * rows)}
	c, ldc := g.param("c"), g.param("ldc")
	g.SHLQ(operand.Imm(2), t.bs)
	g.SHLQ(operand.Imm(2), ldc)
	t.prefetchC(c, ldc)
	for _, v := range t.acc {
		g.zero(v)
	}
	bs3 := g.GP64()
	g.LEAQ(operand.Mem{Base: t.bs, Index: t.bs, Scale: 2}, bs3)
	g.loop("four", t.k, 4, func() {
		t.step(0, operand.Mem{Base: t.b})
		t.step(1, operand.Mem{Base: t.b, Index: t.bs, Scale: 1})
		t.step(2, operand.Mem{Base: t.b, Index: t.bs, Scale: 2})
		t.step(3, operand.Mem{Base: t.b, Index: bs3, Scale: 1})
		g.ADDQ(operand.Imm(uint64(4*4*rows)), t.a)
		g.LEAQ(operand.Mem{Base: t.b, Index: t.bs, Scale: 4}, t.b)
	})
	g.loop("one", t.k, 1, func() {
		t.step(0, operand.Mem{Base: t.b})
		g.ADDQ(operand.Imm(uint64(4*rows)), t.a)
		g.ADDQ(t.bs, t.b)
	})
	t.store(c, ldc)
}

type tile struct {
	*gen
	rows        int
	k, a, b, bs reg.GPVirtual
	acc         []reg.VecVirtual
}

// prefetchC asks for the rows of c early.
func (t *tile) prefetchC(c, ldc reg.Register) {
	p := t.GP64()
	t.MOVQ(c, p)
	for i := range t.rows {
		t.PREFETCHT0(operand.Mem{Base: p})
		t.PREFETCHT0(operand.Mem{Base: p, Disp: 2*t.bytes() - 4})
		if i < t.rows-1 {
			t.ADDQ(ldc, p)
		}
	}
}

// step adds the product of column i of the packed A and the row of B at b.
func (t *tile) step(i int, b operand.Mem) {
	b0, b1, x := t.vec(), t.vec(), t.vec()
	t.VMOVUPS(b, b0)
	t.VMOVUPS(b.Offset(t.bytes()), b1)
	for r := range t.rows {
		t.VBROADCASTSS(operand.Mem{Base: t.a, Disp: 4 * (i*t.rows + r)}, x)
		t.VFMADD231PS(x, b0, t.acc[2*r])
		t.VFMADD231PS(x, b1, t.acc[2*r+1])
	}
}

// store sets c to the tile, or adds the tile to c.
func (t *tile) store(c, ldc reg.Register) {
	add := t.GP8()
	t.Load(t.Param("add"), add)
	t.TESTB(add, add)
	t.JEQ(operand.LabelRef("set"))
	p := t.GP64()
	t.MOVQ(c, p)
	for r := range t.rows {
		t.VADDPS(t.at(p, 0), t.acc[2*r], t.acc[2*r])
		t.VADDPS(t.at(p, 1), t.acc[2*r+1], t.acc[2*r+1])
		t.ADDQ(ldc, p)
	}
	t.Label("set")
	for r := range t.rows {
		t.VMOVUPS(t.acc[2*r], t.at(c, 0))
		t.VMOVUPS(t.acc[2*r+1], t.at(c, 1))
		t.ADDQ(ldc, c)
	}
	t.end()
}
