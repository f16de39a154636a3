package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Products of blocks with rows of 8-bit integers. The records of such rows are those of kernels/rounded.go.

// Where the parts of a record of 32 values are, and its length.
const (
	smallFours  = 32
	smallStep   = 64
	smallSum    = 68
	smallRecord = 96
)

// The same for a record of 256 values.
const (
	superSums32 = 256
	superSums16 = 272
	superStep   = 304
	superRecord = 320
)

// narrow512 is AVX-512 on registers of 256 bits.
var narrow512 = isa{suffix: "AVX512", lanes: 8, regs: 32}

// vnni says whether the instructions VPDPBUSD and VPDPWSSD are there.
func (s isa) vnni() bool { return s.suffix == avx512.suffix }

// roundedFile holds the products of each format with one row, and on AVX-512 with four rows at once.
func roundedFile(g *gen) {
	for _, n := range []int{1, 4} {
		for _, s := range []isa{avx512, avx2} {
			if n > 1 && !s.vnni() {
				continue
			}
			productsAffine(g, s, n, "Q4_K", 144, 16, 0)
			productsAffine(g, s, n, "Q5_K", 176, 48, 16)
			productsQ6_K(g, s, n)
			productsIQ4_XS(g, s, n)
			if s.vnni() {
				s = narrow512
			}
			productsQ8_0(g, s, n)
			productsNibbles(g, s, n, "Q4_0", 18, 2, 8)
			productsNibbles(g, s, n, "Q4_1", 20, 4, 0)
			productsNibbles(g, s, n, "Q5_0", 22, 6, 16)
			productsNibbles(g, s, n, "Q5_1", 24, 8, 0)
			productsIQ4_NL(g, s, n)
			productsMXFP4(g, s, n)
		}
	}
	rowsFile(g)
}

// products is a kernel at work on one block of weights.
type products struct {
	*gen
	n     int             // rows of x
	w     reg.GPVirtual   // the block
	x     [2]reg.Register // the records of rows 0 and 3 of x
	step  reg.Register    // from one row of x to the next
	acc   []reg.VecVirtual
	other []reg.VecVirtual // four lanes each, added at the end; nil where there are none
	part  int              // number of the block among those that are unrolled
}

// record is the address of a part of the record of row i of x.
func (p *products) record(i, disp int) operand.Mem {
	disp += p.part * smallRecord
	switch i {
	case 0:
		return operand.Mem{Base: p.x[0], Disp: disp}
	case 3:
		return operand.Mem{Base: p.x[1], Disp: disp}
	}
	return operand.Mem{Base: p.x[0], Index: p.step, Scale: uint8(i), Disp: disp}
}

// sum is the register that the products of row i are added to.
func (p *products) sum(i int) reg.VecVirtual { return p.acc[p.part*p.n+i] }

// block is the address of a part of the block.
func (p *products) block(disp int) operand.Mem { return operand.Mem{Base: p.w, Disp: disp} }

// ahead is how many bytes before they are needed blocks are asked for.
const ahead = 2048

