package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// dequantizeFile holds the loops that turn blocks into float32. Each product is rounded before anything is added to it.
func dequantizeFile(g *gen) {
	for _, s := range []isa{avx512, avx2} {
		dequantizeF16(g, s)
		dequantizeBF16(g, s)
		dequantizeQ8_0(g, s)
		dequantizeNibbles(g, s, "Q4_0", 18, 2, 8, 0)
		dequantizeNibbles(g, s, "Q4_1", 20, 4, 0, 0)
		dequantizeNibbles(g, s, "Q5_0", 22, 6, 16, 2)
		dequantizeNibbles(g, s, "Q5_1", 24, 8, 0, 4)
		dequantizeAffine(g, s, "Q4_K", 144, 16, 0)
		dequantizeAffine(g, s, "Q5_K", 176, 48, 16)
		dequantizeQ6_K(g, s)
		for _, f := range []func(g *gen, s isa){
			dequantizeQ2_K, dequantizeQ3_K, dequantizeTQ1_0, dequantizeTQ2_0, dequantizeQ1_0, dequantizeQ2_0,
			dequantizeIQ4_NL, dequantizeIQ4_XS, dequantizeMXFP4, dequantizeNVFP4,
			dequantizeIQ1_S, dequantizeIQ1_M, dequantizeIQ2_XXS, dequantizeIQ2_XS, dequantizeIQ2_S, dequantizeIQ3_XXS,
			dequantizeIQ3_S,
		} {
			f(g, s)
		}
	}
}

// blocks writes a kernel over blocks of so many bytes and weights.
func (g *gen) blocks(s isa, name string, bytes, weights int, body func(dst, src reg.Register)) {
	g.kernel(s, "dequantize"+name, "(blocks int, dst *float32, src *uint8)", "dst = the weights of the blocks of "+name)
	g.eachBlock("dst", "src", 4*weights, bytes, body)
}

// eachBlock runs body for so many blocks, and moves on by so many bytes in each.
func (g *gen) eachBlock(dstName, srcName string, dstBytes, srcBytes int, body func(dst, src reg.Register)) {
	blocks, dst, src := g.param("blocks"), g.param(dstName), g.param(srcName)
	g.loop("block", blocks, 1, func() {
		body(dst, src)
		g.ADDQ(operand.U32(dstBytes), dst)
		g.ADDQ(operand.U32(srcBytes), src)
	})
	g.end()
}

// half is a register full of the half precision number at base+disp.
func (g *gen) half(base reg.Register, disp int) reg.VecVirtual {
	bits, x, v := g.GP32(), g.XMM(), g.vec()
	g.MOVWLZX(operand.Mem{Base: base, Disp: disp}, bits)
	g.VMOVD(bits, x)
	g.VCVTPH2PS(x, x)
	g.VBROADCASTSS(x, v)
	return v
}

// bytesAt spreads as many bytes as there are lanes to a register.
func (g *gen) bytesAt(base reg.Register, disp int) reg.VecVirtual {
	v := g.vec()
	g.VPMOVZXBD(operand.Mem{Base: base, Disp: disp}, v)
	return v
}

// and and or are of all bits; a may be in memory.
func (g *gen) and(a operand.Op, v reg.Register) {
	if g.lanes == 16 {
		g.VPANDD(a, v, v)
		return
	}
	g.VPAND(a, v, v)
}

func (g *gen) or(a operand.Op, v reg.Register) {
	if g.lanes == 16 {
		g.VPORD(a, v, v)
		return
	}
	g.VPOR(a, v, v)
}

// shifted is v shifted left, or right where n is negative.
func (g *gen) shifted(v reg.Register, n int) reg.VecVirtual {
	w := g.vec()
	switch {
	case n > 0:
		g.VPSLLD(operand.Imm(uint64(n)), v, w)
	case n < 0:
		g.VPSRLD(operand.Imm(uint64(-n)), v, w)
	default:
		g.VMOVAPS(v, w)
	}
	return w
}

