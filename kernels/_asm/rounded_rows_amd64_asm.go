package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Products of four rows of blocks at once with one row of 8-bit integers, for processors with AVX-512 VBMI and GFNI
// beside VNNI. What a block has besides its codes is decoded for four rows together. Each lane gets the numbers that it
// gets in the kernels for one row, in their order, so that results are the same.

// vbmi is AVX-512 with VNNI, VBMI and GFNI.
var vbmi = isa{suffix: "VBMI", lanes: 16, regs: 32}

// Where the parts of a record of 256 values in eight blocks are, and its length.
const (
	eightFours  = 256
	eightSteps  = 512
	eightRecord = 576
)

// Matrices of VGF2P8AFFINEQB: byte 7-i chooses the bits of the byte that bit i of the result is the parity of.
const (
	lowBits  = 0x0102040800000000 // the low four bits
	highBits = 0x1020408000000000 // the high four bits, as the low ones
)

// rowsFile holds the products of the formats that have such kernels.
func rowsFile(g *gen) {
	rowsAffine(g, "Q4_K", 144, 16, 0)
	rowsAffine(g, "Q5_K", 176, 48, 16)
	rowsQ6_K(g)
	rowsOfEight(g, "Q8_0", 34, 7, func(r *rowsAt) func(pair, row int) reg.VecVirtual {
		return func(pair, row int) reg.VecVirtual {
			codes := g.vec()
			g.VMOVDQU32(r.block(row, 2*34*pair+2), codes.AsY())
			g.VINSERTI64X4(operand.Imm(1), r.block(row, 2*34*pair+36), codes, codes)
			g.VPXORD(g.bits(0x80808080), codes, codes)
			return codes
		}
	})
	rowsOfEight(g, "Q4_0", 18, 3, func(r *rowsAt) func(pair, row int) reg.VecVirtual {
		return r.nibblePairs(18, 2)
	})
	rowsOfEight(g, "Q5_0", 22, 4, func(r *rowsAt) func(pair, row int) reg.VecVirtual {
		nibbles := r.nibblePairs(22, 6)
		each, sixteen := g.vec(), g.vec()
		g.VMOVDQU32(g.pattern("eachBit", func(i int) uint8 { return 1 << (i % 8) }), each)
		g.VPBROADCASTD(g.bits(0x10101010), sixteen)
		var at [4]reg.VecVirtual // where the bytes of fifth bits are
		for pair := range at {
			start, _ := pairWindow(22, pair)
			at[pair] = r.indexes(fmt.Sprint("fifthPairs", pair), func(i int) uint8 {
				return uint8(44*pair - start + i/32*22 + 2 + i%32/8)
			})
		}
		return func(pair, row int) reg.VecVirtual {
			codes, bit, mask := nibbles(pair, row), g.vec(), g.K()
			start, _ := pairWindow(22, pair)
			g.VPERMB(r.block(row, start), at[pair], bit)
			g.VPTESTMB(each, bit, mask)
			g.VPADDB(sixteen, codes, mask, codes)
			return codes
		}
	})
	rowsOfEight(g, "IQ4_NL", 18, 7, func(r *rowsAt) func(pair, row int) reg.VecVirtual {
		nibbles := r.nibblePairs(18, 2)
		table := g.vec()
		g.VMOVDQU32(g.pattern("valuesIQ4Above", func(i int) uint8 { return uint8(valuesIQ4[i%16]) ^ 0x80 }), table)
		return func(pair, row int) reg.VecVirtual {
			codes := nibbles(pair, row)
			g.VPSHUFB(codes, table, codes)
			return codes
		}
	})
}

// rowsAt is a kernel at work on a block, or eight blocks, of each of four rows.
type rowsAt struct {
	*gen
	w, last reg.Register // in rows 0 and 3
	step    reg.Register // from one row to the next
	x       reg.Register // the record
}

// block is the address of a part of the block of a row.
func (r *rowsAt) block(row, disp int) operand.Mem {
	switch row {
	case 0:
		return operand.Mem{Base: r.w, Disp: disp}
	case 3:
		return operand.Mem{Base: r.last, Disp: disp}
	}
	return operand.Mem{Base: r.w, Index: r.step, Scale: uint8(row), Disp: disp}
}