// kernelOf writes the kernel of a format whose blocks have so many bytes. body is run for each block, or in turn for
// each of unroll blocks; minima says whether it adds to p.other.
func (g *gen) kernelOf(s isa, n int, name string, bytes, record, unroll int, minima bool, setup func(),
	body func(p *products)) {
	one, more, doc := "", "", "y[r] = row r of the blocks, times x."
	if n > 1 {
		one, more = fmt.Sprint(n), ", ld int"
		doc = fmt.Sprintf("y[i*ld+r] = row r of the blocks, times row i of x, for %d rows of x.", n)
	}
	g.kernel(s, "products"+one+name, "(rows, blocks int, w *uint8, x *byte, y *float32"+more+")", doc)
	rows, w, y := g.param("rows"), g.param("w"), g.param("y")
	p := &products{gen: g, n: n, w: w}
	x, last := g.GP64(), g.GP64()
	p.x = [2]reg.Register{x, last}
	var ld, yLast reg.GPVirtual
	if n > 1 {
		ld, yLast = g.param("ld"), g.GP64()
		g.SHLQ(operand.Imm(2), ld)
		step := g.param("blocks")
		g.IMUL3Q(operand.U32(record), step, step)
		p.step = step
		g.LEAQ(operand.Mem{Base: ld, Index: ld, Scale: 2}, yLast)
		g.ADDQ(y, yLast)
	}
	if setup != nil {
		setup()
	}
	p.acc = g.vecs(n * unroll)
	if minima {
		for range n {
			p.other = append(p.other, g.XMM())
		}
	}
	g.loop("row", rows, 1, func() {
		count := g.param("blocks")
		g.Load(g.Param("x"), x)
		if n > 1 {
			g.LEAQ(operand.Mem{Base: p.step, Index: p.step, Scale: 2}, last)
			g.ADDQ(x, last)
		}
		for _, v := range p.acc {
			g.zero(v)
		}
		for _, v := range p.other {
			g.VXORPS(v, v, v)
		}
		run := func(blocks int) func() {
			return func() {
				for at := 0; at < blocks*bytes; at += 64 {
					g.PREFETCHT0(operand.Mem{Base: w, Disp: ahead + at})
				}
				for p.part = range blocks {
					body(p)
					g.ADDQ(operand.U32(bytes), w)
				}
				g.ADDQ(operand.U32(blocks*record), x)
				if n > 1 {
					g.ADDQ(operand.U32(blocks*record), last)
				}
			}
		}
		if unroll > 1 {
			g.loop("blocks", count, unroll, run(unroll))
		}
		g.loop("block", count, 1, run(1))
		p.part = 0
		for i := range n {
			p.store(i, unroll, y, yLast, ld)
		}
		g.ADDQ(operand.Imm(4), y)
		if n > 1 {
			g.ADDQ(operand.Imm(4), yLast)
		}
	})
	g.end()
}

// store adds up the lanes of a result and writes it.
func (p *products) store(i, unroll int, y, yLast, ld reg.Register) {
	for part := 1; part < unroll; part++ {
		p.VADDPS(p.acc[part*p.n+i], p.acc[i], p.acc[i])
	}
	sum := p.quarter(p.acc[i], p.VADDPS)
	if p.other != nil {
		p.VADDPS(p.other[i], sum, sum)
	}
	high := p.XMM()
	p.VMOVHLPS(sum, sum, high)
	p.VADDPS(high, sum, sum)
	p.VMOVSHDUP(sum, high)
	p.VADDSS(high, sum, sum)
	to := operand.Mem{Base: y}
	switch i {
	case 1, 2:
		to = operand.Mem{Base: y, Index: ld, Scale: uint8(i)}
	case 3:
		to = operand.Mem{Base: yLast}
	}
	p.VMOVSS(sum, to)
}

// pattern is the address of 64 bytes, made once a file.
func (g *gen) pattern(name string, at func(i int) uint8) operand.Mem {
	words := make([]uint32, 16)
	for i := range 64 {
		words[i/4] |= uint32(at(i)) << (8 * (i % 4))
	}
	return g.data(name, words)
}

// counts is the address of 16 numbers of 32 bits, made once a file.
func (g *gen) counts(name string, at func(lane int) int) operand.Mem {
	words := make([]uint32, 16)
	for i := range words {
		words[i] = uint32(at(i))
	}
	return g.data(name, words)
}

// codeBytes is how many codes a register holds.
func (g *gen) codeBytes() int { return 4 * g.lanes }

// addWords adds to each int32 of acc the two products of the pairs of 16-bit numbers in words and scale. words is lost.
func (g *gen) addWords(scale, words, acc reg.VecVirtual) {
	if g.vnni() {
		g.VPDPWSSD(scale, words, acc)
		return
	}
	g.VPMADDWD(scale, words, words)
	g.VPADDD(words, acc, acc)
}

// addBytes adds to each int32 of acc the four products of unsigned codes below 128 and signed bytes.
func (g *gen) addBytes(signed operand.Mem, codes, acc reg.VecVirtual) {
	if g.vnni() {
		g.VPDPBUSD(signed, codes, acc)
		return
	}
	t := g.vec()
	g.VPMADDUBSW(signed, codes, t)
	g.VPMADDWD(g.bits(0x00010001), t, t)
	g.VPADDD(t, acc, acc)
}