// weights stores scale·level, and plus add where that is not nil, as vector number i.
func (g *gen) weights(level reg.VecVirtual, scale, add operand.Op, dst reg.Register, i int) {
	g.VCVTDQ2PS(level, level)
	g.VMULPS(scale, level, level)
	if add != nil {
		g.VADDPS(add, level, level)
	}
	g.VMOVUPS(level, g.at(dst, i))
}

func dequantizeF16(g *gen, s isa) {
	g.blocks(s, "F16", 32, 16, func(dst, src reg.Register) {
		for i := range 16 / s.lanes {
			v := g.vec()
			g.VCVTPH2PS(operand.Mem{Base: src, Disp: 2 * s.lanes * i}, v)
			g.VMOVUPS(v, g.at(dst, i))
		}
	})
}

func dequantizeBF16(g *gen, s isa) {
	g.blocks(s, "BF16", 32, 16, func(dst, src reg.Register) {
		for i := range 16 / s.lanes {
			v := g.vec()
			g.VPMOVZXWD(operand.Mem{Base: src, Disp: 2 * s.lanes * i}, v)
			g.VPSLLD(operand.Imm(16), v, v)
			g.VMOVUPS(v, g.at(dst, i))
		}
	})
}

func dequantizeQ8_0(g *gen, s isa) {
	g.blocks(s, "Q8_0", 34, 32, func(dst, src reg.Register) {
		d := g.half(src, 0)
		for i := range 32 / s.lanes {
			v := g.vec()
			g.VPMOVSXBD(operand.Mem{Base: src, Disp: 2 + s.lanes*i}, v)
			g.weights(v, d, nil, dst, i)
		}
	})
}

// dequantizeNibbles is a format of 32 levels less an offset. Where that is 0, the block has a minimum. The levels have
// four bits, and a fifth from byte fifth on, if that is not 0.
func dequantizeNibbles(g *gen, s isa, name string, bytes, levels, offset, fifth int) {
	var shift operand.Mem
	if fifth > 0 {
		shift = g.counting()
	}
	g.blocks(s, name, bytes, 32, func(dst, src reg.Register) {
		d := g.half(src, 0)
		var add operand.Op
		if offset == 0 {
			add = g.half(src, 2)
		}
		var high reg.VecVirtual
		if fifth > 0 {
			high = g.vec()
			g.VPBROADCASTD(operand.Mem{Base: src, Disp: fifth}, high)
		}
		for i := range 16 / s.lanes {
			low := g.bytesAt(src, levels+s.lanes*i)
			for n, v := range []reg.VecVirtual{low, g.shifted(low, -4)} {
				g.and(g.bits(15), v)
				at := n*16/s.lanes + i
				if fifth > 0 {
					bit := g.vec()
					g.VPSRLVD(shift.Offset(4*s.lanes*at), high, bit)
					g.VPSLLD(operand.Imm(4), bit, bit)
					g.and(g.bits(16), bit)
					g.or(bit, v)
				}
				if offset > 0 {
					g.integers(g.VPSUBD, g.bits(uint32(offset)), v)
				}
				g.weights(v, d, add, dst, at)
			}
		}
	})
}

// counting is the address of the numbers 0 to 31.
func (g *gen) counting() operand.Mem {
	words := make([]uint32, 32)
	for i := range words {
		words[i] = uint32(i)
	}
	return g.data("counting", words)
}

// dequantizeAffine is a format of super-blocks of eight groups of 32 levels, in pairs of groups that share 32 bytes for
// the low four bits. The fifth bits, if there are any, are in the 32 bytes from high on.
func dequantizeAffine(g *gen, s isa, name string, bytes, levels, high int) {
	g.kernel(s, "dequantize"+name, "(blocks int, dst *float32, src *uint8)", "dst = the weights of the blocks of "+name)
	scales := g.AllocLocal(64)
	g.eachBlock("dst", "src", 4*256, bytes, func(dst, src reg.Register) {
		g.affineScales(src, scales)
		var fifth []reg.VecVirtual
		for i := 0; high > 0 && i < 32; i += s.lanes {
			fifth = append(fifth, g.bytesAt(src, high+i))
		}
		for pair := range 4 {
			scale, add := g.vecs(2), g.vecs(2)
			for n := range 2 {
				g.VBROADCASTSS(scales.Offset(4*(2*pair+n)), scale[n])
				g.VBROADCASTSS(scales.Offset(32+4*(2*pair+n)), add[n])
			}
			for i := range 32 / s.lanes {
				low := g.bytesAt(src, levels+32*pair+s.lanes*i)
				upper := g.shifted(low, -4)
				g.and(g.bits(15), low)
				for n, v := range []reg.VecVirtual{low, upper} {
					if high > 0 {
						bit := g.shifted(fifth[i], 4-(2*pair+n))
						g.and(g.bits(16), bit)
						g.or(bit, v)
					}
					g.weights(v, scale[n], add[n], dst, (64*pair+32*n)/s.lanes+i)
				}
			}
		}
	})
}

