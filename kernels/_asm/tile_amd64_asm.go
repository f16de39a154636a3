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
		outerTile(g, avx512, rows, 2)
		outerTile(g, avx512, rows, 1)
	}
	for rows := 2; rows <= 6; rows += 2 {
		outerTile(g, avx2, rows, 2)
	}
	dotsTile(g, avx512, 4)
	dotsTile(g, avx2, 2)
	transpose(g, avx512)
	transpose(g, avx2)
	copyPanel(g, avx512)
	copyPanel(g, avx2)
}

// narrowFile holds what products of bfloat16 and of bytes are made of.
func narrowFile(g *gen) {
	for rows := 2; rows <= 14; rows += 2 {
		bf16Tile(g, rows)
	}
	for rows := 2; rows <= 14; rows += 2 {
		int8Tile(g, rows)
	}
	transposeBF16(g)
	interleaveBF16(g)
	transposeInt8(g, "Int8", false)
	transposeInt8(g, "Uint8", true)
	interleaveInt8(g)
	interleaveUint8(g)
	rowMagnitudes(g)
	columnMagnitudes(g)
	columnSums(g)
}

// tile is a tile of rows × some vectors: each step of k multiplies a column of the packed A by a row of B.
type tile struct {
	*gen
	rows, wide  int // wide counts vectors
	k, a, b, bs reg.GPVirtual
	c, ldc      reg.GPVirtual
	acc         []reg.VecVirtual
	broadcast   func(ops ...operand.Op)
	multiplyAdd func(b, a, acc reg.VecVirtual)
}

// newTile begins a kernel and takes its parameters.
func newTile(g *gen, s isa, name string, rows, wide int, doc ...string) *tile {
	signature := "(k int, a, b *float32, bs int, c *float32, ldc int, add bool)"
	doc = append([]string{fmt.Sprintf("a is packed (k, %d), b has k rows bs apart, c has rows ldc apart.", rows)}, doc...)
	g.kernel(s, fmt.Sprint(name, rows), signature, doc...)
	return beginTile(g, rows, wide)
}

// beginTile takes the parameters of a tile.
func beginTile(g *gen, rows, wide int) *tile {
	t := &tile{gen: g, rows: rows, wide: wide, k: g.param("k"), a: g.param("a"), b: g.param("b"), bs: g.param("bs"),
		acc: g.vecs(wide * rows)}
	t.c, t.ldc = g.param("c"), g.param("ldc")
	g.SHLQ(operand.Imm(2), t.bs)
	g.SHLQ(operand.Imm(2), t.ldc)
	t.prefetchC()
	return t
}

func outerTile(g *gen, s isa, rows, wide int) {
	t := newTile(g, s, [...]string{1: "halfTile", 2: "tile"}[wide], rows, wide)
	t.broadcast = g.VBROADCASTSS
	t.multiplyAdd = func(b, a, acc reg.VecVirtual) { g.VFMADD231PS(a, b, acc) }
	t.clear()
	t.multiply()
	t.store()
	t.end()
}

// bf16Tile is outerTile of words that are pairs of bfloat16.
func bf16Tile(g *gen, rows int) {
	t := newTile(g, avx512, "tileBF16x", rows, 2, "The words of a and b are two bfloat16 each.")
	t.broadcast = g.VBROADCASTSS
	t.multiplyAdd = g.vdpbf16ps
	t.clear()
	t.multiply()
	t.store()
	t.end()
}

// int8Tile is outerTile of words that are four bytes, of several panels of a under each other. Between two of them the
// parameters are moved on where they lie.
func int8Tile(g *gen, rows int) {
	signature := "(panels, stepA, stepC, k int, a, b *float32, bs int, c *float32, ldc int, add bool, scaleA, " +
		"scaleB *float32, start *int32)"
	g.kernel(avx512, fmt.Sprint("tilesInt8x", rows), signature,
		fmt.Sprintf("a is packed (k, %d), b has k rows bs apart, c has rows ldc apart.", rows),
		"The words are four bytes each, unsigned in a and signed in b. Sums begin with start[j]",
		"and are multiplied by scaleA[i]*scaleB[j]. a and scaleA of the next panel are stepA words on, c is stepC.")
	g.Label("panel")
	t := beginTile(g, rows, 2)
	t.broadcast = func(ops ...operand.Op) { g.VPBROADCASTD(ops...) }
	t.multiplyAdd = func(b, a, acc reg.VecVirtual) { g.VPDPBUSD(b, a, acc) }
	start := g.param("start")
	for i, v := range t.acc {
		if i < 2 {
			g.VMOVDQU32(g.at(start, i), v)
		} else {
			g.VMOVAPS(t.acc[i%2], v)
		}
	}
	t.multiply()
	t.scale()
	t.store()
	panels := g.param("panels")
	g.DECQ(panels)
	g.JZ(operand.LabelRef("done"))
	g.Store(panels, g.Param("panels"))
	for _, next := range [][2]string{{"a", "stepA"}, {"scaleA", "stepA"}, {"c", "stepC"}} {
		from, step := g.param(next[0]), g.param(next[1])
		g.LEAQ(operand.Mem{Base: from, Index: step, Scale: 4}, from)
		g.Store(from, g.Param(next[0]))
	}
	g.JMP(operand.LabelRef("panel"))
	g.Label("done")
	g.end()
}

