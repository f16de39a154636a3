package main

import "fmt"

// neonDequantizeFile holds the loops that turn blocks into float32. Each product is rounded before anything is added to
// it.
func neonDequantizeFile(k *neon) {
	k.dequantizeF16()
	k.dequantizeBF16()
	k.dequantizeQ8_0()
	k.dequantizeQ4_0()
	k.dequantizeAffine("Q4_K", 144, 0)
	k.dequantizeAffine("Q5_K", 176, 16)
	k.dequantizeQ6_K()
	k.dequantizeFives("Q4_1", 20, fives{levels: 4})
	k.dequantizeFives("Q5_0", 22, fives{levels: 6, offset: 16, fifth: 2})
	k.dequantizeFives("Q5_1", 24, fives{levels: 8, fifth: 4})
	for _, f := range []func(){
		k.dequantizeQ2_K, k.dequantizeQ3_K, k.dequantizeTQ1_0, k.dequantizeTQ2_0, k.dequantizeQ1_0, k.dequantizeQ2_0,
		k.dequantizeIQ4_NL, k.dequantizeIQ4_XS, k.dequantizeMXFP4, k.dequantizeNVFP4,
		k.dequantizeIQ1_S, k.dequantizeIQ1_M, k.dequantizeIQ2_XXS, k.dequantizeIQ2_XS, k.dequantizeIQ2_S,
		k.dequantizeIQ3_XXS, k.dequantizeIQ3_S,
	} {
		f()
	}
}

// A dequantizer writes a kernel over blocks.
type dequantizer struct {
	*neon
	dst, src, at r
	half         [2]v // memory of widen
	word         []v  // 16 levels, and then weights
}

// dequantize runs body for each block of so many bytes. body is to store all weights in order.
func (k *neon) dequantize(name string, bytes int, setup func(d *dequantizer), body func(d *dequantizer)) {
	k.kernel("dequantize"+name, "(blocks int, dst *float32, src *uint8)", "dst = the weights of the blocks of "+name)
	blocks := k.param("blocks")
	d := &dequantizer{neon: k, dst: k.param("dst"), src: k.param("src"), at: k.gp(), half: [2]v(k.vecs(2)),
		word: k.vecs(4)}
	if setup != nil {
		setup(d)
	}
	k.loop("block", blocks, 1, func() {
		body(d)
		k.op("ADD", fmt.Sprintf("$%d", bytes), d.src)
	})
	k.op("RET")
}

// The instructions of two registers of different widths.

func (k *neon) widening(encoding uint32, name string, d, n v, to, from string) {
	k.word(encoding|uint32(n)<<5|uint32(d), "%s V%d.%s, V%d.%s", name, d, to, n, from)
}

// fcvtlHalf makes float32s of the lower four half precision numbers, fcvtlHalf2 of the upper four.
func (k *neon) fcvtlHalf(d, n v)  { k.widening(0x0e217800, "FCVTL", d, n, "4S", "4H") }
func (k *neon) fcvtlHalf2(d, n v) { k.widening(0x4e217800, "FCVTL2", d, n, "4S", "8H") }

// sxtl widens the lower half of signed numbers, sxtl2 the upper one.
func (k *neon) sxtlByte(d, n v)  { k.widening(0x0f08a400, "SXTL", d, n, "8H", "8B") }
func (k *neon) sxtlByte2(d, n v) { k.widening(0x4f08a400, "SXTL2", d, n, "8H", "16B") }
func (k *neon) sxtlHalf(d, n v)  { k.widening(0x0f10a400, "SXTL", d, n, "4S", "4H") }
func (k *neon) sxtlHalf2(d, n v) { k.widening(0x4f10a400, "SXTL2", d, n, "4S", "8H") }

// bytesAt loads registers from a place in the block.
func (d *dequantizer) bytesAt(disp int, x ...v) {
	d.op("ADD", fmt.Sprintf("$%d", disp), d.src, d.at)
	for i := 0; i < len(x); i += 2 {
		d.op("VLD1.P", fmt.Sprintf("32(%s)", d.at), fmt.Sprintf("[%s, %s]", b16(x[i]), b16(x[i+1])))
	}
}

// scale fills a register with the half precision number in the block.
func (d *dequantizer) scale(x v, disp int) {
	at := d.src
	if disp > 0 {
		d.op("ADD", fmt.Sprintf("$%d", disp), d.src, d.at)
		at = d.at
	}
	d.op("VLD1R", fmt.Sprintf("(%s)", at), "["+x.String()+".H8]")
	d.fcvtlHalf(x, x)
}

