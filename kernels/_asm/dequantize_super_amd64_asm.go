package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The formats of super-blocks with levels of two or three bits, and those of levels of one bit or one of three values.

// crumbs gives the levels that are in two bits each of 64 bytes to each, a vector at a time, with the weight it begins
// at.
func (g *gen) crumbs(src reg.Register, at int, each func(level reg.VecVirtual, weight int)) {
	for half := range 2 {
		for i := 0; i < 32; i += g.lanes {
			v := g.bytesAt(src, at+32*half+i)
			for k := range 4 {
				level := g.shifted(v, -2*k)
				if k < 3 {
					g.and(g.bits(3), level)
				}
				each(level, 128*half+32*k+i)
			}
		}
	}
}

// scaleOf is a register full of the scale of the group of n weights that weight is in.
func (g *gen) scaleOf(scales operand.Mem, weight, n int) reg.VecVirtual {
	v := g.vec()
	g.VBROADCASTSS(scales.Offset(weight/n*4), v)
	return v
}

// dequantizeQ2_K makes scales and negative minima of the nibbles of the first 16 bytes.
func dequantizeQ2_K(g *gen, s isa) {
	const levels, d, dmin = 16, 80, 82
	g.kernel(s, "dequantizeQ2_K", "(blocks int, dst *float32, src *uint8)", "dst = the weights of the blocks of Q2_K")
	scales := g.AllocLocal(128)
	g.eachBlock("dst", "src", 4*256, 84, func(dst, src reg.Register) {
		d, dmin := g.half(src, d), g.half(src, dmin)
		for i := range 16 / s.lanes {
			scale := g.bytesAt(src, s.lanes*i)
			minimum := g.shifted(scale, -4)
			g.and(g.bits(15), scale)
			g.VCVTDQ2PS(scale, scale)
			g.VMULPS(scale, d, scale)
			g.VMOVUPS(scale, scales.Offset(s.bytes()*i))
			g.VCVTDQ2PS(minimum, minimum)
			g.VMULPS(minimum, dmin, minimum)
			g.VXORPS(g.bits(1<<31), minimum, minimum)
			g.VMOVUPS(minimum, scales.Offset(64+s.bytes()*i))
		}
		g.crumbs(src, levels, func(level reg.VecVirtual, weight int) {
			g.weights(level, g.scaleOf(scales, weight, 16), g.scaleOf(scales.Offset(64), weight, 16), dst, weight/s.lanes)
		})
	})
}

func dequantizeQ3_K(g *gen, s isa) {
	const low = 32
	g.kernel(s, "dequantizeQ3_K", "(blocks int, dst *float32, src *uint8)", "dst = the weights of the blocks of Q3_K")
	scales := g.AllocLocal(64)
	g.eachBlock("dst", "src", 4*256, 110, func(dst, src reg.Register) {
		g.scalesQ3_K(src, scales)
		var high []reg.VecVirtual
		for i := 0; i < 32; i += s.lanes {
			high = append(high, g.bytesAt(src, i))
		}
		g.crumbs(src, low, func(level reg.VecVirtual, weight int) {
			bit := g.shifted(high[weight%32/s.lanes], 2-weight/32)
			g.and(g.bits(4), bit)
			g.or(bit, level)
			g.integers(g.VPSUBD, g.bits(4), level)
			g.weights(level, g.scaleOf(scales, weight, 16), nil, dst, weight/s.lanes)
		})
	})
}

// scalesQ3_K stores the sixteen scales: of eight, the low four bits are the low or the high nibbles of eight bytes; the
// high two bits come from four bytes more, spread to eight.
func (g *gen) scalesQ3_K(src reg.Register, to operand.Mem) {
	const at, d = 96, 108
	low, high, upper := g.GP64(), g.GP64(), g.GP64()
	g.MOVQ(operand.Mem{Base: src, Disp: at}, low)
	g.MOVL(operand.Mem{Base: src, Disp: at + 8}, high.As32())
	g.MOVQ(high, upper)
	g.SHLQ(operand.Imm(30), upper)
	g.ORQ(upper, high)
	four, two := g.GP64(), g.GP64()
	g.MOVQ(operand.Imm(0x0f0f0f0f_0f0f0f0f), four)
	g.MOVQ(operand.Imm(0x03030303_03030303), two)
	wide := g.half(src, d).AsY()
	for i := range 2 {
		l, h := g.GP64(), g.GP64()
		g.MOVQ(low, l)
		g.MOVQ(high, h)
		if i == 1 {
			g.SHRQ(operand.Imm(4), l)
			g.SHRQ(operand.Imm(4), h)
		}
		g.ANDQ(four, l)
		g.ANDQ(two, h)
		g.SHLQ(operand.Imm(4), h)
		g.ORQ(h, l)
		x, v := g.XMM(), g.YMM()
		g.VMOVQ(l, x)
		g.VPMOVZXBD(x, v)
		g.VPSUBD(g.bits(32), v, v)
		g.VCVTDQ2PS(v, v)
		g.VMULPS(v, wide, v)
		g.VMOVUPS(v, to.Offset(32*i))
	}
}