// addSigned adds to acc the four products of signed codes in AVX2, where one factor has to be unsigned.
func (g *gen) addSigned(x operand.Mem, codes, acc reg.VecVirtual) {
	magnitude, signed := g.vec(), g.vec()
	g.VPABSB(codes, magnitude)
	g.VMOVDQU(x, signed)
	g.VPSIGNB(codes, signed, signed)
	g.VPMADDUBSW(signed, magnitude, magnitude)
	g.VPMADDWD(g.bits(0x00010001), magnitude, magnitude)
	g.VPADDD(magnitude, acc, acc)
}

// addProduct is sum += scale·integers, of which the integers are lost.
func (g *gen) addProduct(integers, scale, sum reg.VecVirtual) {
	g.VCVTDQ2PS(integers, integers)
	g.VFMADD231PS(scale, integers, sum)
}

// half16 is the half precision number of the block at disp, in the lowest lane.
func (p *products) half16(disp int) reg.VecVirtual {
	bits, x := p.GP32(), p.XMM()
	p.MOVWLZX(p.block(disp), bits)
	p.VMOVD(bits, x)
	p.VCVTPH2PS(x, x)
	return x
}

// times is a register full of the lowest number of d times the step of row i.
func (p *products) times(d reg.VecVirtual, i, step int) reg.VecVirtual {
	x, v := p.XMM(), p.vec()
	p.VMULSS(p.record(i, step), d, x)
	p.VBROADCASTSS(x, v)
	return v
}

// broadcast is a register full of the lowest 128 bits of x.
func (g *gen) broadcast(x reg.VecVirtual) reg.VecVirtual {
	v := g.vec()
	if g.lanes == 16 {
		g.VSHUFI64X2(operand.Imm(0), x.AsZ(), x.AsZ(), v)
		return v
	}
	g.VPERMQ(operand.Imm(0x44), x.AsY(), v)
	return v
}

// productsAffine is a format of super-blocks of eight groups of 32 codes with scales and minima, in pairs of groups
// that share 32 bytes for the low four bits. The fifth bits, if there are any, are in the 32 bytes from high on.
func productsAffine(g *gen, s isa, n int, name string, bytes, levels, high int) {
	g.kernelOf(s, n, name, bytes, superRecord, 1, true, nil, func(p *products) {
		head := g.XMM()
		g.VMOVDQU(p.block(0), head)
		scales := g.affineCodes(head)
		minima, zero := g.XMM(), g.XMM()
		g.VPXOR(zero, zero, zero)
		g.VPUNPCKHBW(zero, scales, minima)
		factors := g.XMM() // d and dmin
		g.VCVTPH2PS(head, factors)
		sums := g.zeros(n)
		wide := g.broadcast(scales)
		var fifth reg.VecVirtual
		if high > 0 {
			fifth = g.vec()
			if g.lanes == 16 {
				g.VBROADCASTI64X4(p.block(high), fifth)
			} else {
				g.VMOVDQU(p.block(high), fifth)
			}
		}
		for chunk := range 256 / g.codeBytes() {
			codes := p.affineChunk(chunk, levels, fifth)
			scale := g.vec()
			g.VPSHUFB(g.scaleWords(chunk), wide, scale)
			for i := range n {
				words := g.vec()
				g.VPMADDUBSW(p.record(i, chunk*g.codeBytes()), codes, words)
				g.addWords(scale, words, sums[i])
			}
		}
		for i := range n {
			both, step, m := g.XMM(), g.XMM(), g.XMM()
			g.VBROADCASTSS(p.record(i, superStep), step)
			g.VMULPS(step, factors, both)
			d := g.vec()
			g.VBROADCASTSS(both, d)
			g.addProduct(sums[i], d, p.sum(i))
			g.VPMADDWD(p.record(i, superSums32), minima, m)
			g.VCVTDQ2PS(m, m)
			g.VMOVSHDUP(both, both)
			g.VBROADCASTSS(both, both)
			g.VFNMADD231PS(both, m, p.other[i])
		}
	})
}

