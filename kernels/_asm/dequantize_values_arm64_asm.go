package main

import (
	"fmt"
	"math"
)

// The formats of four-bit levels that stand for the values of a table, and those of nibbles with a fifth bit.

// sixteen fills a register with bytes.
func (k *neon) sixteen(b [16]int8) v {
	x := k.vec()
	for half := range 2 {
		var word uint64
		for i, b := range b[8*half : 8*half+8] {
			word |= uint64(uint8(b)) << (8 * i)
		}
		k.op("MOVD", fmt.Sprintf("$0x%016x", word), "R16")
		k.op("VMOV", "R16", fmt.Sprintf("%s.D[%d]", x, half))
	}
	return x
}

// each fills a register with f of each byte's number.
func (k *neon) each(f func(i int) int) v {
	var b [16]int8
	for i := range b {
		b[i] = int8(f(i))
	}
	return k.sixteen(b)
}

// quad loads 16 bytes at a place in the block, double 8 and single 4, with zeros above.
func (d *dequantizer) quad(x v, disp int)   { d.fetch("FMOVQ", x, disp) }
func (d *dequantizer) double(x v, disp int) { d.fetch("FMOVD", x, disp) }
func (d *dequantizer) single(x v, disp int) { d.fetch("FMOVS", x, disp) }

func (d *dequantizer) fetch(op string, x v, disp int) {
	d.op(op, fmt.Sprintf("%d(%s)", disp, d.src), fmt.Sprintf("F%d", int(x)))
}

// look is to = the bytes of table at index.
func (k *neon) look(index, table, to v) { k.op("VTBL", b16(index), "["+b16(table)+"]", b16(to)) }

// nibbles are the low and the high four bits of q, which may be high.
func (d *dequantizer) nibbles(q, fifteen, low, high v) {
	d.bytesOp("VAND", fifteen, q, low)
	d.byteShift("VUSHR", 4, q, high)
}

// USHL shifts by the signed bytes, or words, of m.
func (k *neon) ushlBytes(d, n, m v) {
	k.word(0x6e204400|uint32(m)<<16|uint32(n)<<5|uint32(d), "USHL V%d.16B, V%d.16B, V%d.16B", d, n, m)
}
func (k *neon) ushl(d, n, m v) { k.three(0x6ea04400, "USHL", d, n, m) }

// spread keeps what it takes to make a byte of each of 16 bits: their two bytes are number 0 and 1, or 2 and 3, of the
// register.
type spread struct {
	*neon
	first, second, bit v
}

func (k *neon) newSpread() spread {
	return spread{k, k.each(func(i int) int { return i / 8 }), k.each(func(i int) int { return 2 + i/8 }),
		k.each(func(i int) int { return 1 << (i % 8) })}
}

// mask sets to to 255 where the bit is set.
func (s spread) mask(bits v, half int, to v) {
	s.look([]v{s.first, s.second}[half], bits, to)
	s.bytesOp("VCMTST", s.bit, to, to)
}

// fives is a format of 32 levels less an offset. Where that is 0, the block has a minimum. The levels have four bits,
// and a fifth from byte fifth on, if that is not 0.
type fives struct {
	levels, offset, fifth                            int
	q, level, scale, add, fifteen, less, bits, bit16 v
	spread                                           spread
}

func (f *fives) setup(d *dequantizer) {
	f.q, f.level, f.scale, f.add, f.fifteen = d.vec(), d.vec(), d.vec(), d.vec(), d.byteConstant(15)
	if f.offset > 0 {
		f.less = d.byteConstant(f.offset)
	}
	if f.fifth > 0 {
		f.bits, f.bit16, f.spread = d.vec(), d.byteConstant(16), d.newSpread()
	}
}

// codes sets two registers to the levels, less the offset.
func (f *fives) codes(d *dequantizer) []v {
	d.quad(f.q, f.levels)
	if f.fifth > 0 {
		d.single(f.bits, f.fifth)
	}
	d.nibbles(f.q, f.fifteen, f.level, f.q)
	codes := []v{f.level, f.q}
	for half, x := range codes {
		if f.fifth > 0 {
			t := d.word[0]
			f.spread.mask(f.bits, half, t)
			d.bytesOp("VAND", f.bit16, t, t)
			d.bytesOp("VORR", t, x, x)
		}
		if f.offset > 0 {
			d.bytesOp("VSUB", f.less, x, x)
		}
	}
	return codes
}

func (k *neon) dequantizeFives(name string, bytes int, f fives) {
	k.dequantize(name, bytes, f.setup, func(d *dequantizer) {
		d.scale(f.scale, 0)
		var plus []v
		if f.offset == 0 {
			d.scale(f.add, 2)
			plus = []v{f.add}
		}
		for _, x := range f.codes(d) {
			d.put(x, f.scale, plus...)
		}
	})
}