// affineScales stores the eight scales, and the negative minima behind them, that the head of a super-block says.
func (g *gen) affineScales(src reg.Register, to operand.Mem) {
	word := func(disp int) reg.GPVirtual {
		r := g.GP32()
		g.MOVL(operand.Mem{Base: src, Disp: disp}, r)
		return r
	}
	masked := func(r reg.GPVirtual, shift int, mask uint32) reg.GPVirtual {
		m := g.GP32()
		g.MOVL(r, m)
		if shift > 0 {
			g.SHRL(operand.Imm(uint64(shift)), m)
		}
		g.ANDL(operand.U32(mask), m)
		return m
	}
	a, b, c := word(4), word(8), word(12)
	const six, four, two = 0x3f3f3f3f, 0x0f0f0f0f, 0x30303030
	for i, r := range []reg.GPVirtual{a, b} {
		first, others, top := masked(r, 0, six), masked(c, 4*i, four), masked(r, 2, two)
		g.ORL(top, others)
		g.SHLQ(operand.Imm(32), others.As64())
		g.ORQ(others.As64(), first.As64())
		x, v, d := g.XMM(), g.YMM(), g.XMM()
		g.VMOVQ(first.As64(), x)
		g.VPMOVZXBD(x, v)
		g.VCVTDQ2PS(v, v)
		half, wide := g.GP32(), g.YMM()
		g.MOVWLZX(operand.Mem{Base: src, Disp: 2 * i}, half)
		g.VMOVD(half, d)
		g.VCVTPH2PS(d, d)
		g.VBROADCASTSS(d, wide)
		g.VMULPS(v, wide, v)
		if i == 1 {
			g.VXORPS(g.bits(1<<31), v, v)
		}
		g.VMOVUPS(v, to.Offset(32*i))
	}
}

func dequantizeQ6_K(g *gen, s isa) {
	const high, scalesAt, d = 128, 192, 208
	g.kernel(s, "dequantizeQ6_K", "(blocks int, dst *float32, src *uint8)", "dst = the weights of the blocks of Q6_K")
	scales := g.AllocLocal(64)
	g.eachBlock("dst", "src", 4*256, 210, func(dst, src reg.Register) {
		d := g.half(src, d)
		for i := range 16 / s.lanes {
			v := g.vec()
			g.VPMOVSXBD(operand.Mem{Base: src, Disp: scalesAt + s.lanes*i}, v)
			g.VCVTDQ2PS(v, v)
			g.VMULPS(v, d, v)
			g.VMOVUPS(v, scales.Offset(s.bytes()*i))
		}
		for half := range 2 {
			for i := 0; i < 32; i += s.lanes {
				low, other, bits := g.bytesAt(src, 64*half+i), g.bytesAt(src, 64*half+32+i), g.bytesAt(src, high+32*half+i)
				for quarter, v := range []reg.VecVirtual{low, other, g.shifted(low, -4), g.shifted(other, -4)} {
					g.and(g.bits(15), v)
					top := g.shifted(bits, 4-2*quarter)
					g.and(g.bits(0x30), top)
					g.or(top, v)
					g.integers(g.VPSUBD, g.bits(32), v)
					at := 128*half + 32*quarter + i
					scale := g.vec()
					g.VBROADCASTSS(scales.Offset(at/16*4), scale)
					g.weights(v, scale, nil, dst, at/s.lanes)
				}
			}
		}
	})
}
