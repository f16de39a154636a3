package main

import (
	"math"

	"github.com/mmcloughlin/avo/attr"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The formats of four-bit levels that stand for the values of a table.

var (
	valuesIQ4  = [16]int8{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}
	halvesE2M1 = [16]int8{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}
)

// data is the address of read-only words, which are made once a file.
func (g *gen) data(name string, words []uint32) operand.Mem {
	if m, ok := g.tables[name]; ok {
		return m
	}
	m := g.StaticGlobal(name)
	g.DataAttributes(attr.RODATA | attr.NOPTR)
	for _, w := range words {
		g.AppendDatum(operand.U32(w))
	}
	g.tables[name] = m
	return m
}

// sixteen is the address of sixteen bytes.
func (g *gen) sixteen(name string, value [16]int8) operand.Mem {
	words := make([]uint32, 4)
	for i, v := range value {
		words[i/4] |= uint32(uint8(v)) << (8 * (i % 4))
	}
	return g.data(name, words)
}

// fourBits are the low and the high nibbles of the bytes of a register.
func (g *gen) fourBits(q reg.VecVirtual) (low, high reg.VecVirtual) {
	low, high = g.XMM(), g.XMM()
	g.VPSRLW(operand.Imm(4), q, high)
	g.VPAND(g.bits(0x0f0f0f0f), q, low)
	g.VPAND(g.bits(0x0f0f0f0f), high, high)
	return low, high
}

// valuesOf stores scale times the values of sixteen levels, from weight number at.
func (g *gen) valuesOf(level reg.VecVirtual, table reg.Register, scale, dst reg.Register, at int) {
	value := g.XMM()
	g.VPSHUFB(level, table, value)
	for i := range 16 / g.lanes {
		if i == 1 {
			g.VPSRLDQ(operand.Imm(8), value, value)
		}
		v := g.vec()
		g.VPMOVSXBD(value, v)
		g.weights(v, scale, nil, dst, at/g.lanes+i)
	}
}

// table loads sixteen values.
func (g *gen) table(at operand.Mem) reg.Register {
	t := g.XMM()
	g.VMOVDQU(at, t)
	return t
}

// valuePairs stores the weights of 16 bytes, the low nibbles before the high ones.
func (g *gen) valuePairs(src reg.Register, disp int, table reg.Register, scale, dst reg.Register, at int) {
	q := g.XMM()
	g.VMOVDQU(operand.Mem{Base: src, Disp: disp}, q)
	low, high := g.fourBits(q)
	g.valuesOf(low, table, scale, dst, at)
	g.valuesOf(high, table, scale, dst, at+16)
}

// tabled is a register full of the float32 that a byte says of a table.
func (g *gen) tabled(table operand.Mem, src reg.Register, disp int) reg.VecVirtual {
	index, base, v := g.GP64(), g.GP64(), g.vec()
	g.MOVBQZX(operand.Mem{Base: src, Disp: disp}, index)
	g.LEAQ(table, base)
	g.VBROADCASTSS(operand.Mem{Base: base, Index: index, Scale: 4}, v)
	return v
}

func dequantizeIQ4_NL(g *gen, s isa) {
	values := g.sixteen("valuesIQ4", valuesIQ4)
	g.blocks(s, "IQ4_NL", 18, 32, func(dst, src reg.Register) {
		g.valuePairs(src, 2, g.table(values), g.half(src, 0), dst, 0)
	})
}

// dequantizeIQ4_XS makes the scales of four bits each of a word and two bits each of half a word.
func dequantizeIQ4_XS(g *gen, s isa) {
	values, counts := g.sixteen("valuesIQ4", valuesIQ4), g.counting()
	g.kernel(s, "dequantizeIQ4_XS", "(blocks int, dst *float32, src *uint8)", "dst = the weights of the blocks of IQ4_XS")
	scales := g.AllocLocal(32)
	g.eachBlock("dst", "src", 4*256, 136, func(dst, src reg.Register) {
		low, high, count := g.YMM(), g.YMM(), g.YMM()
		g.VMOVUPS(counts, count)
		g.VPADDD(count, count, count)
		g.VPBROADCASTW(operand.Mem{Base: src, Disp: 2}, high)
		g.VPSRLVD(count, high, high)
		g.VPAND(g.bits(3), high, high)
		g.VPSLLD(operand.Imm(4), high, high)
		g.VPADDD(count, count, count)
		g.VPBROADCASTD(operand.Mem{Base: src, Disp: 4}, low)
		g.VPSRLVD(count, low, low)
		g.VPAND(g.bits(15), low, low)
		g.VPOR(high, low, low)
		g.VPSUBD(g.bits(32), low, low)
		g.VCVTDQ2PS(low, low)
		g.VMULPS(g.half(src, 0).AsY(), low, low)
		g.VMOVUPS(low, scales)
		table := g.table(values)
		for i := range 8 {
			g.valuePairs(src, 8+16*i, table, g.scaleOf(scales, i, 1), dst, 32*i)
		}
	})
}

// dequantizeMXFP4 has scales of powers of two, halved because levels are counted in halves.
func dequantizeMXFP4(g *gen, s isa) {
	values := g.sixteen("halvesE2M1", halvesE2M1)
	table := g.scalesE8M0()
	g.blocks(s, "MXFP4", 17, 32, func(dst, src reg.Register) {
		g.valuePairs(src, 1, g.table(values), g.tabled(table, src, 0), dst, 0)
	})
}

// scalesE8M0 is the address of the halves of the powers of two that bytes stand for.
func (g *gen) scalesE8M0() operand.Mem {
	scales := make([]uint32, 256)
	for i := range scales {
		scales[i] = math.Float32bits(float32(math.Ldexp(1, i-128)))
	}
	return g.data("scalesE8M0", scales)
}

// dequantizeNVFP4 has scales of four bits of exponent and three of mantissa, halved as well.
func dequantizeNVFP4(g *gen, s isa) {
	values := g.sixteen("halvesE2M1", halvesE2M1)
	scales := make([]uint32, 256)
	for i := range scales {
		mantissa, exponent := float64(i&7), i>>3&15
		if exponent > 0 {
			mantissa += 8
			exponent--
		}
		scales[i] = math.Float32bits(float32(math.Ldexp(mantissa, exponent-10)))
	}
	scales[127] = 0
	table := g.data("scalesE4M3", scales)
	g.blocks(s, "NVFP4", 36, 64, func(dst, src reg.Register) {
		for i := range 4 {
			q := g.XMM()
			g.VMOVQ(operand.Mem{Base: src, Disp: 4 + 8*i}, q)
			low, high := g.fourBits(q)
			g.VPUNPCKLQDQ(high, low, low)
			g.valuesOf(low, g.table(values), g.tabled(table, src, i), dst, 16*i)
		}
	})
}

// The formats of which the levels of four or eight weights are a point of a lattice. The points are given as the bytes
// that the levels stand for.

// A pointFormat is a kernel over super-blocks of points.
type pointFormat struct {
	*gen
	name   string
	bytes  int
	size   int // weights of a point
	signed bool
	scales operand.Mem // memory for those of the groups
	dst    reg.Register
	src    reg.Register
	points reg.Register
}

// each writes the kernel.
func (f *pointFormat) each(s isa, scales int, body func()) {
	f.kernel(s, "dequantize"+f.name, "(blocks int, dst *float32, src, points *uint8)",
		"dst = the weights of the blocks of "+f.name)
	f.scales = f.AllocLocal(4 * scales)
	f.points = f.param("points")
	f.eachBlock("dst", "src", 4*256, f.bytes, func(dst, src reg.Register) {
		f.dst, f.src = dst, src
		body()
	})
}

// vector is the values of the weights from number i on; index gives the place of a point.
func (f *pointFormat) vector(i int, index func(point int) reg.Register) reg.VecVirtual {
	at := func(n int) operand.Mem {
		return operand.Mem{Base: f.points, Index: index(i/f.size + n), Scale: uint8(f.size)}
	}
	x, v := f.XMM(), f.vec()
	switch {
	case f.size == 8:
		f.VMOVQ(at(0), x)
		if f.lanes == 16 {
			f.VMOVHPS(at(1), x, x)
		}
	default:
		f.VMOVD(at(0), x)
		for n := 1; n < f.lanes/4; n++ {
			f.VPINSRD(operand.Imm(uint64(n)), at(n), x, x)
		}
	}
	if f.signed {
		f.VPMOVSXBD(x, v)
	} else {
		f.VPMOVZXBD(x, v)
	}
	f.VCVTDQ2PS(v, v)
	return v
}

// turn changes the signs of values where bits i and up of a register full of 32 bits are set.
func (f *pointFormat) turn(v reg.VecVirtual, bits reg.Register, i int) {
	sign := f.vec()
	f.VPSRLVD(f.counting().Offset(4*(i%32)), bits, sign)
	f.VPSLLD(operand.Imm(31), sign, sign)
	f.VXORPS(sign, v, v)
}

// put stores values times the scale of the group of n weights.
func (f *pointFormat) put(v reg.VecVirtual, i, n int) {
	f.VMULPS(f.scaleOf(f.scales, i, n), v, v)
	f.VMOVUPS(v, f.at(f.dst, i/f.lanes))
}

// byteAt is a byte of the block.
func (f *pointFormat) byteAt(disp int) reg.GPVirtual {
	r := f.GP64()
	f.MOVBQZX(operand.Mem{Base: f.src, Disp: disp}, r)
	return r
}

// highBits adds bits from number from of r to those of place, at number to.
func (f *pointFormat) highBits(place, r reg.GPVirtual, from, n, to int) {
	t := f.GP64()
	f.MOVQ(r, t)
	if from > to {
		f.SHRQ(operand.Imm(uint64(from-to)), t)
	} else if to > from {
		f.SHLQ(operand.Imm(uint64(to-from)), t)
	}
	f.ANDQ(operand.U32((1<<n-1)<<to), t)
	f.ORQ(t, place)
}

// wholeSigns is a register full of the 32 bits at disp.
func (f *pointFormat) wholeSigns(disp int) reg.Register {
	v := f.vec()
	f.VPBROADCASTD(operand.Mem{Base: f.src, Disp: disp}, v)
	return v
}

// evenSigns is a register full of 32 bits, four times seven and an eighth that makes their number even. seven gives
// each seven, with nothing above.
func (f *pointFormat) evenSigns(seven func(i int) reg.GPVirtual) reg.Register {
	words := make([]uint32, 32)
	for i := range 128 {
		parity := i ^ i>>4
		parity = 0x6996 >> (parity & 15) & 1
		words[i/4] |= uint32(i|parity<<7) << (8 * (i % 4))
	}
	table, all, v := f.GP64(), f.GP64(), f.vec()
	f.LEAQ(f.data("evenSigns", words), table)
	for i := range 4 {
		s := seven(3 - i)
		f.MOVBQZX(operand.Mem{Base: table, Index: s, Scale: 1}, s)
		if i == 0 {
			f.MOVQ(s, all)
			continue
		}
		f.SHLQ(operand.Imm(8), all)
		f.ORQ(s, all)
	}
	x := f.XMM()
	f.VMOVD(all.As32(), x)
	f.VPBROADCASTD(x, v)
	return v
}

// halfScales stores (level + 1/2)·d·factor of eight or sixteen levels.
func (f *pointFormat) halfScales(level reg.VecVirtual, factor float32, at int) {
	f.VCVTDQ2PS(level, level)
	f.VADDPS(f.number(0.5), level, level)
	f.VMULPS(f.half(f.src, 0).AsY(), level, level)
	f.VMULPS(f.number(factor), level, level)
	f.VMOVUPS(level, f.scales.Offset(4*at))
}

// nibbleScales makes sixteen scales of the nibbles of eight bytes.
func (f *pointFormat) nibbleScales(disp int, factor float32) {
	x, high := f.XMM(), f.XMM()
	f.VMOVQ(operand.Mem{Base: f.src, Disp: disp}, x)
	low, upper := f.fourBits(x)
	f.VPUNPCKLBW(upper, low, x)
	f.VPSRLDQ(operand.Imm(8), x, high)
	for i, x := range []reg.VecVirtual{x, high} {
		v := f.YMM()
		f.VPMOVZXBD(x, v)
		f.halfScales(v, factor, 8*i)
	}
}

// topScales makes eight scales of the high four bits of words that lie so many bytes apart.
func (f *pointFormat) topScales(disp, stride int, factor float32) {
	x, v := [2]reg.VecVirtual{f.XMM(), f.XMM()}, f.YMM()
	for i := range 8 {
		m := operand.Mem{Base: f.src, Disp: disp + stride*i}
		if i%4 == 0 {
			f.VMOVD(m, x[i/4])
		} else {
			f.VPINSRD(operand.Imm(uint64(i%4)), m, x[i/4], x[i/4])
		}
	}
	f.VINSERTI128(operand.Imm(1), x[1], x[0].AsY(), v)
	f.VPSRLD(operand.Imm(28), v, v)
	f.halfScales(v, factor, 0)
}

// sevenAt are the seven bits number i of a word in memory.
func (f *pointFormat) sevenAt(disp int) func(i int) reg.GPVirtual {
	return func(i int) reg.GPVirtual {
		r := f.GP64()
		f.MOVL(operand.Mem{Base: f.src, Disp: disp}, r.As32())
		f.SHRQ(operand.Imm(uint64(7*i)), r)
		f.ANDQ(operand.Imm(127), r)
		return r
	}
}

func dequantizeIQ2_XXS(g *gen, s isa) {
	f := &pointFormat{gen: g, name: "IQ2_XXS", bytes: 66, size: 8}
	f.each(s, 8, func() {
		f.topScales(2+4, 8, 0.25)
		for group := range 8 {
			at := 2 + 8*group
			signs := f.evenSigns(f.sevenAt(at + 4))
			for i := 32 * group; i < 32*(group+1); i += s.lanes {
				v := f.vector(i, func(point int) reg.Register { return f.byteAt(at + point%4) })
				f.turn(v, signs, i)
				f.put(v, i, 32)
			}
		}
	})
}

func dequantizeIQ2_XS(g *gen, s isa) {
	f := &pointFormat{gen: g, name: "IQ2_XS", bytes: 74, size: 8}
	f.each(s, 16, func() {
		f.nibbleScales(66, 0.25)
		word := func(point int) reg.GPVirtual {
			r := f.GP64()
			f.MOVWQZX(operand.Mem{Base: f.src, Disp: 2 + 2*point}, r)
			return r
		}
		for group := range 8 {
			signs := f.evenSigns(func(i int) reg.GPVirtual {
				r := word(4*group + i)
				f.SHRQ(operand.Imm(9), r)
				return r
			})
			for i := 32 * group; i < 32*(group+1); i += s.lanes {
				v := f.vector(i, func(point int) reg.Register {
					r := word(point)
					f.ANDQ(operand.U32(511), r)
					return r
				})
				f.turn(v, signs, i)
				f.put(v, i, 16)
			}
		}
	})
}

func dequantizeIQ2_S(g *gen, s isa) {
	const signsAt, highAt, scalesAt = 34, 66, 74
	f := &pointFormat{gen: g, name: "IQ2_S", bytes: 82, size: 8}
	f.each(s, 16, func() {
		f.nibbleScales(scalesAt, 0.25)
		for group := range 8 {
			signs, high := f.wholeSigns(signsAt+4*group), f.byteAt(highAt+group)
			for i := 32 * group; i < 32*(group+1); i += s.lanes {
				v := f.vector(i, func(point int) reg.Register {
					r := f.byteAt(2 + point)
					f.highBits(r, high, 2*(point%4), 2, 8)
					return r
				})
				f.turn(v, signs, i)
				f.put(v, i, 16)
			}
		}
	})
}

func dequantizeIQ3_XXS(g *gen, s isa) {
	const signsAt = 66
	f := &pointFormat{gen: g, name: "IQ3_XXS", bytes: 98, size: 4}
	f.each(s, 8, func() {
		f.topScales(signsAt, 4, 0.5)
		for group := range 8 {
			signs := f.evenSigns(f.sevenAt(signsAt + 4*group))
			for i := 32 * group; i < 32*(group+1); i += s.lanes {
				v := f.vector(i, func(point int) reg.Register { return f.byteAt(2 + point) })
				f.turn(v, signs, i)
				f.put(v, i, 32)
			}
		}
	})
}

// oddScales stores (2·level+1)·d of a register of levels.
func (f *pointFormat) oddScales(level reg.VecVirtual, d reg.Register, at int) {
	f.VPADDD(level, level, level)
	f.VPADDD(f.bits(1), level, level)
	f.VCVTDQ2PS(level, level)
	f.VMULPS(d, level, level)
	f.VMOVUPS(level, f.scales.Offset(4*at))
}

func dequantizeIQ3_S(g *gen, s isa) {
	const highAt, signsAt, scalesAt = 66, 74, 106
	f := &pointFormat{gen: g, name: "IQ3_S", bytes: 110, size: 4}
	f.each(s, 8, func() {
		x, v := f.XMM(), f.YMM()
		f.VMOVD(operand.Mem{Base: f.src, Disp: scalesAt}, x)
		low, high := f.fourBits(x)
		f.VPUNPCKLBW(high, low, low)
		f.VPMOVZXBD(low, v)
		f.oddScales(v, f.half(f.src, 0).AsY(), 0)
		for group := range 8 {
			signs, high := f.wholeSigns(signsAt+4*group), f.byteAt(highAt+group)
			for i := 32 * group; i < 32*(group+1); i += s.lanes {
				v := f.vector(i, func(point int) reg.Register {
					r := f.byteAt(2 + point)
					f.highBits(r, high, point%8, 1, 8)
					return r
				})
				f.turn(v, signs, i)
				f.put(v, i, 32)
			}
		}
	})
}

func dequantizeIQ1_S(g *gen, s isa) {
	const pointsAt, highAt = 2, 34
	f := &pointFormat{gen: g, name: "IQ1_S", bytes: 50, size: 8, signed: true}
	f.each(s, 8, func() {
		level := f.YMM()
		f.VPMOVZXWD(operand.Mem{Base: f.src, Disp: highAt}, level)
		f.VPSRLD(operand.Imm(12), level, level)
		f.VPAND(f.bits(7), level, level)
		f.oddScales(level, f.half(f.src, 0).AsY(), 0)
		for group := range 8 {
			high, shift := f.GP64(), f.vec()
			f.MOVWQZX(operand.Mem{Base: f.src, Disp: highAt + 2*group}, high)
			f.VPBROADCASTD(operand.Mem{Base: f.src, Disp: highAt + 2*group - 2}, shift)
			f.and(f.bits(1<<31), shift)
			f.or(f.number(0.125), shift)
			for i := 32 * group; i < 32*(group+1); i += s.lanes {
				v := f.vector(i, func(point int) reg.Register {
					r := f.byteAt(pointsAt + point)
					f.highBits(r, high, 3*(point%4), 3, 8)
					return r
				})
				f.VADDPS(shift, v, v)
				f.put(v, i, 32)
			}
		}
	})
}

// dequantizeIQ1_M gathers d from the highest four bits of four numbers, and lowers eight weights where bit 3 or 7 of a
// byte is set.
func dequantizeIQ1_M(g *gen, s isa) {
	const highAt, scalesAt = 32, 48
	counts := make([]uint32, 16)
	for i := range counts {
		counts[i] = uint32(28 - i/8*4)
	}
	f := &pointFormat{gen: g, name: "IQ1_M", bytes: 56, size: 8, signed: true}
	f.each(s, 16, func() {
		f.scalesIQ1_M(scalesAt)
		for group := range 16 {
			high := f.byteAt(highAt + group)
			flags := f.vec()
			x := f.XMM()
			f.VMOVD(high.As32(), x)
			f.VPBROADCASTD(x, flags)
			for i := 16 * group; i < 16*(group+1); i += s.lanes {
				v, shift := f.vector(i, func(point int) reg.Register {
					r := f.byteAt(point)
					f.highBits(r, high, 4*(point%2), 3, 8)
					return r
				}), f.vec()
				f.VPSLLVD(f.data("flagsIQ1_M", counts).Offset(4*(i%16)), flags, shift)
				f.and(f.bits(1<<31), shift)
				f.or(f.number(0.125), shift)
				f.VADDPS(shift, v, v)
				f.put(v, i, 16)
			}
		}
	})
}

// scalesIQ1_M makes the scales of three bits each, four to a number of 16.
func (f *pointFormat) scalesIQ1_M(at int) {
	half, x, wide := f.GP64(), f.XMM(), f.YMM()
	f.XORQ(half, half)
	for i := range 4 {
		f.highBits(half, f.byteAt(at+2*i+1), 4, 4, 4*i)
	}
	f.VMOVD(half.As32(), x)
	f.VCVTPH2PS(x, x)
	f.VBROADCASTSS(x, wide)
	for i := range 2 {
		level := f.YMM()
		f.VPBROADCASTD(operand.Mem{Base: f.src, Disp: at + 4*i}, level)
		f.VPSRLVD(f.data("scalesIQ1_M", []uint32{0, 3, 6, 9, 16, 19, 22, 25}), level, level)
		f.VPAND(f.bits(7), level, level)
		f.oddScales(level, wide, 8*i)
	}
}
