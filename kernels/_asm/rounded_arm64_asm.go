package main

import "fmt"

// Products of blocks with a row of 8-bit integers, by SDOT. The records of such rows are those of kernels/rounded.go.

func neonRoundedFile(k *neon) {
	k.productsQ8_0()
	k.productsFives("Q4_0", 18, fives{levels: 2, offset: 8})
	k.productsFives("Q4_1", 20, fives{levels: 4})
	k.productsFives("Q5_0", 22, fives{levels: 6, offset: 16, fifth: 2})
	k.productsFives("Q5_1", 24, fives{levels: 8, fifth: 4})
	k.productsValues("IQ4_NL", 18, 2, valuesIQ4)
	k.productsValues("MXFP4", 17, 1, halvesE2M1)
	k.productsAffine("Q4_K", 144, 16, 0)
	k.productsAffine("Q5_K", 176, 48, 16)
	k.productsQ6_K()
	k.productsIQ4_XS()
}

// sdot adds to each int32 the products of four bytes of n and m.
func (k *neon) sdot(d, n, m v) { k.accumulate(0x4e809400, "SDOT", d, n, m, "16B") }

// mlaElement is d += n * m[i] of int32s.
func (k *neon) mlaElement(d, n, m v, i int) {
	encoding := 0x6f800000 | uint32(i&1)<<21 | uint32(i>>1)<<11 | uint32(m)<<16 | uint32(n)<<5 | uint32(d)
	k.word(encoding, "MLA V%d.4S, V%d.4S, V%d.S[%d]", d, n, m, i)
}

// smull is the products of the lower four int16s, smlal2 adds those of the upper four.
func (k *neon) smull(d, n, m v) {
	k.word(0x0e60c000|uint32(m)<<16|uint32(n)<<5|uint32(d), "SMULL V%d.4S, V%d.4H, V%d.4H", d, n, m)
}
func (k *neon) smlal2(d, n, m v) {
	k.word(0x4e608000|uint32(m)<<16|uint32(n)<<5|uint32(d), "SMLAL2 V%d.4S, V%d.8H, V%d.8H", d, n, m)
}

// rowProducts is a kernel at work on a block of weights.
type rowProducts struct {
	*dequantizer
	row    r // the record of the row
	acc    v // four sums
	ints   v // those of a block
	factor v
	x      []v // codes of the row
}

// rowProducts writes the kernel of a format. body is run for each block.
func (k *neon) rowProducts(name string, bytes, record int, setup func(d *dequantizer), body func(p *rowProducts)) {
	k.kernel("products"+name, "(rows, blocks int, w *uint8, x *byte, y *float32)", "y[r] = row r of the blocks, times x.")
	rows, blocks, x, y, count := k.param("rows"), k.param("blocks"), k.param("x"), k.param("y"), k.gp()
	d := &dequantizer{neon: k, src: k.param("w"), at: k.gp(), half: [2]v(k.vecs(2)), word: k.vecs(4)}
	p := &rowProducts{dequantizer: d, row: k.gp(), acc: k.vec(), ints: k.vec(), factor: k.vec(), x: k.vecs(2)}
	if setup != nil {
		setup(d)
	}
	k.loop("row", rows, 1, func() {
		k.op("MOVD", blocks, count)
		k.op("MOVD", x, p.row)
		k.zero(p.acc)
		k.loop("block", count, 1, func() {
			body(p)
			k.op("ADD", fmt.Sprintf("$%d", bytes), d.src)
			k.op("ADD", fmt.Sprintf("$%d", record), p.row)
		})
		k.faddp(p.acc, p.acc, p.acc)
		k.faddp(p.acc, p.acc, p.acc)
		k.op("FMOVS.P", fmt.Sprintf("F%d", int(p.acc)), fmt.Sprintf("4(%s)", y))
	})
	k.op("RET")
}

// times adds to ints the products of 32 codes with those of the row from number i on.
func (p *rowProducts) times(i int, codes []v) {
	p.loadPair(p.row, i, p.x[0], p.x[1])
	p.sdot(p.ints, codes[0], p.x[0])
	p.sdot(p.ints, codes[1], p.x[1])
}

// stepTimes multiplies scale by the step of the row.
func (p *rowProducts) stepTimes(scale v, disp int) {
	t := p.word[3]
	p.op("ADD", fmt.Sprintf("$%d", disp), p.row, p.at)
	p.op("VLD1R", fmt.Sprintf("(%s)", p.at), "["+t.s4()+"]")
	p.fmul(scale, scale, t)
}

// take adds the sums of a block, times a scale.
func (p *rowProducts) take(scale v) {
	p.scvtf(p.ints, p.ints)
	p.fmla(p.acc, p.ints, scale)
}

// small adds the product of a block of 32 weights. scale is there.
func (p *rowProducts) small(codes []v) {
	p.zero(p.ints)
	p.times(0, codes)
	p.stepTimes(p.factor, smallStep)
	p.take(p.factor)
}

func (k *neon) productsQ8_0() {
	var q []v
	k.rowProducts("Q8_0", 34, smallRecord, func(*dequantizer) { q = k.vecs(2) }, func(p *rowProducts) {
		p.scale(p.factor, 0)
		p.bytesAt(2, q...)
		p.small(q)
	})
}

