package main

import (
	"fmt"
	"math"
)

// The formats of which the scale is that of the weight of largest magnitude take a block at a time.

// A laneBlock is a kernel over blocks of 32 weights.
type laneBlock struct {
	*neon
	dst, src          r
	x                 []v // the weights
	zero, one, beyond v
	d, inverse, t     v
}

// quantizeBlocks writes a kernel over blocks. setup may take registers.
func (k *neon) quantizeBlocks(name string, bytes int, setup, body func(b *laneBlock)) {
	k.kernel("quantize"+name, "(blocks int, dst *uint8, src *float32)",
		"dst = the blocks of "+name+" of the weights of src")
	blocks := k.param("blocks")
	b := &laneBlock{neon: k, dst: k.param("dst"), src: k.param("src"), x: k.vecs(8), zero: k.zeros(1)[0],
		one: k.constant(1), beyond: k.constant(1 << 31), d: k.vec(), inverse: k.vec(), t: k.vec()}
	setup(b)
	k.loop("block", blocks, 1, func() {
		for i := 0; i < 8; i += 2 {
			k.loadPair(b.src, 16*i, b.x[i], b.x[i+1])
		}
		k.scoped(func() { body(b) })
		k.op("ADD", fmt.Sprintf("$%d", bytes), b.dst)
		k.op("ADD", "$128", b.src)
	})
	k.op("RET")
}

// reach fills d with the largest magnitude, NaN left out.
func (b *laneBlock) reach() {
	b.move(b.zero, b.d)
	for _, x := range b.x {
		b.fabs(b.t, x)
		m := b.inverse
		b.fcmgt(m, b.t, b.d)
		b.bit(b.d, b.t, m)
	}
	b.fmaxv(b.d, b.d)
	b.op("VDUP", b.d.String()+".S[0]", b.d.s4())
}

// peak fills d, which is the reach, with the first weight that has this magnitude, or with 0 where that is 0. count is
// the numbers 0 to 3, and four four times.
func (b *laneBlock) peak(count, four v) {
	b.scoped(func() {
		position, first, none := b.vec(), b.vec(), b.vec()
		b.not(first, b.zero)
		b.move(count, position)
		for _, x := range b.x {
			b.fabs(b.t, x)
			b.fcmeq(b.t, b.t, b.d)
			b.not(none, b.zero)
			b.bit(none, position, b.t)
			b.umin(first, first, none)
			b.add(position, position, four)
		}
		b.uminv(first, first)
		b.op("FMOVS", fmt.Sprintf("F%d", int(first)), "R17")
		b.op("AND", "$31", "R17")
		b.op("ADD", "R17<<2", b.src, "R17")
		b.op("MOVWU", "(R17)", "R17")
		b.op("FMOVS", fmt.Sprintf("F%d", int(b.d)), "R16")
		b.op("CMPW", "$0", "R16")
		b.op("CSEL", "EQ", "ZR", "R17", "R17")
		b.op("VDUP", "R17", b.d.s4())
	})
}

// scale stores d, divided by a number, in half precision, and fills inverse with 1/d, or with 0 where d is 0.
func (b *laneBlock) scale(divisor v) {
	b.fdiv(b.d, b.d, divisor)
	b.fdiv(b.inverse, b.one, b.d)
	b.fcmeq(b.t, b.d, b.zero)
	b.bic(b.inverse, b.inverse, b.t)
	b.fcvtnHalf(b.d, b.d)
	b.op("VMOV", b.d.String()+".H[0]", "R16")
	b.op("MOVH", "R16", fmt.Sprintf("(%s)", b.dst))
}

// fcvtnHalf rounds four float32s to half precision, fcvtnHalf2 to the upper half.
func (k *neon) fcvtnHalf(d, n v)  { k.widening(0x0e216800, "FCVTN", d, n, "4H", "4S") }
func (k *neon) fcvtnHalf2(d, n v) { k.widening(0x4e216800, "FCVTN2", d, n, "8H", "4S") }

// truncate makes integers; what is beyond them becomes 0, as far as the low byte says.
func (b *laneBlock) truncate(x v) {
	b.fabs(b.t, x)
	b.fcmgt(b.t, b.beyond, b.t)
	b.fcvtzs(x, x)
	b.and(x, x, b.t)
}

func (k *neon) quantizeQ8_0() {
	var signs, half, top v
	setup := func(b *laneBlock) {
		signs, half, top = k.bits(1<<31), k.bits(math.Float32bits(0.5)-1), k.constant(127)
	}
	k.quantizeBlocks("Q8_0", 34, setup, func(b *laneBlock) {
		b.reach()
		b.scale(top)
		for _, x := range b.x {
			// Halves are rounded away from zero: almost one half is added, and the fraction left away.
			k.fmul(x, x, b.inverse)
			k.and(b.t, x, signs)
			k.or(b.t, b.t, half)
			k.fadd(x, x, b.t)
			b.truncate(x)
		}
		k.lowBytes(b.x[:4])
		k.lowBytes(b.x[4:])
		k.op("FMOVQ", fmt.Sprintf("F%d", int(b.x[0])), fmt.Sprintf("2(%s)", b.dst))
		k.op("FMOVQ", fmt.Sprintf("F%d", int(b.x[4])), fmt.Sprintf("18(%s)", b.dst))
	})
}

