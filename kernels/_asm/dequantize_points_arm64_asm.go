package main

import "fmt"

// The formats of which the levels of four or eight weights are a point of a lattice. The points are given as the bytes
// that the levels stand for; none of those of IQ2 and IQ3 is 0.

// A pointDequantizer writes a kernel over super-blocks of points.
type pointDequantizer struct {
	*dequantizer
	size    int // weights of a point
	points  r
	level   v
	factor  v
	d       v
	scales  []v // of the groups
	signs   spread
	bits    v // of signs, 32
	fifteen v
}

// pointBlocks runs body for each super-block.
func (k *neon) pointBlocks(name string, bytes, size int, setup, body func(p *pointDequantizer)) {
	const signature = "(blocks int, dst *float32, src, points *uint8)"
	k.kernel("dequantize"+name, signature, "dst = the weights of the blocks of "+name)
	blocks := k.param("blocks")
	d := &dequantizer{neon: k, dst: k.param("dst"), src: k.param("src"), at: k.gp(), half: [2]v(k.vecs(2)),
		word: k.vecs(4)}
	p := &pointDequantizer{dequantizer: d, size: size, points: k.param("points"), level: k.vec(), factor: k.vec(),
		d: k.vec(), scales: k.vecs(4), signs: k.newSpread(), bits: k.vec(), fifteen: k.byteConstant(15)}
	setup(p)
	k.loop("block", blocks, 1, func() {
		body(p)
		k.op("ADD", fmt.Sprintf("$%d", bytes), d.src)
	})
	k.op("RET")
}

// byteOf and halfOf load an unsigned number from the block into a general register.
func (p *pointDequantizer) byteOf(disp int, to string) { p.op("MOVBU", p.place(disp), to) }
func (p *pointDequantizer) halfOf(disp int, to string) { p.op("MOVHU", p.place(disp), to) }

func (p *pointDequantizer) place(disp int) string { return fmt.Sprintf("%d(%s)", disp, p.src) }

// field is n bits of from, which begin with number at.
func (p *pointDequantizer) field(from string, at, n int, to string) {
	p.op("UBFX", fmt.Sprintf("$%d", at), from, fmt.Sprintf("$%d", n), to)
}

// insert puts the lowest n bits of from to those of to that begin with number at.
func (p *pointDequantizer) insert(from string, at, n int, to string) {
	p.op("BFI", fmt.Sprintf("$%d", at), from, fmt.Sprintf("$%d", n), to)
}

// load sets level to 16 weights, beginning with point number first; index sets R16 to the place of a point.
func (p *pointDequantizer) load(first int, index func(point int)) {
	for i := range 16 / p.size {
		index(first + i)
		if p.size == 8 {
			p.op("ADD", "R16<<3", p.points, "R16")
			p.part("FMOVD", "D", p.level, i)
		} else {
			p.op("ADD", "R16<<2", p.points, "R16")
			p.part("FMOVS", "S", p.level, i)
		}
	}
}

// part loads part number i of a register from R16. The first clears the others, so that it needs not wait for them.
func (p *pointDequantizer) part(whole, lane string, x v, i int) {
	if i == 0 {
		p.op(whole, "(R16)", fmt.Sprintf("F%d", int(x)))
		return
	}
	p.op("VLD1", "(R16)", fmt.Sprintf("%s.%s[%d]", x, lane, i))
}

// turn changes the signs of level where the bits of one half of bits are set.
func (p *pointDequantizer) turn(half int) {
	t := p.word[0]
	p.signs.mask(p.bits, half, t)
	p.bytesOp("VEOR", t, p.level, p.level)
	p.bytesOp("VSUB", t, p.level, p.level)
}

// putGroup stores level times scale number n.
func (p *pointDequantizer) putGroup(n int) {
	p.lane(p.factor, p.scales[n/4], n%4)
	p.put(p.level, p.factor)
}

// evenSigns sets bits to four times seven bits and an eighth that makes their number even. R17 has the seven bits in
// each byte.
func (p *pointDequantizer) evenSigns() {
	t := p.word[0]
	p.op("FMOVS", "R17", fmt.Sprintf("F%d", int(p.bits)))
	p.cnt(t, p.bits)
	p.byteShift("VSHL", 7, t, t)
	p.bytesOp("VORR", t, p.bits, p.bits)
}

// cnt is the number of set bits of each byte.
func (k *neon) cnt(d, n v) {
	k.word(0x4e205800|uint32(n)<<5|uint32(d), "CNT V%d.16B, V%d.16B", d, n)
}

// sevens sets R17 to the lowest four times seven bits of R19, one in each byte.
func (p *pointDequantizer) sevens() {
	p.field("R19", 0, 7, "R17")
	for i := 1; i < 4; i++ {
		p.field("R19", 7*i, 7, "R16")
		p.insert("R16", 8*i, 7, "R17")
	}
}