// affineCodes is the eight scales of the head of a super-block and its eight minima behind them, a byte each.
func (g *gen) affineCodes(head reg.VecVirtual) reg.VecVirtual {
	low, top := g.XMM(), g.XMM()
	g.VPSHUFD(operand.Imm(0xed), head, low) // words 0, 2, 1, 2 of twelve bytes
	g.VPSRLVD(g.data("headShift", []uint32{0, 0, 0, 4}), low, low)
	g.VPAND(g.data("headLow", []uint32{0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f}), low, low)
	g.VPSHUFD(operand.Imm(0xa5), head, top)
	g.VPSRLD(operand.Imm(2), top, top)
	g.VPAND(g.data("headTop", []uint32{0, 0x30303030, 0, 0x30303030}), top, top)
	g.VPOR(top, low, low)
	return low
}

// scaleWords is the address of what VPSHUFB makes the scales of the codes of a chunk with, of groups of 32 that have a
// byte each: 16-bit numbers.
func (g *gen) scaleWords(chunk int) operand.Mem {
	return g.pattern(fmt.Sprintf("scaleWords%d_%d", g.lanes, chunk), func(i int) uint8 {
		if i%2 == 1 {
			return 0x80
		}
		return uint8((chunk*g.codeBytes() + i%g.codeBytes()) / 32)
	})
}

// affineChunk is as many codes as a register holds, from number chunk of so many on.
func (p *products) affineChunk(chunk, levels int, fifth reg.VecVirtual) reg.VecVirtual {
	v := p.vec()
	if p.lanes == 16 { // both halves of 32 bytes: a pair of groups
		p.VBROADCASTI64X4(p.block(levels+32*chunk), v)
		p.VPSRLVD(p.counts("nibbleShift512", func(lane int) int { return lane / 8 * 4 }), v, v)
		p.VPANDD(p.bits(0x0f0f0f0f), v, v)
		if fifth != nil {
			bit := p.vec()
			turn := p.counts(fmt.Sprint("fifthTurn", chunk), func(lane int) int { return (36 - 2*chunk - lane/8) % 32 })
			p.rotate(turn, fifth, bit)
			p.VPTERNLOGD(operand.Imm(orAnd), p.bits(0x10101010), bit, v)
		}
		return v
	}
	p.VMOVDQU(p.block(levels+chunk/2*32), v)
	if chunk%2 == 1 {
		p.VPSRLW(operand.Imm(4), v, v)
	}
	p.VPAND(p.bits(0x0f0f0f0f), v, v)
	if fifth != nil {
		bit := p.shifted(fifth, 4-chunk)
		p.VPAND(p.bits(0x10101010), bit, bit)
		p.VPOR(bit, v, v)
	}
	return v
}

// orAnd is what VPTERNLOG computes a | b&c with.
const orAnd = 0xf8

// rotate turns the 32-bit lanes of v to the left by counts in memory.
func (g *gen) rotate(counts operand.Mem, v, dst reg.VecVirtual) {
	c := g.vec()
	g.VMOVDQU32(counts, c)
	g.VPROLVD(c, v, dst)
}

// productsQ6_K has sixteen groups of 16 codes with signed scales. Codes are 32 too large, which is taken off by the
// sums of x.
func productsQ6_K(g *gen, s isa, n int) {
	const high, scalesAt, d = 128, 192, 208
	g.kernelOf(s, n, "Q6_K", 210, superRecord, 1, false, nil, func(p *products) {
		scales := g.YMM()
		g.VPMOVSXBW(p.block(scalesAt), scales)
		sums := make([]reg.VecVirtual, n)
		for i := range n {
			less := g.vec()
			g.VPMADDWD(p.record(i, superSums16), scales, less.AsY())
			g.VPSLLD(operand.Imm(5), less.AsY(), less.AsY())
			zero := g.YMM()
			g.VPXOR(zero, zero, zero)
			g.VPSUBD(less.AsY(), zero, less.AsY())
			sums[i] = less
		}
		for chunk := range 256 / g.codeBytes() {
			codes := p.chunkQ6_K(chunk, high)
			scale := g.scalesOf16(scales, chunk)
			for i := range n {
				words := g.vec()
				g.VPMADDUBSW(p.record(i, chunk*g.codeBytes()), codes, words)
				g.addWords(scale, words, sums[i])
			}
		}
		factor := p.half16(d)
		for i := range n {
			g.addProduct(sums[i], p.times(factor, i, superStep), p.sum(i))
		}
	})
}