// record is the address of a part of the record.
func (r *rowsAt) record(disp int) operand.Mem { return operand.Mem{Base: r.x, Disp: disp} }

// indexes is a register of bytes.
func (r *rowsAt) indexes(name string, at func(i int) uint8) reg.VecVirtual {
	v := r.vec()
	r.VMOVDQU32(r.pattern(name, at), v)
	return v
}

// matrices is a register of a matrix for each eight bytes.
func (r *rowsAt) matrices(name string, at func(i int) uint64) operand.Mem {
	return r.pattern(name, func(i int) uint8 { return uint8(at(i/8) >> (8 * (i % 8))) })
}

// affine is each byte of v times the matrices.
func (r *rowsAt) affine(matrices operand.Op, v reg.VecVirtual) {
	r.VGF2P8AFFINEQB(operand.Imm(0), matrices, v, v)
}

// rowsOf writes the kernel of a format of which each record has so many bytes of blocks. blocks of the parameter are
// divided by each. setup gives the body, which adds to acc, and to other if the format has minima.
func (g *gen) rowsOf(name string, bytes, record, each int, setup func(r *rowsAt, acc []reg.VecVirtual,
	other reg.VecVirtual) func(), minima bool) {
	g.kernel(vbmi, "rows"+name, "(rows, blocks int, w *uint8, x *byte, y *float32)",
		"y[r] = row r of the blocks, times x. rows is a multiple of four.")
	rows, w, y := g.param("rows"), g.param("w"), g.param("y")
	step, last, next, x := g.param("blocks"), g.GP64(), g.GP64(), g.GP64()
	if each > 1 {
		g.SHRQ(operand.Imm(3), step)
	}
	g.IMUL3Q(operand.U32(uint64(bytes)), step, step)
	r := &rowsAt{gen: g, w: w, last: last, step: step, x: x}
	acc := g.vecs(4)
	var other reg.VecVirtual
	if minima {
		other = g.vec()
	}
	body := setup(r, acc, other)
	g.loop("row", rows, 4, func() {
		count := g.param("blocks")
		if each > 1 {
			g.SHRQ(operand.Imm(3), count)
		}
		g.Load(g.Param("x"), x)
		g.LEAQ(operand.Mem{Base: step, Index: step, Scale: 2}, last)
		g.ADDQ(w, last)
		g.LEAQ(operand.Mem{Base: w, Index: step, Scale: 4}, next)
		for _, v := range acc {
			g.zero(v)
		}
		if minima {
			g.zero(other)
		}
		g.loop("block", count, 1, func() {
			for at := 0; at < 4*bytes; at += 64 { // the next four rows, and the four that are two times four later
				g.PREFETCHT0(operand.Mem{Base: next, Disp: at})
				g.PREFETCHT1(operand.Mem{Base: next, Index: step, Scale: 8, Disp: at})
			}
			body()
			g.ADDQ(operand.U32(uint64(bytes)), w)
			g.ADDQ(operand.U32(uint64(bytes)), last)
			g.ADDQ(operand.U32(uint64(4*bytes)), next)
			g.ADDQ(operand.U32(uint64(record)), x)
		})
		r.store(acc, other, minima, y)
		g.MOVQ(last, w)
		g.ADDQ(operand.Imm(16), y)
	})
	g.end()
}

// store adds up the lanes of four results and writes them.
func (r *rowsAt) store(acc []reg.VecVirtual, other reg.VecVirtual, minima bool, y reg.Register) {
	for i := 0; i < 4; i += 2 { // halves
		high := r.vec()
		r.VSHUFF64X2(operand.Imm(0xee), acc[i+1], acc[i], high)
		r.VSHUFF64X2(operand.Imm(0x44), acc[i+1], acc[i], acc[i])
		r.VADDPS(high, acc[i], acc[i])
	}
	sum, high := acc[0], r.vec() // quarters
	r.VSHUFF64X2(operand.Imm(0xdd), acc[2], sum, high)
	r.VSHUFF64X2(operand.Imm(0x88), acc[2], sum, sum)
	r.VADDPS(high, sum, sum)
	if minima {
		r.VADDPS(other, sum, sum)
	}
	r.VPERMILPS(operand.Imm(0x0e), sum, high)
	r.VADDPS(high, sum, sum)
	r.VMOVSHDUP(sum, high)
	r.VADDPS(high, sum, sum)
	r.VMOVDQU32(r.counts("quarterLanes", func(lane int) int { return 4 * lane % 16 }), high)
	r.VPERMPS(sum, high, sum)
	r.VMOVUPS(sum.AsX(), operand.Mem{Base: y})
}