// values sets t to the values of the low nibbles of q, and q to those of the high ones.
func (d *dequantizer) values(q, fifteen, table, t v) {
	d.nibbles(q, fifteen, t, q)
	d.look(t, table, t)
	d.look(q, table, q)
}

// putValues stores the values of the low and then of the high nibbles of q.
func (d *dequantizer) putValues(q, fifteen, table, scale, t v) {
	d.values(q, fifteen, table, t)
	d.put(t, scale)
	d.put(q, scale)
}

func (k *neon) dequantizeIQ4_NL() {
	var q, t, scale, fifteen, table v
	setup := func(d *dequantizer) {
		q, t, scale, fifteen, table = k.vec(), k.vec(), k.vec(), k.byteConstant(15), k.sixteen(valuesIQ4)
	}
	k.dequantize("IQ4_NL", 18, setup, func(d *dequantizer) {
		d.scale(scale, 0)
		d.quad(q, 2)
		d.putValues(q, fifteen, table, scale, t)
	})
}

// scalesIQ4_XS makes the scales of four bits each of a word and two bits each of half a word.
type scalesIQ4_XS struct{ three, offset, quarter, shift v }

func (k *neon) newScalesIQ4_XS() scalesIQ4_XS {
	return scalesIQ4_XS{k.byteConstant(3), k.byteConstant(32), k.each(func(i int) int { return i / 4 }),
		k.each(func(i int) int { return -i % 4 * 2 })}
}

// codes sets the first eight bytes of t to the scales. q is overwritten.
func (c scalesIQ4_XS) codes(d *dequantizer, q, t, fifteen v) {
	d.single(q, 0) // d, and the high bits behind it
	d.op("VEXT", "$2", b16(q), b16(q), b16(q))
	d.look(c.quarter, q, q)
	d.ushlBytes(q, q, c.shift)
	d.bytesOp("VAND", c.three, q, q)
	d.byteShift("VSHL", 4, q, q)
	low := d.half[0]
	d.single(low, 4)
	d.nibbles(low, fifteen, t, low)
	d.op("VZIP1", b16(low), b16(t), b16(t))
	d.bytesOp("VORR", q, t, t)
	d.bytesOp("VSUB", c.offset, t, t)
}

func (k *neon) dequantizeIQ4_XS() {
	var q, t, scale, fifteen, table v
	var scales []v
	var c scalesIQ4_XS
	setup := func(d *dequantizer) {
		q, t, scale, fifteen, table = k.vec(), k.vec(), k.vec(), k.byteConstant(15), k.sixteen(valuesIQ4)
		c, scales = k.newScalesIQ4_XS(), k.vecs(4)
	}
	k.dequantize("IQ4_XS", 136, setup, func(d *dequantizer) {
		c.codes(d, q, t, fifteen)
		d.floats(t, scales)
		d.scale(scale, 0)
		for _, x := range scales[:2] {
			d.fmul(x, x, scale)
		}
		for i := range 8 {
			d.quad(q, 8+16*i)
			d.lane(scale, scales[i/4], i%4)
			d.putValues(q, fifteen, table, scale, t)
		}
	})
}

// scaleE8M0 fills a register with the scale that the first byte says: a power of two, halved because levels are counted
// in halves. Of 2^(e-128) the two least are not normal.
func (d *dequantizer) scaleE8M0(scale v) {
	d.op("MOVBU", fmt.Sprintf("(%s)", d.src), "R16")
	d.op("SUB", "$1", "R16", "R17")
	d.op("LSL", "$23", "R17")
	d.op("MOVD", "$0x00200000", "R19")
	d.op("LSL", "R16", "R19")
	d.op("CMP", "$2", "R16")
	d.op("CSEL", "LO", "R19", "R17", "R17")
	d.op("VDUP", "R17", scale.s4())
}

func (k *neon) dequantizeMXFP4() {
	var q, t, scale, fifteen, table v
	setup := func(d *dequantizer) {
		q, t, scale, fifteen, table = k.vec(), k.vec(), k.vec(), k.byteConstant(15), k.sixteen(halvesE2M1)
	}
	k.dequantize("MXFP4", 17, setup, func(d *dequantizer) {
		d.scaleE8M0(scale)
		d.quad(q, 1)
		d.putValues(q, fifteen, table, scale, t)
	})
}