func dequantizeTQ2_0(g *gen, s isa) {
	g.blocks(s, "TQ2_0", 66, 256, func(dst, src reg.Register) {
		d := g.half(src, 64)
		g.crumbs(src, 0, func(level reg.VecVirtual, weight int) {
			g.integers(g.VPSUBD, g.bits(1), level)
			g.weights(level, d, nil, dst, weight/s.lanes)
		})
	})
}

// dequantizeTQ1_0 takes the levels of a byte out as the carries of multiplying by three.
func dequantizeTQ1_0(g *gen, s isa) {
	g.blocks(s, "TQ1_0", 54, 256, func(dst, src reg.Register) {
		d := g.half(src, 52)
		for i := 0; i < 32; i += s.lanes {
			g.trits(g.bytesAt(src, i), 5, func(level reg.VecVirtual, n int) { g.weights(level, d, nil, dst, (32*n+i)/s.lanes) })
		}
		for i := 0; i < 16; i += s.lanes {
			g.trits(g.bytesAt(src, 32+i), 5, func(level reg.VecVirtual, n int) {
				g.weights(level, d, nil, dst, (160+16*n+i)/s.lanes)
			})
		}
		last, rest := g.XMM(), g.vec()
		g.VMOVD(operand.Mem{Base: src, Disp: 48}, last)
		g.VPMOVZXBD(last, rest)
		g.trits(rest, 4, func(level reg.VecVirtual, n int) {
			g.VCVTDQ2PS(level, level)
			g.VMULPS(d, level, level)
			g.VMOVUPS(level.AsX(), operand.Mem{Base: dst, Disp: 4 * (240 + 4*n)})
		})
	})
}

// trits gives n levels of -1 to 1 of each lane.
func (g *gen) trits(rest reg.VecVirtual, n int, each func(level reg.VecVirtual, n int)) {
	for i := range n {
		level := g.shifted(rest, 1)
		g.integers(g.VPADDD, rest, level)
		g.VMOVAPS(level, rest)
		g.and(g.bits(255), rest)
		g.VPSRLD(operand.Imm(8), level, level)
		g.integers(g.VPSUBD, g.bits(1), level)
		each(level, i)
	}
}

// dequantizeQ1_0 turns the sign of d where a bit is clear.
func dequantizeQ1_0(g *gen, s isa) {
	counts := g.counting()
	g.blocks(s, "Q1_0", 18, 128, func(dst, src reg.Register) {
		d := g.half(src, 0)
		g.VXORPS(g.bits(1<<31), d, d)
		for i := 0; i < 128; i += s.lanes {
			v := g.vec()
			g.VPBROADCASTD(operand.Mem{Base: src, Disp: 2 + i/32*4}, v)
			g.VPSRLVD(counts.Offset(i%32*4), v, v)
			g.VPSLLD(operand.Imm(31), v, v)
			g.VXORPS(d, v, v)
			g.VMOVUPS(v, g.at(dst, i/s.lanes))
		}
	})
}

func dequantizeQ2_0(g *gen, s isa) {
	counts := g.counting()
	g.blocks(s, "Q2_0", 18, 64, func(dst, src reg.Register) {
		d := g.half(src, 0)
		for i := 0; i < 64; i += s.lanes {
			count, v := g.vec(), g.vec()
			g.VPSLLD(operand.Imm(1), g.get(counts.Offset(i%16*4)), count)
			g.VPBROADCASTD(operand.Mem{Base: src, Disp: 2 + i/16*4}, v)
			g.VPSRLVD(count, v, v)
			g.and(g.bits(3), v)
			g.integers(g.VPSUBD, g.bits(1), v)
			g.weights(v, d, nil, dst, i/s.lanes)
		}
	})
}