// chunkQ6_K is as many codes as a register holds.
func (p *products) chunkQ6_K(chunk, high int) reg.VecVirtual {
	v, bit := p.vec(), p.vec()
	if p.lanes == 16 {
		half, upper := chunk/2, chunk%2
		p.VMOVDQU32(p.block(64*half), v)
		if upper == 1 {
			p.VPSRLD(operand.Imm(4), v, v)
		}
		p.VPANDD(p.bits(0x0f0f0f0f), v, v)
		p.VBROADCASTI64X4(p.block(high+32*half), bit)
		turn := p.counts(fmt.Sprint("pairTurn", upper), func(lane int) int { return (36 - 4*upper - lane/8*2) % 32 })
		p.rotate(turn, bit, bit)
		p.VPTERNLOGD(operand.Imm(orAnd), p.bits(0x30303030), bit, v)
		return v
	}
	half, quarter := chunk/4, chunk%4
	p.VMOVDQU(p.block(64*half+32*(quarter&1)), v)
	if quarter >= 2 {
		p.VPSRLW(operand.Imm(4), v, v)
	}
	p.VPAND(p.bits(0x0f0f0f0f), v, v)
	p.VMOVDQU(p.block(high+32*half), bit)
	bit = p.shifted(bit, 4-2*quarter)
	p.VPAND(p.bits(0x30303030), bit, bit)
	p.VPOR(bit, v, v)
	return v
}

// scalesOf16 is the scales of the codes of a chunk, of sixteen 16-bit numbers for groups of 16.
func (g *gen) scalesOf16(scales reg.VecVirtual, chunk int) reg.VecVirtual {
	v := g.vec()
	if g.lanes == 16 {
		words := make([]uint32, 16)
		for i := range words {
			group := uint32(4*chunk + i/4)
			words[i] = group<<16 | group
		}
		index := g.vec()
		g.VMOVDQU32(g.data(fmt.Sprint("groupWords", chunk), words), index)
		g.VPERMW(scales.AsZ(), index, v)
		return v
	}
	g.VPERMQ(operand.Imm([2]uint64{0x44, 0xee}[chunk/4]), scales, v)
	at := g.pattern(fmt.Sprint("groupBytes", chunk%4), func(i int) uint8 { return uint8(4*(chunk%4) + i%32/16*2 + i%2) })
	g.VPSHUFB(at, v, v)
	return v
}

// productsQ8_0 multiplies bytes.
func productsQ8_0(g *gen, s isa, n int) {
	g.kernelOf(s, n, "Q8_0", 34, smallRecord, 2, false, nil, func(p *products) {
		codes := g.vec()
		g.VMOVDQU(p.block(2), codes)
		p.addValues(codes, p.half16(0))
	})
}

// addValues adds the products of signed codes of a block of 32.
func (p *products) addValues(codes, d reg.VecVirtual) {
	if p.vnni() { // 128 more, which the sums of x take off
		p.VPXOR(p.bits(0x80808080), codes, codes)
	}
	for i := range p.n {
		sum := p.vec()
		if p.vnni() {
			p.VPSLLD(operand.Imm(7), p.load([]operand.Mem{p.record(i, smallFours)})[0], sum)
			p.VPDPBUSD(p.record(i, 0), codes, sum)
		} else {
			p.zero(sum)
			p.addSigned(p.record(i, 0), codes, sum)
		}
		p.addProduct(sum, p.times(d, i, smallStep), p.sum(i))
	}
}

// nibbles is the 32 codes of the 16 bytes of a block at disp, the low nibbles first.
func (p *products) nibbles(disp int) reg.VecVirtual {
	v := p.vec()
	p.VBROADCASTI128(p.block(disp), v)
	p.VPSRLVD(p.counts("nibbleShift256", func(lane int) int { return lane / 4 % 2 * 4 }), v, v)
	p.VPAND(p.bits(0x0f0f0f0f), v, v)
	return v
}