// lane fills a register with lane i of another.
func (d *dequantizer) lane(x, from v, i int) {
	d.op("VDUP", fmt.Sprintf("%s.S[%d]", from, i), x.s4())
}

// words makes the integers of 16 signed bytes.
func (d *dequantizer) words(q v, to []v) {
	d.sxtlByte(d.half[0], q)
	d.sxtlByte2(d.half[1], q)
	for i, h := range d.half {
		d.sxtlHalf(to[2*i], h)
		d.sxtlHalf2(to[2*i+1], h)
	}
}

// floats makes the float32s of 16 signed bytes.
func (d *dequantizer) floats(q v, to []v) {
	d.words(q, to)
	for _, w := range to {
		d.scvtf(w, w)
	}
}

// put stores 16 signed bytes times a scale, and plus add where that is there.
func (d *dequantizer) put(q, scale v, add ...v) {
	d.floats(q, d.word)
	for _, w := range d.word {
		d.fmul(w, w, scale)
		for _, a := range add {
			d.fadd(w, w, a)
		}
	}
	d.store(d.word, d.dst)
}

// The instructions of bytes.

func (k *neon) byteShift(name string, n int, x, d v) {
	k.op(name, fmt.Sprintf("$%d", n), b16(x), b16(d))
}
func (k *neon) bytesOp(name string, m, n, d v) { k.op(name, b16(m), b16(n), b16(d)) }

// byteConstant fills a register with a byte.
func (k *neon) byteConstant(x int) v {
	y := k.vec()
	k.op("VMOVI", fmt.Sprintf("$%d", x), b16(y))
	return y
}

func (k *neon) dequantizeF16() {
	var h []v
	k.dequantize("F16", 32, func(d *dequantizer) { h = k.vecs(2) }, func(d *dequantizer) {
		d.bytesAt(0, h...)
		for i, x := range h {
			k.fcvtlHalf(d.word[2*i], x)
			k.fcvtlHalf2(d.word[2*i+1], x)
		}
		k.store(d.word, d.dst)
	})
}

func (k *neon) dequantizeBF16() {
	var h []v
	k.dequantize("BF16", 32, func(d *dequantizer) { h = k.vecs(2) }, func(d *dequantizer) {
		d.bytesAt(0, h...)
		for i, x := range h {
			k.op("VUXTL", x.String()+".H4", d.word[2*i].s4())
			k.op("VUXTL2", x.String()+".H8", d.word[2*i+1].s4())
		}
		for _, w := range d.word {
			k.op("VSHL", "$16", w.s4(), w.s4())
		}
		k.store(d.word, d.dst)
	})
}

func (k *neon) dequantizeQ8_0() {
	var q []v
	var scale v
	k.dequantize("Q8_0", 34, func(d *dequantizer) { q, scale = k.vecs(2), k.vec() }, func(d *dequantizer) {
		d.scale(scale, 0)
		d.bytesAt(2, q...)
		for _, x := range q {
			d.put(x, scale)
		}
	})
}

func (k *neon) dequantizeQ4_0() {
	var q, scale, low, eight v
	setup := func(d *dequantizer) {
		q, scale, low, eight = k.vec(), k.vec(), k.byteConstant(15), k.byteConstant(8)
	}
	k.dequantize("Q4_0", 18, setup, func(d *dequantizer) {
		d.scale(scale, 0)
		k.op("ADD", "$2", d.src, d.at)
		k.op("VLD1", fmt.Sprintf("(%s)", d.at), "["+b16(q)+"]")
		level := d.word[0]
		k.bytesOp("VAND", low, q, level)
		k.bytesOp("VSUB", eight, level, level)
		d.put(level, scale)
		k.byteShift("VUSHR", 4, q, q)
		k.bytesOp("VSUB", eight, q, q)
		d.put(q, scale)
	})
}