// dequantizeNVFP4 has scales of four bits of exponent and three of mantissa, halved as well. As the high bits of a
// float32 they are too small by a power of two. 127 is 0.
func (k *neon) dequantizeNVFP4() {
	var q, t, scale, fifteen, table, scales, seven, none, up v
	setup := func(d *dequantizer) {
		q, t, scale, fifteen, table = k.vec(), k.vec(), k.vec(), k.byteConstant(15), k.sixteen(halvesE2M1)
		scales, seven, none, up = k.vec(), k.bits(127), k.vec(), k.constant(float32(math.Ldexp(1, 119)))
	}
	k.dequantize("NVFP4", 36, setup, func(d *dequantizer) {
		d.single(scales, 0)
		d.op("VUXTL", scales.String()+".B8", scales.String()+".H8")
		d.op("VUXTL", scales.String()+".H4", scales.s4())
		d.op("VCMEQ", seven.s4(), scales.s4(), none.s4())
		d.bytesOp("VAND", seven, scales, scales)
		d.op("VSHL", "$20", scales.s4(), scales.s4())
		d.fmul(scales, scales, up)
		d.bic(scales, scales, none)
		for i := range 4 {
			d.double(q, 4+8*i)
			d.nibbles(q, fifteen, t, q)
			d.op("VZIP1", d2(q), d2(t), d2(t))
			d.look(t, table, t)
			d.lane(scale, scales, i)
			d.put(t, scale)
		}
	})
}

// The formats of super-blocks with levels of two or three bits, and those of levels of one bit or one of three values.

// crumbs gives the levels that are in two bits each of 64 bytes to each, in order, 16 at a time.
func (d *dequantizer) crumbs(at int, q []v, three, level v, each func(group int)) {
	for half := range 2 {
		d.bytesAt(at+32*half, q...)
		for n := range 4 {
			for i, x := range q {
				if n > 0 {
					d.byteShift("VUSHR", 2*n, x, level)
					x = level
				}
				if n < 3 {
					d.bytesOp("VAND", three, x, level)
				}
				each(8*half + 2*n + i)
			}
		}
	}
}

// dequantizeQ2_K makes scales and negative minima of the nibbles of the first 16 bytes.
func (k *neon) dequantizeQ2_K() {
	var q, scales, minima []v
	var level, scale, add, three, fifteen v
	setup := func(d *dequantizer) {
		q, scales, minima = k.vecs(2), k.vecs(4), k.vecs(4)
		level, scale, add, three, fifteen = k.vec(), k.vec(), k.vec(), k.byteConstant(3), k.byteConstant(15)
	}
	k.dequantize("Q2_K", 84, setup, func(d *dequantizer) {
		d.quad(q[0], 0)
		d.nibbles(q[0], fifteen, level, q[0])
		d.floats(level, scales)
		d.floats(q[0], minima)
		d.scale(scale, 80)
		d.scale(add, 82)
		for i := range scales {
			d.fmul(scales[i], scales[i], scale)
			d.fmul(minima[i], minima[i], add)
			d.fneg(minima[i], minima[i])
		}
		d.crumbs(16, q, three, level, func(group int) {
			d.lane(scale, scales[group/4], group%4)
			d.lane(add, minima[group/4], group%4)
			d.put(level, scale, add)
		})
	})
}

func (k *neon) dequantizeQ3_K() {
	var q, high, scales []v
	var level, scale, three, four v
	setup := func(d *dequantizer) {
		q, high, scales = k.vecs(2), k.vecs(2), k.vecs(4)
		level, scale, three, four = k.vec(), k.vec(), k.byteConstant(3), k.byteConstant(4)
	}
	k.dequantize("Q3_K", 110, setup, func(d *dequantizer) {
		d.scalesQ3_K(level, scales, scale)
		d.bytesAt(0, high...)
		d.crumbs(32, q, three, level, func(group int) {
			d.addBit(level, high[group%2], four, 2-group/2)
			d.bytesOp("VSUB", four, level, level)
			d.lane(scale, scales[group/4], group%4)
			d.put(level, scale)
		})
	})
}

// scalesQ3_K makes the sixteen scales: of eight, the low four bits are the low or the high nibbles of eight bytes; the
// high two bits come from four bytes more, spread to eight.
func (d *dequantizer) scalesQ3_K(level v, scales []v, scale v) {
	const at, dAt = 96, 108
	low, high, t, u := "R16", "R17", "R19", "R20"
	d.op("MOVD", fmt.Sprintf("%d(%s)", at, d.src), low)
	d.op("MOVWU", fmt.Sprintf("%d(%s)", at+8, d.src), high)
	d.op("ORR", high+"<<30", high)
	for i := range 2 {
		if i == 1 {
			d.op("LSR", "$4", low)
			d.op("LSR", "$4", high)
		}
		d.op("AND", "$0x0f0f0f0f0f0f0f0f", low, t)
		d.op("AND", "$0x0303030303030303", high, u)
		d.op("ORR", u+"<<4", t)
		if i == 0 { // clears the rest, so that it needs not wait for it
			d.op("FMOVD", t, fmt.Sprintf("F%d", int(level)))
		} else {
			d.op("VMOV", t, fmt.Sprintf("%s.D[%d]", level, i))
		}
	}
	d.op("VMOVI", "$32", b16(d.half[0]))
	d.bytesOp("VSUB", d.half[0], level, level)
	d.floats(level, scales)
	d.scale(scale, dAt)
	for _, x := range scales {
		d.fmul(x, x, scale)
	}
}