// heads is 16 bytes of each row.
func (r *rowsAt) heads(disp int) reg.VecVirtual {
	v := r.vec()
	r.VMOVDQU32(r.block(0, disp), v.AsX())
	for row := 1; row < 4; row++ {
		r.VINSERTI64X2(operand.Imm(uint64(row)), r.block(row, disp), v, v)
	}
	return v
}

// rowsAffine is productsAffine.
func rowsAffine(g *gen, name string, bytes, levels, high int) {
	factorsAt := operand.Mem{}
	g.rowsOf(name, bytes, superRecord, 1, func(r *rowsAt, acc []reg.VecVirtual, other reg.VecVirtual) func() {
		factorsAt = g.AllocLocal(32)
		nibbles, words := g.vec(), g.K()
		g.VMOVDQU32(r.matrices("nibbleMatrices", func(i int) uint64 {
			return [2]uint64{lowBits, highBits}[i/4]
		}), nibbles)
		mask := g.GP64()
		g.MOVQ(operand.U64(0x5555555555555555), mask)
		g.KMOVQ(mask, words)
		return func() {
			head := r.heads(0)
			scales := r.affineCodesOfRows(head)
			r.addMinima(head, scales, factorsAt, other)
			for row := range 4 {
				var fifth reg.VecVirtual
				if high > 0 {
					fifth = g.vec()
					g.VBROADCASTI64X4(r.block(row, high), fifth)
				}
				sum := g.vec()
				for chunk := range 4 {
					codes, product, scale := g.vec(), g.vec(), g.vec()
					g.VBROADCASTI64X4(r.block(row, levels+32*chunk), codes)
					r.affine(nibbles, codes)
					if high > 0 {
						bit := g.vec()
						g.VGF2P8AFFINEQB(operand.Imm(0), r.matrices(fmt.Sprint("fifthMatrices", chunk), func(i int) uint64 {
							return 1 << (24 + 2*chunk + i/4)
						}), fifth, bit)
						g.VPORD(bit, codes, codes)
					}
					at := r.indexes(fmt.Sprintf("scaleBytes%d_%d", row, chunk), func(i int) uint8 {
						return uint8(16*row + 2*chunk + i/32)
					})
					g.VPERMB_Z(scales, at, words, scale)
					g.VPMADDUBSW(r.record(64*chunk), codes, product)
					if chunk == 0 {
						g.VPMADDWD(scale, product, sum)
					} else {
						g.VPDPWSSD(scale, product, sum)
					}
				}
				g.VCVTDQ2PS(sum, sum)
				g.VFMADD231PS_BCST(factorsAt.Offset(8*row), sum, acc[row])
			}
		}
	}, true)
}

// affineCodesOfRows is affineCodes of each row.
func (r *rowsAt) affineCodesOfRows(head reg.VecVirtual) reg.VecVirtual {
	low, top := r.vec(), r.vec()
	each := func(name string, words [4]int) operand.Mem {
		return r.counts(name, func(lane int) int { return words[lane%4] })
	}
	r.VPSHUFD(operand.Imm(0xed), head, low)
	r.VPSRLVD(each("headShiftWide", [4]int{0, 0, 0, 4}), low, low)
	r.VPANDD(each("headLowWide", [4]int{0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f}), low, low)
	r.VPSHUFD(operand.Imm(0xa5), head, top)
	r.VPSRLD(operand.Imm(2), top, top)
	r.VPTERNLOGD(operand.Imm(orAnd), each("headTopWide", [4]int{0, 0x30303030, 0, 0x30303030}), top, low)
	return low
}

