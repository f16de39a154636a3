package main

import (
	"math"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The formats of which the scale is that of the weight of largest magnitude take a block at a time.

// quantizeBlocks writes a kernel over blocks of 32 weights.
func quantizeBlocks(g *gen, s isa, name string, bytes int, body func(b *block32)) {
	g.kernel(s, "quantize"+name, "(blocks int, dst *uint8, src *float32)",
		"dst = the blocks of "+name+" of the weights of src")
	g.eachBlock("dst", "src", bytes, 4*32, func(dst, src reg.Register) {
		b := &block32{gen: g, dst: dst}
		for i := range 32 / s.lanes {
			b.x = append(b.x, g.get(g.at(src, i)))
		}
		body(b)
	})
}

// A block32 is a block on its way.
type block32 struct {
	*gen
	dst reg.Register
	x   []reg.VecVirtual // the weights
}

// reach is the largest magnitude, NaN left out.
func (b *block32) reach() reg.Register {
	zero := b.zeros(1)[0]
	var largest reg.VecVirtual
	for i, x := range b.x {
		m := b.binary(b.VMAXPS, zero, b.magnitude(x)) // in this order a NaN is replaced
		if i == 0 {
			largest = m
		} else {
			b.VMAXPS(m, largest, largest)
		}
	}
	return b.foldLanes(largest, b.VMAXPS)
}

// peak gives reach the sign of the first weight that has this magnitude, and none where it is 0.
func (b *block32) peak(reach reg.Register) reg.Register {
	m := b.vec()
	b.VBROADCASTSS(reach, m)
	found, signs := b.GP32(), b.GP32()
	for i, x := range b.x {
		f, s := b.bitsOf(b.compare(b.magnitude(x), isEqual, m)), b.signs(x)
		if i == 0 {
			b.MOVL(f, found)
			b.MOVL(s, signs)
			continue
		}
		b.SHLL(operand.Imm(uint64(i*b.lanes)), f)
		b.SHLL(operand.Imm(uint64(i*b.lanes)), s)
		b.ORL(f, found)
		b.ORL(s, signs)
	}
	first, bits, none := b.GP32(), b.GP32(), b.GP32()
	b.MOVL(found, first)
	b.NEGL(first)
	b.ANDL(found, first)
	b.ANDL(signs, first)
	// A borrow tells whether there was a sign: it becomes the highest bit.
	b.NEGL(first)
	b.SBBL(first, first)
	b.ANDL(operand.Imm(1<<31), first)
	b.VMOVD(reach, bits)
	b.MOVL(operand.U32(0), none)
	b.TESTL(bits, bits)
	b.CMOVLEQ(none, first)
	b.ORL(bits, first)
	x := b.XMM()
	b.VMOVD(first, x)
	return x
}

// signs is the signs of the lanes as the bits of a general register.
func (b *block32) signs(x reg.VecVirtual) reg.GPVirtual {
	r := b.GP32()
	if b.lanes == 16 {
		k := b.K()
		b.VPMOVD2M(x, k)
		b.KMOVW(k, r)
	} else {
		b.VMOVMSKPS(x, r)
	}
	return r
}

// scale stores d in half precision and returns a register full of 1/d, or of 0 where d is 0.
func (b *block32) scale(d reg.VecVirtual) reg.VecVirtual {
	inverse, half, bits := b.binary(b.VDIVPS, d, b.constant(1)), b.XMM(), b.GP32()
	if b.lanes == 16 {
		nonzero := b.compare(d, differs, b.number(0))
		b.VMOVAPS_Z(inverse, nonzero, inverse)
	} else {
		b.VANDPS(b.compare(d, differs, b.number(0)), inverse, inverse)
	}
	b.VCVTPS2PH(operand.Imm(0), d.AsX(), half)
	b.VMOVD(half, bits)
	b.MOVW(bits.As16(), operand.Mem{Base: b.dst})
	return inverse
}

// scaled is a register full of the lowest float32 of x, divided by so much.
func (b *block32) scaled(x reg.Register, divisor float32) reg.VecVirtual {
	d := b.vec()
	b.VBROADCASTSS(x, d)
	b.VDIVPS(b.constant(divisor), d, d)
	return d
}

func quantizeQ8_0(g *gen, s isa) {
	quantizeBlocks(g, s, "Q8_0", 34, func(b *block32) {
		inverse := b.scale(b.scaled(b.reach(), 127))
		for _, x := range b.x {
			// Halves are rounded away from zero: almost one half is added, and the fraction left away.
			half := b.vec()
			g.VMULPS(inverse, x, x)
			g.VANDPS(g.bits(1<<31), x, half)
			g.VORPS(g.bits(math.Float32bits(0.5)-1), half, half)
			g.VADDPS(half, x, x)
			g.VCVTTPS2DQ(x, x)
		}
		b.storeLowBytes(b.x, 2)
	})
}

// quantizeSigned is a format of levels of 0 to 2·half-1 of which the weight of largest magnitude has level 0. The fifth
// bits are stored from byte high on, if there are any.
func quantizeSigned(g *gen, s isa, name string, bytes, half, high, low int) {
	quantizeBlocks(g, s, name, bytes, func(b *block32) {
		inverse := b.scale(b.scaled(b.peak(b.reach()), float32(-half)))
		top := g.bits(uint32(2*half - 1))
		for _, x := range b.x {
			g.VMULPS(inverse, x, x)
			g.VADDPS(g.number(float32(half)+0.5), x, x)
			g.VCVTTPS2DQ(x, x)
			g.VPSLLD(operand.Imm(24), x, x)
			g.VPSRAD(operand.Imm(24), x, x)
			g.integers(g.VPMINSD, top, x)
		}
		if high > 0 {
			b.storeFifthBits(high)
		}
		var packed []reg.VecVirtual
		pairs := len(b.x) / 2
		for i := range pairs {
			upper := g.shifted(b.x[pairs+i], 4)
			if high > 0 {
				g.and(g.bits(15), b.x[i])
			}
			g.or(b.x[i], upper)
			packed = append(packed, upper)
		}
		b.storeLowBytes(packed, low)
	})
}

// storeFifthBits stores bit 4 of each level.
func (b *block32) storeFifthBits(at int) {
	all := b.GP32()
	for i, x := range b.x {
		s := b.signs(b.shifted(x, 27))
		if i == 0 {
			b.MOVL(s, all)
			continue
		}
		b.SHLL(operand.Imm(uint64(i*b.lanes)), s)
		b.ORL(s, all)
	}
	b.MOVL(all, operand.Mem{Base: b.dst, Disp: at})
}

// storeLowBytes stores the low bytes of 32-bit lanes.
func (b *block32) storeLowBytes(v []reg.VecVirtual, at int) {
	if b.lanes == 16 {
		for i, x := range v {
			b.VPMOVDB(x, operand.Mem{Base: b.dst, Disp: at + 16*i})
		}
		return
	}
	for _, x := range v {
		b.and(b.bits(255), x)
	}
	for i := 0; i < len(v); i += 2 {
		words, high := b.YMM(), b.XMM()
		b.VPACKUSDW(v[i+1], v[i], words)
		b.VPERMQ(operand.Imm(0xd8), words, words)
		b.VEXTRACTI128(operand.Imm(1), words, high)
		b.VPACKUSWB(high, words.AsX(), high)
		b.VMOVDQU(high, operand.Mem{Base: b.dst, Disp: at + 8*i})
	}
}

// quantizeF16 rounds to half precision. A NaN becomes the plain quiet one of its sign, which its magnitude is made
// before.
func quantizeF16(g *gen, s isa) {
	g.kernel(s, "quantizeF16", "(blocks int, dst *uint8, src *float32)", "dst = src in half precision, 16 numbers a block")
	g.eachBlock("dst", "src", 32, 64, func(dst, src reg.Register) {
		for i := range 16 / s.lanes {
			v := g.get(g.at(src, i))
			sign := g.binary(g.VANDPS, g.bits(1<<31), v)
			g.VORPS(g.bits(0x7fc00000), sign, sign)
			g.choose(g.compare(v, isUnordered, v), sign, v)
			g.VCVTPS2PH(operand.Imm(0), v, operand.Mem{Base: dst, Disp: 2 * s.lanes * i})
		}
	})
}

// quantizeBF16 rounds to bfloat16, ties to even. A NaN keeps its upper bits and is made quiet.
func quantizeBF16(g *gen, s isa) {
	g.kernel(s, "quantizeBF16", "(blocks int, dst *uint8, src *float32)", "dst = src as bfloat16, 16 numbers a block")
	g.eachBlock("dst", "src", 32, 64, func(dst, src reg.Register) {
		for i := range 16 / s.lanes {
			v := g.get(g.at(src, i))
			nan := g.compare(v, isUnordered, v)
			quiet := g.binary(g.VORPS, g.bits(0x00400000), v)
			odd := g.shifted(v, -16)
			g.and(g.bits(1), odd)
			g.integers(g.VPADDD, odd, v)
			g.integers(g.VPADDD, g.bits(0x7fff), v)
			g.choose(nan, quiet, v)
			g.VPSRLD(operand.Imm(16), v, v)
			g.storeWords(v, operand.Mem{Base: dst, Disp: 2 * s.lanes * i})
		}
	})
}

// storeWords stores the low 16 bits of 32-bit lanes that have no others.
func (g *gen) storeWords(v reg.VecVirtual, at operand.Mem) {
	if g.lanes == 16 {
		g.VPMOVDW(v, at)
		return
	}
	high := g.XMM()
	g.VEXTRACTI128(operand.Imm(1), v, high)
	g.VPACKUSDW(high, v.AsX(), high)
	g.VMOVDQU(high, at)
}