func (k *neon) productsFives(name string, bytes int, f fives) {
	k.rowProducts(name, bytes, smallRecord, f.setup, func(p *rowProducts) {
		p.scale(p.factor, 0)
		p.small(f.codes(p.dequantizer))
		if f.offset == 0 { // the minimum, times the sum of the row's numbers, in one lane
			p.scale(f.add, 2)
			p.op("FMOVS", fmt.Sprintf("%d(%s)", smallSum, p.row), fmt.Sprintf("F%d", int(p.ints)))
			p.fmla(p.acc, p.ints, f.add)
		}
	})
}

// productsValues is a format whose levels stand for the values of a table.
func (k *neon) productsValues(name string, bytes, levels int, of [16]int8) {
	var q, t, fifteen, table v
	setup := func(*dequantizer) { q, t, fifteen, table = k.vec(), k.vec(), k.byteConstant(15), k.sixteen(of) }
	k.rowProducts(name, bytes, smallRecord, setup, func(p *rowProducts) {
		if levels == 1 {
			p.scaleE8M0(p.factor)
		} else {
			p.scale(p.factor, 0)
		}
		p.quad(q, levels)
		p.values(q, fifteen, table, t)
		p.small([]v{t, q})
	})
}

// group adds the products of 32 weights of a super-block, times scale number n.
func (p *rowProducts) group(n int, codes []v, sum v, scales []v) {
	p.zero(p.ints)
	p.times(32*n, codes)
	p.mlaElement(sum, p.ints, scales[n/4], n%4)
}

// super takes the sum of a super-block, times its scale at disp.
func (p *rowProducts) super(sum v, disp int) {
	p.scale(p.factor, disp)
	p.stepTimes(p.factor, superStep)
	p.move(sum, p.ints)
	p.take(p.factor)
}

// productsAffine is a format of eight groups of 32 levels with scales and minima.
func (k *neon) productsAffine(name string, bytes, levels, high int) {
	var q, fifth, scales, level []v
	var sum, less, low, bit v
	setup := func(*dequantizer) {
		q, fifth, scales, level = k.vecs(2), k.vecs(2), k.vecs(2), k.vecs(2)
		sum, less, low = k.vec(), k.vec(), k.byteConstant(15)
		if high > 0 {
			bit = k.byteConstant(16)
		}
	}
	k.rowProducts(name, bytes, superRecord, setup, func(p *rowProducts) {
		p.affineCodes(func(i int, code v) {
			p.sxtlByte(p.half[0], code)
			if i == 0 {
				p.sxtlHalf(scales[0], p.half[0])
				p.sxtlHalf2(scales[1], p.half[0])
				return
			}
			k.fetch(p.half[1], p.row, superSums32)
			k.smull(less, p.half[0], p.half[1])
			k.smlal2(less, p.half[0], p.half[1])
		})
		if high > 0 {
			p.bytesAt(high, fifth...)
		}
		k.zero(sum)
		for group := range 8 {
			if group%2 == 0 {
				p.bytesAt(levels+16*group, q...)
			}
			for i, x := range q {
				if group%2 == 0 {
					p.bytesOp("VAND", low, x, level[i])
				} else {
					p.byteShift("VUSHR", 4, x, level[i])
				}
				if high > 0 {
					p.addBit(level[i], fifth[i], bit, 4-group)
				}
			}
			p.group(group, level, sum, scales)
		}
		p.super(sum, 0)
		p.scale(p.factor, 2)
		p.stepTimes(p.factor, superStep)
		k.scvtf(less, less)
		k.fmls(p.acc, less, p.factor)
	})
}

func (k *neon) productsQ6_K() {
	const highAt, scalesAt, dAt = 128, 192, 208
	var low, high, scales []v
	var level, sum, four, two, offset v
	setup := func(*dequantizer) {
		low, high, scales = k.vecs(4), k.vecs(2), k.vecs(4)
		level, sum, four, two, offset = k.vec(), k.vec(), k.byteConstant(15), k.byteConstant(0x30), k.byteConstant(32)
	}
	k.rowProducts("Q6_K", 210, superRecord, setup, func(p *rowProducts) {
		p.quad(level, scalesAt)
		p.words(level, scales)
		k.zero(sum)
		for half := range 2 {
			p.bytesAt(64*half, low...)
			p.bytesAt(highAt+32*half, high...)
			for group := range 8 {
				x := low[group%4]
				if group < 4 {
					p.bytesOp("VAND", four, x, level)
				} else {
					p.byteShift("VUSHR", 4, x, level)
				}
				p.addBit(level, high[group%2], two, 4-group/2*2)
				p.bytesOp("VSUB", offset, level, level)
				at := 8*half + group
				k.zero(p.ints)
				k.fetch(p.x[0], p.row, 16*at)
				k.sdot(p.ints, level, p.x[0])
				k.mlaElement(sum, p.ints, scales[at/4], at%4)
			}
		}
		p.super(sum, dAt)
	})
}

func (k *neon) productsIQ4_XS() {
	var q, t, sum, fifteen, table v
	var scales []v
	var c scalesIQ4_XS
	setup := func(*dequantizer) {
		q, t, sum, fifteen, table = k.vec(), k.vec(), k.vec(), k.byteConstant(15), k.sixteen(valuesIQ4)
		c, scales = k.newScalesIQ4_XS(), k.vecs(4)
	}
	k.rowProducts("IQ4_XS", 136, superRecord, setup, func(p *rowProducts) {
		c.codes(p.dequantizer, q, t, fifteen)
		p.words(t, scales)
		k.zero(sum)
		for i := range 8 {
			p.quad(q, 8+16*i)
			p.values(q, fifteen, table, t)
			p.group(i, []v{t, q}, sum, scales)
		}
		p.super(sum, 0)
	})
}