func (k *neon) dequantizeTQ2_0() {
	var q []v
	var level, scale, three, one v
	setup := func(d *dequantizer) {
		q, level, scale, three, one = k.vecs(2), k.vec(), k.vec(), k.byteConstant(3), k.byteConstant(1)
	}
	k.dequantize("TQ2_0", 66, setup, func(d *dequantizer) {
		d.scale(scale, 64)
		d.crumbs(0, q, three, level, func(int) {
			d.bytesOp("VSUB", one, level, level)
			d.put(level, scale)
		})
	})
}

// dequantizeTQ1_0 takes the levels of a byte out as the carries of multiplying by three.
func (k *neon) dequantizeTQ1_0() {
	var q []v
	var level, scale, one, last v
	setup := func(d *dequantizer) {
		q, level, scale, one, last = k.vecs(2), k.vec(), k.vec(), k.byteConstant(1), k.vec()
	}
	k.dequantize("TQ1_0", 54, setup, func(d *dequantizer) {
		d.scale(scale, 52)
		d.bytesAt(0, q...)
		for range 5 {
			for _, x := range q {
				d.trit(x, one, level)
				d.put(level, scale)
			}
		}
		d.quad(q[0], 32)
		for range 5 {
			d.trit(q[0], one, level)
			d.put(level, scale)
		}
		d.single(q[0], 48)
		for i := range 4 {
			d.trit(q[0], one, level)
			d.op("VMOV", level.String()+".S[0]", fmt.Sprintf("%s.S[%d]", last, i))
		}
		d.put(last, scale)
	})
}

// trit sets level to the carry of 3*rest less one, and rest to 3*rest without it.
func (d *dequantizer) trit(rest, one, level v) {
	d.byteShift("VUSHR", 1, rest, level)
	d.uhadd(level, rest, level)
	d.byteShift("VUSHR", 6, level, level)
	d.bytesOp("VSUB", one, level, level)
	t := d.word[0]
	d.bytesOp("VADD", rest, rest, t)
	d.bytesOp("VADD", t, rest, rest)
}

// uhadd is half the sum of bytes.
func (k *neon) uhadd(d, n, m v) {
	k.word(0x6e200400|uint32(m)<<16|uint32(n)<<5|uint32(d), "UHADD V%d.16B, V%d.16B, V%d.16B", d, n, m)
}

// dequantizeQ1_0 turns the sign of -d where a bit is set.
func (k *neon) dequantizeQ1_0() {
	var q, level, scale, index, two, bit, start v
	setup := func(d *dequantizer) {
		q, level, scale, index, two = k.vec(), k.vec(), k.vec(), k.vec(), k.byteConstant(2)
		start, bit = k.each(func(i int) int { return i / 8 }), k.each(func(i int) int { return 1 << (i % 8) })
	}
	k.dequantize("Q1_0", 18, setup, func(d *dequantizer) {
		d.scale(scale, 0)
		d.fneg(scale, scale)
		d.quad(q, 2)
		d.move(start, index)
		for range 8 {
			d.look(index, q, level)
			d.bytesOp("VADD", two, index, index)
			d.bytesOp("VCMTST", bit, level, level)
			d.words(level, d.word)
			for _, w := range d.word {
				d.op("VSHL", "$31", w.s4(), w.s4())
				d.bytesOp("VEOR", scale, w, w)
			}
			d.store(d.word, d.dst)
		}
	})
}

func (k *neon) dequantizeQ2_0() {
	var q, level, scale, index, start, four, shift, three, one v
	setup := func(d *dequantizer) {
		q, level, scale, index, four = k.vec(), k.vec(), k.vec(), k.vec(), k.byteConstant(4)
		start, shift = k.each(func(i int) int { return i / 4 }), k.each(func(i int) int { return -i % 4 * 2 })
		three, one = k.byteConstant(3), k.byteConstant(1)
	}
	k.dequantize("Q2_0", 18, setup, func(d *dequantizer) {
		d.scale(scale, 0)
		d.quad(q, 2)
		d.move(start, index)
		for range 4 {
			d.look(index, q, level)
			d.bytesOp("VADD", four, index, index)
			d.ushlBytes(level, level, shift)
			d.bytesOp("VAND", three, level, level)
			d.bytesOp("VSUB", one, level, level)
			d.put(level, scale)
		}
	})
}