// addMinima takes the minima of four blocks, times the sums of x, off other, and stores the factors of their scales and
// minima, in turn.
func (r *rowsAt) addMinima(head, codes reg.VecVirtual, factorsAt operand.Mem, other reg.VecVirtual) {
	index, factors := r.vec(), r.vec()
	r.VMOVDQU32(r.counts("headLanes", func(lane int) int { return 4 * lane % 16 }), index)
	r.VPERMD(head, index, factors)
	r.VCVTPH2PS(factors.AsX(), factors.AsY())
	r.VMULPS_BCST(r.record(superStep), factors.AsY(), factors.AsY())
	r.VMOVUPS(factors.AsY(), factorsAt)
	zero, minima, sums := r.vec(), r.vec(), r.vec()
	r.zero(zero)
	r.VPUNPCKHBW(zero, codes, minima)
	r.VBROADCASTI32X4(r.record(superSums32), sums)
	r.VPMADDWD(sums, minima, minima)
	r.VCVTDQ2PS(minima, minima)
	r.VMOVDQU32(r.counts("minimumLanes", func(lane int) int { return lane/4*2 + 1 }), index)
	r.VPERMPS(factors, index, factors)
	r.VFNMADD231PS(factors, minima, other)
}

// rowsQ6_K is productsQ6_K.
func rowsQ6_K(g *gen) {
	const bytes, high, scalesAt, d = 210, 128, 192, 208
	g.rowsOf("Q6_K", bytes, superRecord, 1, func(r *rowsAt, acc []reg.VecVirtual, _ reg.VecVirtual) func() {
		factorsAt := g.AllocLocal(16)
		var groups [4]reg.VecVirtual // which scales the codes of a chunk have
		for chunk := range groups {
			groups[chunk] = g.vec()
			g.VMOVDQU32(g.counts(fmt.Sprint("groupWords", chunk), func(lane int) int {
				return (4*chunk + lane/4) * 0x10001
			}), groups[chunk])
		}
		low, upper := g.vec(), g.vec()
		g.VPBROADCASTD(g.bits(0x0f0f0f0f), low)
		g.VMOVDQU32(r.matrices("highMatrices", func(int) uint64 { return highBits }), upper)
		var pairs [2]reg.VecVirtual
		for i := range pairs {
			pairs[i] = g.vec()
			g.VMOVDQU32(r.matrices(fmt.Sprint("pairMatrices", i), func(k int) uint64 {
				bit := 4*i + k/4*2
				return 1<<(24+bit) | 1<<(16+bit+1)
			}), pairs[i])
		}
		return func() {
			factors := g.XMM()
			g.VPXORD(factors, factors, factors)
			for row := range 4 {
				g.VPINSRW(operand.Imm(uint64(row)), r.block(row, d), factors, factors)
			}
			g.VCVTPH2PS(factors, factors)
			g.VMULPS_BCST(r.record(superStep), factors, factors)
			g.VMOVUPS(factors, factorsAt)
			for row := range 4 {
				scales, sum, zero := g.YMM(), g.vec(), g.YMM()
				g.VPMOVSXBW(r.block(row, scalesAt), scales)
				g.VPMADDWD(r.record(superSums16), scales, sum.AsY())
				g.VPSLLD(operand.Imm(5), sum.AsY(), sum.AsY())
				g.VPXORD(zero, zero, zero)
				g.VPSUBD(sum.AsY(), zero, sum.AsY())
				for chunk := range 4 {
					half, codes, bits, scale, product := chunk/2, g.vec(), g.vec(), g.vec(), g.vec()
					if chunk%2 == 0 {
						g.VPANDD(r.block(row, 64*half), low, codes)
					} else {
						g.VMOVDQU32(r.block(row, 64*half), codes)
						r.affine(upper, codes)
					}
					g.VBROADCASTI64X4(r.block(row, high+32*half), bits)
					r.affine(pairs[chunk%2], bits)
					g.VPORD(bits, codes, codes)
					g.VPERMW(scales.AsZ(), groups[chunk], scale)
					g.VPMADDUBSW(r.record(64*chunk), codes, product)
					g.VPDPWSSD(scale, product, sum)
				}
				g.VCVTDQ2PS(sum, sum)
				g.VFMADD231PS_BCST(factorsAt.Offset(4*row), sum, acc[row])
			}
		}
	}, false)
}

