package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// transposeBF16 is transpose of rows rounded to bfloat16, a pair of which is a word.
func transposeBF16(g *gen) {
	g.transposeWords("transposeBF16", "", "Each word is bfloat16(src[2p]), bfloat16(src[2p+1]).", 2,
		func(row operand.Mem, _ int, v reg.VecVirtual) {
			x := g.load([]operand.Mem{row, row.Offset(g.bytes())})
			g.vcvtne2ps2bf16(x[0], x[1], v)
		},
		func(p int) int { return p })
}

// transposeInt8 is transpose of rows times inverse, rounded to bytes, of which four are a word. Unsigned ones are 128
// more.
func transposeInt8(g *gen, name string, unsigned bool) {
	doc := "Each word is four bytes, each the nearest to src times inverse[r]"
	if unsigned {
		doc += ", plus 128"
	}
	var inverse reg.GPVirtual
	g.transposeWords("transpose"+name, ", inverse *float32", doc+".", 4,
		func(row operand.Mem, r int, v reg.VecVirtual) {
			if r == 0 {
				inverse = g.param("inverse")
			}
			factor := g.vec()
			g.VBROADCASTSS(operand.Mem{Base: inverse, Disp: 4 * r}, factor)
			var q []reg.VecVirtual
			for i := range 4 {
				q = append(q, g.rounded(row.Offset(i*g.bytes()), factor))
			}
			g.packBytes(q, v)
			if unsigned {
				g.VPXORD(g.bits(0x80808080), v, v)
			}
		},
		func(p int) int { return p%4*4 + p/4 }) // packing takes quarters of the registers in turn
}

// rounded is the int32s nearest to the product of x and a factor.
func (g *gen) rounded(x operand.Mem, factor reg.VecVirtual) reg.VecVirtual {
	v := g.vec()
	g.VMULPS(x, factor, v)
	g.VCVTPS2DQ(v, v)
	return v
}

// packBytes makes bytes of the int32s of four registers: in each 128 bits of v are four of each, in their order.
func (g *gen) packBytes(q []reg.VecVirtual, v reg.VecVirtual) {
	g.VPACKSSDW(q[1], q[0], q[0])
	g.VPACKSSDW(q[3], q[2], q[2])
	g.VPACKSSWB(q[2], q[0], v)
}

// transposeWords writes a transposition of 16 rows, each of which is read as words that are as many numbers. word makes
// 16 of them, and order says where in the register word number p is.
func (g *gen) transposeWords(name, more, doc string, numbers int, word func(row operand.Mem, r int, v reg.VecVirtual),
	order func(p int) int) {
	g.kernel(avx512, name, "(words int, dst *float32, width int, src *float32, ld, rows int"+more+")",
		"dst[p*width+r] = word p of row min(r, rows-1) of src, for p < words, a multiple of 16, and r < 16.", doc)
	words, dst, width, src, ld, rows := g.param("words"), g.param("dst"), g.param("width"), g.param("src"), g.param("ld"),
		g.param("rows")
	g.SHLQ(operand.Imm(2), width)
	g.SHLQ(operand.Imm(2), ld)
	g.loop("block", words, g.lanes, func() {
		v := g.vecs(g.lanes)
		g.eachClampedRow(src, ld, rows, func(r int, row operand.Mem) { word(row, r, v[r]) })
		w := g.transpose16(v)
		for p := range w {
			g.VMOVUPS(w[order(p)], operand.Mem{Base: dst})
			g.ADDQ(width, dst)
		}
		g.ADDQ(operand.U32(numbers*g.bytes()), src)
	})
	g.end()
}