// halfScales makes (level + 1/2)·d·factor of the levels in scales.
func (p *pointDequantizer) halfScales(scales []v, half, factor v) {
	p.scale(p.d, 0)
	for _, x := range scales {
		p.scvtf(x, x)
		p.fadd(x, x, half)
		p.fmul(x, x, p.d)
		p.fmul(x, x, factor)
	}
}

// nibbleLevels sets scales to the nibbles of eight or four bytes, the low one of each first.
func (p *pointDequantizer) nibbleLevels(fetch func(x v, disp int), disp int) {
	t, u := p.level, p.factor
	fetch(t, disp)
	p.nibbles(t, p.fifteen, u, t)
	p.op("VZIP1", b16(t), b16(u), b16(t))
	p.words(t, p.scales)
}

// topLevels sets the first two of scales to the high four bits of words that lie so many bytes apart.
func (p *pointDequantizer) topLevels(disp, stride int) {
	for i := range 8 {
		p.op("ADD", fmt.Sprintf("$%d", disp+stride*i), p.src, "R16")
		p.part("FMOVS", "S", p.scales[i/4], i%4)
	}
	for _, x := range p.scales[:2] {
		p.op("VUSHR", "$28", x.s4(), x.s4())
	}
}

func (k *neon) dequantizeIQ2_XXS() {
	var half, quarter v
	k.pointBlocks("IQ2_XXS", 66, 8, func(*pointDequantizer) { half, quarter = k.constant(0.5), k.constant(0.25) },
		func(p *pointDequantizer) {
			p.topLevels(2+4, 8)
			p.halfScales(p.scales[:2], half, quarter)
			for group := range 8 {
				at := 2 + 8*group
				p.op("MOVWU", p.place(at+4), "R19")
				p.sevens()
				p.evenSigns()
				for i := range 2 {
					p.load(2*i, func(point int) { p.byteOf(at+point, "R16") })
					p.turn(i)
					p.putGroup(group)
				}
			}
		})
}

func (k *neon) dequantizeIQ2_XS() {
	var half, quarter v
	k.pointBlocks("IQ2_XS", 74, 8, func(*pointDequantizer) { half, quarter = k.constant(0.5), k.constant(0.25) },
		func(p *pointDequantizer) {
			p.nibbleLevels(p.double, 66)
			p.halfScales(p.scales, half, quarter)
			for group := range 8 {
				at := 2 + 8*group
				p.op("MOVD", p.place(at), "R19") // four points
				p.field("R19", 9, 7, "R17")
				for i := 1; i < 4; i++ {
					p.field("R19", 16*i+9, 7, "R16")
					p.insert("R16", 8*i, 7, "R17")
				}
				p.evenSigns()
				for i := range 2 {
					p.load(2*i, func(point int) { p.field("R19", 16*point, 9, "R16") })
					p.turn(i)
					p.putGroup(2*group + i)
				}
			}
		})
}

func (k *neon) dequantizeIQ2_S() {
	const signsAt, highAt, scalesAt = 34, 66, 74
	var half, quarter v
	k.pointBlocks("IQ2_S", 82, 8, func(*pointDequantizer) { half, quarter = k.constant(0.5), k.constant(0.25) },
		func(p *pointDequantizer) {
			p.nibbleLevels(p.double, scalesAt)
			p.halfScales(p.scales, half, quarter)
			for group := range 8 {
				p.single(p.bits, signsAt+4*group)
				p.byteOf(highAt+group, "R19")
				for i := range 2 {
					p.load(2*i, func(point int) {
						p.byteOf(2+4*group+point, "R16")
						p.field("R19", 2*point, 2, "R17")
						p.insert("R17", 8, 2, "R16")
					})
					p.turn(i)
					p.putGroup(2*group + i)
				}
			}
		})
}

func (k *neon) dequantizeIQ3_XXS() {
	const signsAt = 66
	var half v
	k.pointBlocks("IQ3_XXS", 98, 4, func(*pointDequantizer) { half = k.constant(0.5) }, func(p *pointDequantizer) {
		p.topLevels(signsAt, 4)
		p.halfScales(p.scales[:2], half, half)
		for group := range 8 {
			p.op("MOVWU", p.place(signsAt+4*group), "R19")
			p.sevens()
			p.evenSigns()
			for i := range 2 {
				p.load(4*i, func(point int) { p.byteOf(2+8*group+point, "R16") })
				p.turn(i)
				p.putGroup(group)
			}
		}
	})
}

// oddScales makes (2·level+1)·d of the levels in scales. d is there.
func (p *pointDequantizer) oddScales(scales []v, one v) {
	for _, x := range scales {
		p.op("VADD", x.s4(), x.s4(), x.s4())
		p.op("VADD", one.s4(), x.s4(), x.s4())
		p.scvtf(x, x)
		p.fmul(x, x, p.d)
	}
}