// pairWindow is where 64 bytes begin that hold number pair of the pairs of eight blocks, and end with the last block at
// most, and where in these the pair is.
func pairWindow(bytes, pair int) (start, at int) {
	start = min(2*bytes*pair, 8*bytes-64)
	return start, 2*bytes*pair - start
}

// nibblePairs makes the 64 codes of a pair of blocks whose 16 bytes of nibbles are at disp.
func (r *rowsAt) nibblePairs(bytes, disp int) func(pair, row int) reg.VecVirtual {
	var at [4]reg.VecVirtual
	for pair := range at {
		_, first := pairWindow(bytes, pair)
		at[pair] = r.indexes(fmt.Sprintf("nibblePairs%d_%d", bytes, first), func(i int) uint8 {
			return uint8(first + i/32*bytes + disp + i%16)
		})
	}
	matrices := r.vec()
	r.VMOVDQU32(r.matrices("nibblePairMatrices", func(i int) uint64 {
		return [2]uint64{lowBits, highBits}[i/2%2]
	}), matrices)
	return func(pair, row int) reg.VecVirtual {
		codes := r.vec()
		start, _ := pairWindow(bytes, pair)
		r.VPERMB(r.block(row, start), at[pair], codes)
		r.affine(matrices, codes)
		return codes
	}
}

// rowsOfEight is a format of blocks of 32 codes that are 1<<offset larger than the weights. The number of blocks is a
// multiple of eight. setup gives what makes the 64 codes of a pair of blocks.
func rowsOfEight(g *gen, name string, bytes, offset int, setup func(r *rowsAt) func(pair, row int) reg.VecVirtual) {
	g.rowsOf(name, 8*bytes, eightRecord, 8, func(r *rowsAt, acc []reg.VecVirtual, _ reg.VecVirtual) func() {
		factorsAt := g.AllocLocal(4 * 32)
		codesOf := setup(r)
		second := g.K()
		mask := g.GP32()
		g.MOVL(operand.U32(0xff00), mask)
		g.KMOVW(mask, second)
		return func() {
			for row := range 4 {
				factors := r.eightHalves(row, bytes)
				g.VCVTPH2PS(factors.AsX(), factors.AsY())
				g.VMULPS(r.record(eightSteps), factors.AsY(), factors.AsY())
				g.VMOVUPS(factors.AsY(), factorsAt.Offset(32*row))
			}
			for pair := range 4 {
				less := g.vec()
				g.VPSLLD(operand.Imm(uint64(offset)), r.record(eightFours+64*pair), less)
				for row := range 4 {
					codes, sum, factor := codesOf(pair, row), g.vec(), g.vec()
					g.VMOVDQA64(less, sum)
					g.VPDPBUSD(r.record(64*pair), codes, sum)
					g.VCVTDQ2PS(sum, sum)
					g.VBROADCASTSS(factorsAt.Offset(32*row+8*pair), factor)
					g.VBROADCASTSS(factorsAt.Offset(32*row+8*pair+4), second, factor)
					g.VFMADD231PS(factor, sum, acc[row])
				}
			}
		}
	}, false)
}

// eightHalves is the half precision numbers that eight blocks begin with.
func (r *rowsAt) eightHalves(row, bytes int) reg.VecVirtual {
	v := r.vec()
	if 3*bytes+2 > 64 {
		r.VPXORD(v.AsX(), v.AsX(), v.AsX())
		for i := range 8 {
			r.VPINSRW(operand.Imm(uint64(i)), r.block(row, i*bytes), v.AsX(), v.AsX())
		}
		return v
	}
	low := r.vec()
	r.VMOVDQU32(r.counts(fmt.Sprint("eightHalves", bytes), func(lane int) int {
		word := func(i int) int { return i%8/4*32 + i%4*bytes/2 }
		return word(2*lane) | word(2*lane+1)<<16
	}), v)
	r.VMOVDQU32(r.block(row, 0), low)
	r.VPERMI2W(r.block(row, 4*bytes), low, v)
	return v
}