// interleaveBF16 brings pairs of rows of 32 numbers into a panel.
func interleaveBF16(g *gen) {
	g.kernel(avx512, "interleaveBF16", "(words int, dst, src *float32, ld int)",
		"dst[p*32+j] = bfloat16(src[2*p*ld+j]), bfloat16(src[(2*p+1)*ld+j]) for p < words and j < 32.")
	words, dst, src, ld := g.param("words"), g.param("dst"), g.param("src"), g.param("ld")
	g.SHLQ(operand.Imm(2), ld)
	order := g.vec()
	g.VMOVDQU32(g.alternating(), order)
	g.loop("pair", words, 1, func() {
		for i := range 2 {
			low, high := g.vec(), g.vec()
			g.VMOVUPS(g.at(src, i), low)
			g.VMOVUPS(operand.Mem{Base: src, Index: ld, Scale: 1, Disp: i * g.bytes()}, high)
			g.vcvtne2ps2bf16(low, high, low)
			g.VPERMW(low, order, low)
			g.VMOVUPS(low, g.at(dst, i))
		}
		g.LEAQ(operand.Mem{Base: src, Index: ld, Scale: 2}, src)
		g.ADDQ(operand.U32(2*g.bytes()), dst)
	})
	g.end()
}

// alternating is the address of the numbers 0, 16, 1, 17 … 15, 31 as 16 bits.
func (g *gen) alternating() operand.Mem {
	var words []uint32
	for i := range uint32(16) {
		words = append(words, (16+i)<<16|i)
	}
	return g.data("alternating", words)
}

// interleaveInt8 brings fours of rows of 32 numbers into a panel.
func interleaveInt8(g *gen) {
	g.kernel(avx512, "interleaveInt8", "(words int, dst, src *float32, ld int, inverse *float32)",
		"dst[p*32+j] = the four bytes nearest to src[(4*p+i)*ld+j] * inverse[j], for p < words and j < 32.")
	words, dst, src, ld, inverse := g.param("words"), g.param("dst"), g.param("src"), g.param("ld"), g.param("inverse")
	g.SHLQ(operand.Imm(2), ld)
	ld3, order := g.GP64(), g.vec()
	g.LEAQ(operand.Mem{Base: ld, Index: ld, Scale: 2}, ld3)
	g.VMOVDQU32(g.byteColumns(), order)
	factor := g.load([]operand.Mem{g.at(inverse, 0), g.at(inverse, 1)})
	g.loop("four", words, 1, func() {
		rows := fourRows(src, ld, ld3)
		for i := range 2 {
			q := g.fourBytes(rows, i*g.bytes(), factor[i], order)
			g.VMOVUPS(q, g.at(dst, i))
		}
		g.LEAQ(operand.Mem{Base: src, Index: ld, Scale: 4}, src)
		g.ADDQ(operand.U32(2*g.bytes()), dst)
	})
	g.end()
}

// interleaveUint8 brings fours of rows of 16 numbers into a panel of any width. Bytes are 128 more than the numbers.
func interleaveUint8(g *gen) {
	g.kernel(avx512, "interleaveUint8", "(words int, dst *float32, width int, src *float32, ld int, inverse *float32)",
		"dst[p*width+r] = the four bytes nearest to src[(4*p+i)*ld+r] * inverse[r], plus 128, for p < words in order and "+
			"r < 16.")
	words, dst, width, src, ld := g.param("words"), g.param("dst"), g.param("width"), g.param("src"), g.param("ld")
	g.SHLQ(operand.Imm(2), width)
	g.SHLQ(operand.Imm(2), ld)
	ld3, order, more := g.GP64(), g.vec(), g.vec()
	g.LEAQ(operand.Mem{Base: ld, Index: ld, Scale: 2}, ld3)
	g.VMOVDQU32(g.byteColumns(), order)
	g.VMOVDQU32(g.bits(0x80808080), more)
	factor := g.get(operand.Mem{Base: g.param("inverse")})
	g.loop("four", words, 1, func() {
		q := g.fourBytes(fourRows(src, ld, ld3), 0, factor, order)
		g.VPXORD(more, q, q)
		g.VMOVUPS(q, operand.Mem{Base: dst})
		g.LEAQ(operand.Mem{Base: src, Index: ld, Scale: 4}, src)
		g.ADDQ(width, dst)
	})
	g.end()
}

// fourBytes is the bytes nearest to the numbers of four rows, from an offset on, times factor: those of a column
// together.
func (g *gen) fourBytes(rows []operand.Mem, offset int, factor, order reg.VecVirtual) reg.VecVirtual {
	var q []reg.VecVirtual
	for _, row := range rows {
		q = append(q, g.rounded(row.Offset(offset), factor))
	}
	g.packBytes(q, q[0])
	g.VPSHUFB(order, q[0], q[0])
	return q[0]
}