// productsNibbles is a format of 32 codes of four or five bits, less an offset. Where that is 0, the block has a
// minimum. Fifth bits are in the four bytes before the codes.
func productsNibbles(g *gen, s isa, n int, name string, bytes, levels, offset int) {
	minimum := offset == 0
	g.kernelOf(s, n, name, bytes, smallRecord, 2, minimum, nil, func(p *products) {
		codes := p.nibbles(levels)
		if bytes >= 22 {
			p.fifthBits(codes, levels-4)
		}
		d := p.half16(0)
		var m reg.VecVirtual
		if minimum {
			m = p.half16(2)
		}
		for i := range n {
			sum := g.vec()
			switch offset {
			case 8:
				g.VPSLLD(operand.Imm(3), g.load([]operand.Mem{p.record(i, smallFours)})[0], sum)
			case 16:
				g.VPSLLD(operand.Imm(4), g.load([]operand.Mem{p.record(i, smallFours)})[0], sum)
			default:
				g.zero(sum)
			}
			g.addBytes(p.record(i, 0), codes, sum)
			g.addProduct(sum, p.times(d, i, smallStep), p.sum(i))
			if minimum {
				g.VFMADD231SS(p.record(i, smallSum), m, p.other[i])
			}
		}
	})
}

// fifthBits adds 16 to the codes whose bits in the four bytes at disp are set.
func (p *products) fifthBits(codes reg.VecVirtual, disp int) {
	bit := p.vec()
	p.VPBROADCASTD(p.block(disp), bit)
	p.VPSHUFB(p.pattern("bitBytes", func(i int) uint8 { return uint8(i % 32 / 8) }), bit, bit)
	each := p.vec()
	p.VMOVDQU(p.pattern("eachBit", func(i int) uint8 { return 1 << (i % 8) }), each)
	p.VPAND(each, bit, bit)
	p.VPCMPEQB(each, bit, bit)
	p.VPAND(p.bits(0x10101010), bit, bit)
	p.VPOR(bit, codes, codes)
}

// lookUp makes values of codes.
func (p *products) lookUp(codes, table reg.VecVirtual) { p.VPSHUFB(codes, table, codes) }

// valueTable is a register with sixteen values in each 128 bits.
func (g *gen) valueTable(name string, values [16]int8) reg.VecVirtual {
	t := g.vec()
	at := g.pattern(name, func(i int) uint8 { return uint8(values[i%16]) })
	if g.lanes == 16 {
		g.VMOVDQU32(at, t)
	} else {
		g.VMOVDQU(at, t)
	}
	return t
}

func productsIQ4_NL(g *gen, s isa, n int) {
	var table reg.VecVirtual
	g.kernelOf(s, n, "IQ4_NL", 18, smallRecord, 2, false,
		func() { table = g.valueTable("valuesIQ4Wide", valuesIQ4) },
		func(p *products) {
			codes := p.nibbles(2)
			p.lookUp(codes, table)
			p.addValues(codes, p.half16(0))
		})
}

// productsMXFP4 has a power of two as the scale, of which the table has the halves.
func productsMXFP4(g *gen, s isa, n int) {
	var table reg.VecVirtual
	powers := g.scalesE8M0()
	g.kernelOf(s, n, "MXFP4", 17, smallRecord, 2, false,
		func() { table = g.valueTable("halvesE2M1Wide", halvesE2M1) },
		func(p *products) {
			codes := p.nibbles(1)
			p.lookUp(codes, table)
			index, base, d := g.GP64(), g.GP64(), g.XMM()
			g.MOVBQZX(p.block(0), index)
			g.LEAQ(powers, base)
			g.VMOVSS(operand.Mem{Base: base, Index: index, Scale: 4}, d)
			p.addValues(codes, d)
		})
}