// scale makes scaled float32s of sums of bytes.
func (t *tile) scale() {
	scaleA, scaleB := t.param("scaleA"), t.param("scaleB")
	b := t.load([]operand.Mem{t.at(scaleB, 0), t.at(scaleB, 1)})
	x := t.vec()
	for r := range t.rows {
		t.VBROADCASTSS(operand.Mem{Base: scaleA, Disp: 4 * r}, x)
		for i, v := range t.acc[2*r : 2*r+2] {
			t.VCVTDQ2PS(v, v)
			t.VMULPS(b[i], v, v)
			t.VMULPS(x, v, v)
		}
	}
}

// prefetchC asks for the rows of c early.
func (t *tile) prefetchC() {
	p := t.GP64()
	t.MOVQ(t.c, p)
	for i := range t.rows {
		t.prefetchw(operand.Mem{Base: p})
		t.prefetchw(operand.Mem{Base: p, Disp: t.wide*t.bytes() - 4})
		if i < t.rows-1 {
			t.ADDQ(t.ldc, p)
		}
	}
}

// clear lets sums begin with 0.
func (t *tile) clear() {
	for _, v := range t.acc {
		t.zero(v)
	}
}

// How far ahead of what is multiplied panels are asked for: the processor's own prefetching stops where a page ends.
const (
	bytesAhead   = 2048 // of a
	logRowsAhead = 5    // of b
)

// multiply adds the products of all k.
func (t *tile) multiply() {
	bs3, ahead := t.GP64(), t.GP64()
	t.MOVQ(t.bs, ahead)
	t.SHLQ(operand.Imm(logRowsAhead), ahead)
	t.ADDQ(t.b, ahead)
	t.LEAQ(operand.Mem{Base: t.bs, Index: t.bs, Scale: 2}, bs3)
	fourRows := func(p reg.GPVirtual) []operand.Mem {
		return []operand.Mem{{Base: p}, {Base: p, Index: t.bs, Scale: 1}, {Base: p, Index: t.bs, Scale: 2},
			{Base: p, Index: bs3, Scale: 1}}
	}
	t.loop("four", t.k, 4, func() {
		for line := 0; line < 4*4*t.rows; line += 64 {
			t.PREFETCHT0(operand.Mem{Base: t.a, Disp: bytesAhead + line})
		}
		for i, b := range fourRows(t.b) {
			for line := 0; line < t.wide*t.bytes(); line += 64 {
				t.PREFETCHT0(fourRows(ahead)[i].Offset(line))
			}
			t.step(i, b)
		}
		t.ADDQ(operand.Imm(uint64(4*4*t.rows)), t.a)
		t.LEAQ(operand.Mem{Base: t.b, Index: t.bs, Scale: 4}, t.b)
		t.LEAQ(operand.Mem{Base: ahead, Index: t.bs, Scale: 4}, ahead)
	})
	t.loop("one", t.k, 1, func() {
		t.step(0, operand.Mem{Base: t.b})
		t.ADDQ(operand.Imm(uint64(4*t.rows)), t.a)
		t.ADDQ(t.bs, t.b)
	})
}

// step adds the product of column i of the packed A and the row of B at b.
func (t *tile) step(i int, b operand.Mem) {
	y, x := t.vecs(t.wide), t.vec()
	for j := range y {
		t.VMOVUPS(b.Offset(j*t.bytes()), y[j])
	}
	for r := range t.rows {
		t.broadcast(operand.Mem{Base: t.a, Disp: 4 * (i*t.rows + r)}, x)
		for j := range y {
			t.multiplyAdd(y[j], x, t.acc[t.wide*r+j])
		}
	}
}

// store sets c to the tile, or adds the tile to c.
func (t *tile) store() {
	add := t.GP8()
	t.Load(t.Param("add"), add)
	t.TESTB(add, add)
	t.JEQ(operand.LabelRef("set"))
	p := t.GP64()
	t.MOVQ(t.c, p)
	for i, v := range t.acc {
		t.VADDPS(t.at(p, i%t.wide), v, v)
		if i%t.wide == t.wide-1 {
			t.ADDQ(t.ldc, p)
		}
	}
	t.Label("set")
	for i, v := range t.acc {
		t.VMOVUPS(v, t.at(t.c, i%t.wide))
		if i%t.wide == t.wide-1 {
			t.ADDQ(t.ldc, t.c)
		}
	}
}