// dequantizeAffine is a format of super-blocks of eight groups of 32 levels, in pairs of groups that share 32 bytes for
// the low four bits. The fifth bits, if there are any, are in the 32 bytes from high on.
func (k *neon) dequantizeAffine(name string, bytes, high int) {
	var q, fifth, scales, minima []v
	var level, low, bit, scale, add v
	setup := func(d *dequantizer) {
		q, fifth, scales, minima = k.vecs(2), k.vecs(2), k.vecs(2), k.vecs(2)
		level, low, bit, scale, add = k.vec(), k.byteConstant(15), k.byteConstant(16), k.vec(), k.vec()
	}
	levels := 16
	if high > 0 {
		levels += 32
	}
	k.dequantize(name, bytes, setup, func(d *dequantizer) {
		d.affineScales(scales, minima, scale)
		if high > 0 {
			d.bytesAt(high, fifth...)
		}
		for group := range 8 {
			if group%2 == 0 {
				d.bytesAt(levels+16*group, q...)
			}
			d.lane(scale, scales[group/4], group%4)
			d.lane(add, minima[group/4], group%4)
			for i, x := range q {
				if group%2 == 0 {
					k.bytesOp("VAND", low, x, level)
				} else {
					k.byteShift("VUSHR", 4, x, level)
				}
				if high > 0 {
					d.addBit(level, fifth[i], bit, 4-group)
				}
				d.put(level, scale, add)
			}
		}
	})
}

// addBit adds the one bit of bit to level, from bytes that are shifted so far to the left.
func (d *dequantizer) addBit(level, from, bit v, left int) {
	t := d.word[0]
	switch {
	case left > 0:
		d.byteShift("VSHL", left, from, t)
	case left < 0:
		d.byteShift("VUSHR", -left, from, t)
	default:
		d.move(from, t)
	}
	d.bytesOp("VAND", bit, t, t)
	d.bytesOp("VORR", t, level, level)
}

// affineCodes gives each the eight scales, and then the eight minima, that the head of a super-block says, as the first
// eight bytes of a register.
func (d *dequantizer) affineCodes(each func(i int, q v)) {
	a, b, c, t := "R17", "R19", "R20", "R21"
	for i, name := range []string{a, b, c} {
		d.op("MOVWU", fmt.Sprintf("%d(%s)", 4+4*i, d.src), name)
	}
	for i, from := range []string{a, b} {
		d.op("LSR", "$2", from, t)
		d.op("AND", "$0x30303030", t)
		d.op("AND", "$0x3f3f3f3f", from)
		if i == 1 {
			d.op("LSR", "$4", c)
		}
		d.op("AND", "$0x0f0f0f0f", c, "R16")
		d.op("ORR", "R16", t)
		d.op("ORR", t+"<<32", from)
		q := d.word[0]
		d.op("FMOVD", from, fmt.Sprintf("F%d", int(q)))
		each(i, q)
	}
}

// affineScales makes the eight scales and the negative minima.
func (d *dequantizer) affineScales(scales, minima []v, half v) {
	d.affineCodes(func(i int, q v) {
		to := [][]v{scales, minima}[i]
		d.sxtlByte(d.half[0], q)
		d.sxtlHalf(to[0], d.half[0])
		d.sxtlHalf2(to[1], d.half[0])
		d.scale(half, 2*i)
		for _, x := range to {
			d.scvtf(x, x)
			d.fmul(x, x, half)
			if i == 1 {
				d.fneg(x, x)
			}
		}
	})
}

func (k *neon) dequantizeQ6_K() {
	const highAt, scalesAt, dAt = 128, 192, 208
	var low, high, scales []v
	var level, scale, four, two, offset v
	setup := func(d *dequantizer) {
		low, high, scales = k.vecs(4), k.vecs(2), k.vecs(4)
		level, scale = k.vec(), k.vec()
		four, two, offset = k.byteConstant(15), k.byteConstant(0x30), k.byteConstant(32)
	}
	k.dequantize("Q6_K", 210, setup, func(d *dequantizer) {
		d.scale(scale, dAt)
		k.op("ADD", fmt.Sprintf("$%d", scalesAt), d.src, d.at)
		k.op("VLD1", fmt.Sprintf("(%s)", d.at), "["+b16(level)+"]")
		d.floats(level, scales)
		for _, x := range scales {
			k.fmul(x, x, scale)
		}
		for half := range 2 {
			d.bytesAt(64*half, low...)
			d.bytesAt(highAt+32*half, high...)
			for group := range 8 {
				x := low[group%4]
				if group < 4 {
					k.bytesOp("VAND", four, x, level)
				} else {
					k.byteShift("VUSHR", 4, x, level)
				}
				d.addBit(level, high[group%2], two, 4-group/2*2)
				k.bytesOp("VSUB", offset, level, level)
				at := 8*half + group
				d.lane(scale, scales[at/4], at%4)
				d.put(level, scale)
			}
		}
	})
}