// productsIQ4_XS has eight groups of 32 codes of the values of a table, with scales of six bits.
func productsIQ4_XS(g *gen, s isa, n int) {
	var table reg.VecVirtual
	g.kernelOf(s, n, "IQ4_XS", 136, superRecord, 1, false,
		func() { table = g.valueTable("valuesIQ4Wide", valuesIQ4) },
		func(p *products) {
			scales := p.scalesIQ4_XS()
			sums := make([]reg.VecVirtual, n)
			for i := range n {
				sums[i] = g.vec()
				if !g.vnni() {
					g.zero(sums[i])
					continue
				}
				// 128 more than the values are multiplied, which the sums of x take off
				words, less, zero, top := g.XMM(), sums[i].AsX(), g.XMM(), g.XMM()
				g.VEXTRACTI128(operand.Imm(1), scales.AsY(), top)
				g.VPACKSSDW(top, scales.AsX(), words)
				g.VPMADDWD(p.record(i, superSums32), words, less)
				g.VPSLLD(operand.Imm(7), less, less)
				g.VPXOR(zero, zero, zero)
				g.VPSUBD(less, zero, less)
			}
			for chunk := range 256 / g.codeBytes() {
				codes := p.chunkIQ4_XS(chunk)
				p.lookUp(codes, table)
				if g.vnni() {
					g.VPXORD(g.bits(0x80808080), codes, codes)
				}
				scale := g.laneScales(scales, chunk)
				for i := range n {
					t := g.vec()
					g.zero(t)
					if x := p.record(i, chunk*g.codeBytes()); g.vnni() {
						g.VPDPBUSD(x, codes, t)
					} else {
						g.addSigned(x, codes, t)
					}
					g.VPMULLD(scale, t, t)
					g.integers(g.VPADDD, t, sums[i])
				}
			}
			factor := p.half16(0)
			for i := range n {
				g.addProduct(sums[i], p.times(factor, i, superStep), p.sum(i))
			}
		})
}

// scalesIQ4_XS is the eight scales as int32.
func (p *products) scalesIQ4_XS() reg.VecVirtual {
	low, high, count := p.YMM(), p.YMM(), p.YMM()
	p.VMOVDQU(p.counts("twos", func(lane int) int { return 2 * lane }), count)
	p.VPBROADCASTW(p.block(2), high)
	p.VPSRLVD(count, high, high)
	p.VPAND(p.bits(3), high, high)
	p.VPSLLD(operand.Imm(4), high, high)
	p.VPADDD(count, count, count)
	p.VPBROADCASTD(p.block(4), low)
	p.VPSRLVD(count, low, low)
	p.VPAND(p.bits(15), low, low)
	p.VPOR(high, low, low)
	p.VPSUBD(p.bits(32), low, low)
	return low
}

// chunkIQ4_XS is as many codes as a register holds: of each 16 bytes the low nibbles first.
func (p *products) chunkIQ4_XS(chunk int) reg.VecVirtual {
	if p.lanes == 8 {
		return p.nibbles(8 + 16*chunk)
	}
	v, index := p.vec(), p.vec()
	words := make([]uint32, 16)
	for i := range 8 {
		words[2*i] = uint32(i/4*2 + i%2)
	}
	p.VMOVDQU32(p.data("twice", words), index)
	low := p.vec()
	p.VMOVDQU(p.block(8+32*chunk), low.AsY())
	p.VPERMQ(low, index, v)
	p.VPSRLVD(p.counts("nibbleShift128", func(lane int) int { return lane / 4 % 2 * 4 }), v, v)
	p.VPANDD(p.bits(0x0f0f0f0f), v, v)
	return v
}

// laneScales is the scales of the codes of a chunk, of eight int32 for groups of 32, in each lane.
func (g *gen) laneScales(scales reg.VecVirtual, chunk int) reg.VecVirtual {
	index, v := g.vec(), g.vec()
	at := g.counts(fmt.Sprintf("laneScales%d_%d", g.lanes, chunk), func(lane int) int {
		return (chunk*g.codeBytes() + 4*(lane%g.lanes)) / 32
	})
	if g.lanes == 16 {
		g.VMOVDQU32(at, index)
		g.VPERMD(scales.AsZ(), index, v)
		return v
	}
	g.VMOVDQU(at, index)
	g.VPERMD(scales, index, v)
	return v
}