func (k *neon) dequantizeIQ3_S() {
	const highAt, signsAt, scalesAt = 66, 74, 106
	var one v
	k.pointBlocks("IQ3_S", 110, 4, func(*pointDequantizer) { one = k.bits(1) }, func(p *pointDequantizer) {
		p.nibbleLevels(p.single, scalesAt)
		p.scale(p.d, 0)
		p.oddScales(p.scales[:2], one)
		for group := range 8 {
			p.single(p.bits, signsAt+4*group)
			p.byteOf(highAt+group, "R19")
			for i := range 2 {
				p.load(4*i, func(point int) {
					p.byteOf(2+8*group+point, "R16")
					p.field("R19", point, 1, "R17")
					p.insert("R17", 8, 1, "R16")
				})
				p.turn(i)
				p.putGroup(group)
			}
		}
	})
}

// raise sets level to eight times its bytes, which are -1, 0 or 1, plus the bytes of by.
func (p *pointDequantizer) raise(by v) {
	p.byteShift("VSHL", 3, p.level, p.level)
	p.bytesOp("VADD", by, p.level, p.level)
}

// dequantizeIQ1_S counts levels in eighths, so that those that are raised or lowered by one are integers.
func (k *neon) dequantizeIQ1_S() {
	const pointsAt, highAt = 2, 34
	var one, seven, eighth, by v
	setup := func(*pointDequantizer) {
		one, seven, eighth, by = k.bits(1), k.bits(7), k.constant(0.125), k.vec()
	}
	k.pointBlocks("IQ1_S", 50, 8, setup, func(p *pointDequantizer) {
		p.quad(p.level, highAt)
		p.op("VUXTL", p.level.String()+".H4", p.scales[0].s4())
		p.op("VUXTL2", p.level.String()+".H8", p.scales[1].s4())
		for _, x := range p.scales[:2] {
			p.op("VUSHR", "$12", x.s4(), x.s4())
			p.bytesOp("VAND", seven, x, x)
		}
		p.scale(p.d, 0)
		p.fmul(p.d, p.d, eighth)
		p.oddScales(p.scales[:2], one)
		for group := range 8 {
			p.halfOf(highAt+2*group, "R19")
			p.op("LSR", "$15", "R19", "R16")
			p.op("NEG", "R16<<1", "R16")
			p.op("ADD", "$1", "R16")
			p.op("VDUP", "R16", b16(by))
			for i := range 2 {
				p.load(2*i, func(point int) {
					p.byteOf(pointsAt+4*group+point, "R16")
					p.field("R19", 3*point, 3, "R17")
					p.insert("R17", 8, 3, "R16")
				})
				p.raise(by)
				p.putGroup(group)
			}
		}
	})
}

// dequantizeIQ1_M gathers d from the highest four bits of four numbers, and lowers eight weights where bit 3 or 7 of a
// byte is set.
func (k *neon) dequantizeIQ1_M() {
	const highAt, scalesAt = 32, 48
	var one, seven, eighth, by, flag, ones v
	var shifts [2]v
	setup := func(*pointDequantizer) {
		one, seven, eighth, by = k.bits(1), k.bits(7), k.constant(0.125), k.vec()
		flag = k.each(func(i int) int { return 8 << (i / 8 * 4) })
		ones = k.byteConstant(1)
		for i := range shifts {
			shifts[i] = k.each(func(b int) int { return (-16*i - b/4*3) })
		}
	}
	k.pointBlocks("IQ1_M", 56, 8, setup, func(p *pointDequantizer) {
		p.byteOf(scalesAt+1, "R17")
		p.op("LSR", "$4", "R17")
		for i := 1; i < 4; i++ {
			p.byteOf(scalesAt+2*i+1, "R16")
			p.op("LSR", "$4", "R16")
			p.insert("R16", 4*i, 4, "R17")
		}
		p.op("FMOVS", "R17", fmt.Sprintf("F%d", int(p.d)))
		p.fcvtlHalf(p.d, p.d)
		p.lane(p.d, p.d, 0)
		p.fmul(p.d, p.d, eighth)
		for i, x := range p.scales {
			p.op("MOVWU", p.place(scalesAt+i/2*4), "R16")
			p.op("VDUP", "R16", x.s4())
			p.ushl(x, x, shifts[i%2])
			p.bytesOp("VAND", seven, x, x)
		}
		p.oddScales(p.scales, one)
		for group := range 16 {
			p.byteOf(highAt+group, "R19")
			p.op("VDUP", "R19", b16(by))
			p.bytesOp("VCMTST", flag, by, by)
			p.bytesOp("VADD", by, by, by)
			p.bytesOp("VADD", ones, by, by)
			p.load(0, func(point int) {
				p.byteOf(2*group+point, "R16")
				p.field("R19", 4*point, 3, "R17")
				p.insert("R17", 8, 3, "R16")
			})
			p.raise(by)
			p.putGroup(group)
		}
	})
}