// quantizeSigned is a format of levels of 0 to 2·half-1 of which the weight of largest magnitude has level 0. The fifth
// bits are stored from byte high on, if there are any.
func (k *neon) quantizeSigned(name string, bytes, half, high, low int) {
	var count, four, divisor, above, top, fifteen, sixteen, bits v
	setup := func(b *laneBlock) {
		count, four = k.each(func(i int) int { return (1 - min(i%4, 1)) * (i / 4) }), k.bits(4)
		divisor, above, top = k.constant(float32(-half)), k.constant(float32(half)+0.5), k.bits(uint32(2*half-1))
		if high > 0 {
			fifteen, sixteen = k.byteConstant(15), k.byteConstant(16)
			bits = k.each(func(i int) int { return 1 << (i % 8) })
		}
	}
	k.quantizeBlocks(name, bytes, setup, func(b *laneBlock) {
		b.reach()
		b.peak(count, four)
		b.scale(divisor)
		for _, x := range b.x {
			k.fmul(x, x, b.inverse)
			k.fadd(x, x, above)
			b.truncate(x)
			k.shiftLeft(x, x, 24)
			k.sshr(x, x, 24)
			k.smin(x, x, top)
		}
		k.lowBytes(b.x[:4])
		k.lowBytes(b.x[4:])
		first, second := b.x[0], b.x[4]
		if high > 0 {
			for i, x := range []v{first, second} {
				k.bytesOp("VCMTST", sixteen, x, b.x[1+i])
				k.and(b.x[1+i], b.x[1+i], bits)
			}
			k.addpBytes(b.x[1], b.x[1], b.x[2])
			k.addpBytes(b.x[1], b.x[1], b.x[1])
			k.addpBytes(b.x[1], b.x[1], b.x[1])
			k.op("FMOVS", fmt.Sprintf("F%d", int(b.x[1])), fmt.Sprintf("%d(%s)", high, b.dst))
			k.and(first, first, fifteen)
		}
		k.byteShift("VSHL", 4, second, second)
		k.or(first, first, second)
		k.op("FMOVQ", fmt.Sprintf("F%d", int(first)), fmt.Sprintf("%d(%s)", low, b.dst))
	})
}

// addpBytes adds neighbouring bytes of n, and of m behind.
func (k *neon) addpBytes(d, n, m v) {
	k.word(0x4e20bc00|uint32(m)<<16|uint32(n)<<5|uint32(d), "ADDP V%d.16B, V%d.16B, V%d.16B", d, n, m)
}

// sixteenAtATime writes a kernel over 16 numbers, which become as many of 16 bits in h.
func (k *neon) sixteenAtATime(name, doc string, setup func(), body func(x []v, h [2]v)) {
	k.kernel("quantize"+name, "(blocks int, dst *uint8, src *float32)", doc)
	blocks, dst, src := k.param("blocks"), k.param("dst"), k.param("src")
	x, h := k.vecs(4), k.vecs(2)
	setup()
	k.loop("block", blocks, 1, func() {
		k.load(src, x)
		k.scoped(func() { body(x, [2]v(h)) })
		k.storePair(h[0], h[1], dst, 0)
		k.op("ADD", "$32", dst)
	})
	k.op("RET")
}

// quantizeF16 rounds to half precision. A NaN becomes the plain quiet one of its sign, which its magnitude is made
// before.
func (k *neon) quantizeF16() {
	var signs, quiet v
	k.sixteenAtATime("F16", "dst = src in half precision, 16 numbers a block", func() {
		signs, quiet = k.bits(1<<31), k.bits(0x7fc00000)
	}, func(x []v, h [2]v) {
		nan, plain := k.vec(), k.vec()
		for i, x := range x {
			k.fcmeq(nan, x, x)
			k.not(nan, nan)
			k.and(plain, x, signs)
			k.or(plain, plain, quiet)
			k.bit(x, plain, nan)
			if i%2 == 0 {
				k.fcvtnHalf(h[i/2], x)
			} else {
				k.fcvtnHalf2(h[i/2], x)
			}
		}
	})
}

// quantizeBF16 rounds to bfloat16, ties to even. A NaN keeps its upper bits and is made quiet.
func (k *neon) quantizeBF16() {
	var one, most, quiet v
	k.sixteenAtATime("BF16", "dst = src as bfloat16, 16 numbers a block", func() {
		one, most, quiet = k.bits(1), k.bits(0x7fff), k.bits(0x00400000)
	}, func(x []v, h [2]v) {
		nan, plain, odd := k.vec(), k.vec(), k.vec()
		for _, x := range x {
			k.fcmeq(nan, x, x)
			k.not(nan, nan)
			k.or(plain, x, quiet)
			k.shiftRight(odd, x, 16)
			k.and(odd, odd, one)
			k.add(x, x, odd)
			k.add(x, x, most)
			k.bit(x, plain, nan)
			k.shiftRight(x, x, 16)
		}
		k.lowHalves(x[0], x[1], h[0], "H8")
		k.lowHalves(x[2], x[3], h[1], "H8")
	})
}