// byteColumns is the address of the order in which the bytes of four rows of four are columns.
func (g *gen) byteColumns() operand.Mem {
	var order []uint32
	for i := range uint32(16) {
		c := i % 4
		order = append(order, (12+c)<<24|(8+c)<<16|(4+c)<<8|c)
	}
	return g.data("byteColumns", order)
}

// rowMagnitudes finds the largest magnitude in each of 16 rows. That of a row with NaN is NaN.
func rowMagnitudes(g *gen) {
	g.kernel(avx512, "rowMagnitudes", "(k int, dst, src *float32, ld, rows int)",
		"dst[r] = the largest |src[min(r, rows-1)*ld+p]| of p < k, a multiple of 16, for r < 16; NaN counts as the largest.")
	k, dst, src, ld, rows := g.param("k"), g.param("dst"), g.param("src"), g.param("ld"), g.param("rows")
	g.SHLQ(operand.Imm(2), ld)
	acc, mask := g.zeros(16), g.vec()
	g.VMOVDQU32(g.bits(1<<31-1), mask)
	g.loop("block", k, 16, func() {
		g.eachClampedRow(src, ld, rows, func(r int, row operand.Mem) {
			x := g.vec()
			g.VPANDD(row, mask, x)
			g.VPMAXUD(x, acc[r], acc[r])
		})
		g.ADDQ(operand.Imm(uint64(g.bytes())), src)
	})
	g.VMOVUPS(g.foldEach(acc, g.VPMAXUD), operand.Mem{Base: dst})
	g.end()
}

// columnMagnitudes finds the largest magnitude in each column, going through rows as they lie in memory.
func columnMagnitudes(g *gen) {
	g.kernel(avx512, "columnMagnitudes", "(k, n int, dst, src *float32, ld int)",
		"dst[j] = the largest of |src[p*ld+j]| of p < k, a multiple of 4, and dst[j], for j < n, a multiple of 16; NaN "+
			"counts as the largest.")
	k, n, dst, src, ld := g.param("k"), g.param("n"), g.param("dst"), g.param("src"), g.param("ld")
	g.SHLQ(operand.Imm(2), ld)
	ld3, mask, to, count := g.GP64(), g.vec(), g.GP64(), g.GP64()
	g.LEAQ(operand.Mem{Base: ld, Index: ld, Scale: 2}, ld3)
	g.VMOVDQU32(g.bits(1<<31-1), mask)
	g.loop("rows", k, 4, func() {
		at := g.GP64()
		g.MOVQ(src, at)
		g.MOVQ(dst, to)
		g.MOVQ(n, count)
		g.loop("columns", count, g.lanes, func() {
			most := g.get(operand.Mem{Base: to})
			for _, row := range fourRows(at, ld, ld3) {
				x := g.vec()
				g.VPANDD(row, mask, x)
				g.VPMAXUD(x, most, most)
			}
			g.VMOVDQU32(most, operand.Mem{Base: to})
			g.ADDQ(operand.Imm(uint64(g.bytes())), at)
			g.ADDQ(operand.Imm(uint64(g.bytes())), to)
		})
		g.LEAQ(operand.Mem{Base: src, Index: ld, Scale: 4}, src)
	})
	g.end()
}

// columnSums adds up what an offset of 128 of the other factor adds to products.
func columnSums(g *gen) {
	g.kernel(avx512, "columnSums", "(words int, dst *int32, src *float32)",
		"dst[j] = -128 times the sum of the bytes of src[p*32+j] of p < words, for j < 32.")
	words, dst, src := g.param("words"), g.param("dst"), g.param("src")
	acc, offset := g.zeros(2), g.vec()
	g.VMOVDQU32(g.bits(0x80808080), offset)
	g.loop("word", words, 1, func() {
		for i, v := range acc {
			g.VPDPBUSD(g.at(src, i), offset, v)
		}
		g.ADDQ(operand.U32(2*g.bytes()), src)
	})
	zero := g.zeros(1)[0]
	for i, v := range acc {
		g.VPSUBD(v, zero, v)
		g.VMOVDQU32(v, g.at(dst, i))
	}
	g.end()
}
