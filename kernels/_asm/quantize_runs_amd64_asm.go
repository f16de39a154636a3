package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// A pointRuns is the parts of snapPoint for AVX-512: near points lie side by side in the lanes.
type pointRuns struct {
	*gen
	size, radix       int
	memory            reg.Register
	products, squares []reg.VecVirtual // tables of Σ 2·w·x·q and Σ w·q² of the levels that four bits of a code hold
	sumW, sumX        reg.VecVirtual   // Σ w and Σ w·x²
}

// What is in the memory of snapPoint, in bytes: errors of near points at two scales, and the points that may be the
// nearest.
const (
	nearErrors = 4 * 1024
	nearKept   = 2 * nearErrors
	nearRuns   = 3*nearErrors + 64
)

// snapPoints is snapPoint for AVX-512. Scales in a row that round to the same levels are a run: they have the same near
// points. Those that are farther than another one at the first and the last scale are so at all between (see
// leaveOutFar). What is left is mostly one point.
func snapPoints(g *gen, size, radix int) {
	g.kernel(avx512, fmt.Sprintf("snapPoint%d", size), "(trials int, x, w, inverse, scale, memory *float32, "+
		"near *uint32, lists, digits *uint16, codes *uint32) (moved uint32)",
		fmt.Sprintf("codes[t] = the point next to x*inverse[t] for trials, and the bits of those that were moved; of "+
			"%d weights and %d levels", size, radix))
	p := pointRuns{gen: g, size: size, radix: radix}
	codes, moved, ends, left := g.param("codes"), g.GP32(), g.GP32(), g.GP64()
	p.round(codes, ends)
	g.XORL(moved, moved)
	p.list(codes, ends, left, moved)
	g.Store(moved, g.ReturnIndex(0))
	g.TESTQ(left, left)
	g.JZ(operand.LabelRef("none"))
	p.tables()
	p.memory = g.param("memory")
	run := g.GP64()
	g.LEAQ(operand.Mem{Base: p.memory, Disp: nearRuns}, run)
	g.Label("run")
	start, end, list := g.GP64(), g.GP64(), g.GP64()
	g.MOVL(operand.Mem{Base: run}, start.As32())
	g.MOVL(operand.Mem{Base: run, Disp: 4}, end.As32())
	g.MOVQ(operand.Mem{Base: run, Disp: 8}, list)
	g.ADDQ(operand.Imm(16), run)
	mask, low, high := p.maskOf(start, end), g.K(), g.K()
	g.KMOVW(mask, low)
	g.SHRL(operand.Imm(16), mask)
	g.KMOVW(mask, high)
	kept := p.keep(list, start, end)
	g.CMPQ(kept, operand.Imm(1))
	g.JNE(operand.LabelRef("several"))
	only := g.vec()
	p.keptCode(only, operand.Mem{Base: p.memory, Disp: nearKept})
	g.VMOVDQU32(only, low, operand.Mem{Base: codes})
	g.VMOVDQU32(only, high, operand.Mem{Base: codes, Disp: 64})
	g.Label("next")
	g.DECQ(left)
	g.JNZ(operand.LabelRef("run"))
	g.Label("none")
	g.end()
	g.Label("several")
	for half, m := range []reg.Register{low, high} {
		p.nearest(half, m, kept, codes)
	}
	g.JMP(operand.LabelRef("next"))
}

// round sets the codes of all trials to the nearest levels, and the bits of the last trial of each run.
func (p *pointRuns) round(codes, ends reg.Register) {
	x, inverse, trials := p.param("x"), p.param("inverse"), p.param("trials")
	one, half, bias, mantissa := p.constant(1), p.constant(0.5), p.constant(roundingBias), p.get(p.bits(0x7fffff))
	least, most, digit := p.get(p.bits(0x400000)), p.get(p.bits(uint32(0x400000+p.radix-1))), p.get(p.bits(15))
	var code [2]reg.VecVirtual
	for part := range code {
		code[part] = p.zeros(1)[0]
		if part > 0 {
			p.CMPQ(trials, operand.Imm(uint64(p.lanes)))
			p.JLE(operand.LabelRef("rounded"))
		}
		inverses := p.get(operand.Mem{Base: inverse, Disp: part * p.bytes()})
		for i := p.size - 1; i >= 0; i-- {
			l := p.vec()
			p.VMULPS_BCST(operand.Mem{Base: x, Disp: 4 * i}, inverses, l)
			p.VSUBPS(one, l, l)
			p.VMULPS(half, l, l)
			p.VADDPS(bias, l, l)
			p.VPANDD(mantissa, l, l)
			p.VPMAXSD(least, l, l)
			p.VPMINSD(most, l, l)
			p.VPSLLD(operand.Imm(4), code[part], code[part])
			const aOrBAndC = 0xf8
			p.VPTERNLOGD(operand.Imm(aOrBAndC), digit, l, code[part])
		}
		p.VMOVDQU32(code[part], operand.Mem{Base: codes, Disp: part * p.bytes()})
	}
	p.Label("rounded")
	differ := func(a, b reg.VecVirtual) reg.Register {
		m, next := p.K(), p.vec()
		p.VALIGND(operand.Imm(1), a, b, next)
		p.VPCMPD(operand.Imm(differs), next, a, m)
		return m
	}
	last, high := trials.As32(), p.GP32()
	p.KMOVW(differ(code[0], code[1]), ends)
	p.KMOVW(differ(code[1], code[1]), high)
	p.SHLL(operand.Imm(16), high)
	p.ORL(high, ends)
	p.DECL(last)
	p.BTSL(last, ends)
	p.INCL(last)
	p.NEGL(last)
	p.ADDL(operand.Imm(32), last)
	p.SHLXL(last, ends, ends)
	p.SHRXL(last, ends, ends)
}

// list writes the runs whose codes are no point: first trial, trial behind the last one, and the near points.
func (p *pointRuns) list(codes, ends, left, moved reg.Register) {
	run, start, end, code, number := p.GP64(), p.GP64(), p.GP64(), p.GP64(), p.GP64()
	found, chosen := p.GP64(), p.GP64()
	p.Load(p.Param("memory"), run)
	p.ADDQ(operand.U32(nearRuns), run)
	p.XORQ(start, start)
	p.XORQ(left, left)
	p.Label("list")
	p.TZCNTL(ends, end.As32())
	p.INCQ(end)
	p.MOVL(operand.Mem{Base: codes, Index: start, Scale: 4}, code.As32())
	p.spelled(code, number)
	near, list := p.param("near"), p.param("lists")
	p.MOVL(operand.Mem{Base: near, Index: number, Scale: 4}, number.As32())
	p.LEAQ(operand.Mem{Base: list, Index: number, Scale: 2}, list)
	p.MOVL(start.As32(), operand.Mem{Base: run})
	p.MOVL(end.As32(), operand.Mem{Base: run, Disp: 4})
	p.MOVQ(list, operand.Mem{Base: run, Disp: 8})
	mask := p.maskOf(start, end)
	p.XORQ(found, found)
	p.TESTQ(number, number)
	p.SETNE(found.As8())
	p.ADDQ(found, left)
	p.MOVQ(found, chosen)
	p.NEGQ(chosen)
	p.ANDL(chosen.As32(), mask)
	p.ORL(mask, moved)
	p.SHLQ(operand.Imm(4), found)
	p.ADDQ(found, run)
	p.MOVQ(end, start)
	p.LEAL(operand.Mem{Base: ends, Disp: -1}, end.As32())
	p.ANDL(end.As32(), ends)
	p.JNZ(operand.LabelRef("list"))
}

// tables prepares keep.
func (p *pointRuns) tables() {
	perEntry := 1
	if p.size == 8 {
		perEntry = 2
	}
	levels := func(name string, of func(q float32) float32) (tables []operand.Mem) {
		for part := range perEntry {
			tables = append(tables, p.data(fmt.Sprintf("%s%dof%d", name, part, perEntry),
				floatWords(16, func(i int) float32 {
					if perEntry == 2 {
						i = i >> (2 * part) & 3
					}
					return of(float32(2*i + 1))
				})))
		}
		return tables
	}
	twice := levels("twiceLevels", func(q float32) float32 { return 2 * q })
	square := levels("squareLevels", func(q float32) float32 { return q * q })
	z, x, w := p.zeros(2), p.param("x"), p.param("w")
	p.sumW, p.sumX = z[0], z[1]
	for i := range p.size {
		weight, v, wx := p.vec(), p.vec(), p.vec()
		p.VBROADCASTSS(operand.Mem{Base: w, Disp: 4 * i}, weight)
		p.VBROADCASTSS(operand.Mem{Base: x, Disp: 4 * i}, v)
		p.VADDPS(weight, p.sumW, p.sumW)
		p.VMULPS(v, weight, wx)
		p.VFMADD231PS(wx, v, p.sumX)
		if part := i % perEntry; part > 0 {
			n := len(p.products) - 1
			p.VFMADD231PS(twice[part], wx, p.products[n])
			p.VFMADD231PS(square[part], weight, p.squares[n])
			continue
		}
		p.VMULPS(twice[0], wx, wx)
		p.VMULPS(square[0], weight, weight)
		p.products, p.squares = append(p.products, wx), append(p.squares, weight)
	}
}

// spelled is the number that the levels of a code spell.
func (p *pointRuns) spelled(code, number reg.GPVirtual) {
	mask := p.GP32()
	if p.radix == 8 {
		p.MOVL(operand.U32(0x7777), mask)
		p.PEXTL(mask, code.As32(), number.As32())
		return
	}
	digits, high := p.param("digits"), p.GP64()
	p.MOVL(operand.U32(0x33333333), mask)
	p.PEXTL(mask, code.As32(), code.As32())
	p.MOVBQZX(code.As8(), number)
	p.SHRL(operand.Imm(8), code.As32())
	p.MOVWQZX(operand.Mem{Base: digits, Index: number, Scale: 2}, number)
	p.MOVWQZX(operand.Mem{Base: digits, Index: code, Scale: 2}, high)
	p.IMUL3Q(operand.Imm(81), high, high)
	p.ADDQ(high, number)
}

// maskOf is the bits from start to end.
func (p *pointRuns) maskOf(start, end reg.Register) reg.GPVirtual {
	mask, below := p.GP64(), p.GP64()
	p.MOVQ(operand.U32(1), below)
	p.SHLXQ(end, below, mask)
	p.SHLXQ(start, below, below)
	p.SUBQ(below, mask)
	return mask.As32().(reg.GPVirtual)
}

// keep sets the memory to the codes in list that may be the nearest for a scale from start to end, and returns their
// number. It is all of them where numbers are too large or too small to tell.
func (p *pointRuns) keep(list, start, end reg.Register) (kept reg.GPVirtual) {
	first, last, margin, part := p.vec(), p.vec(), p.vec(), p.vec()
	scale, inverse := p.param("scale"), p.param("inverse")
	p.VBROADCASTSS(operand.Mem{Base: scale, Index: start, Scale: 4}, first)
	p.VBROADCASTSS(operand.Mem{Base: scale, Index: end, Scale: 4, Disp: -4}, last)
	most := float32(2*p.radix - 1)
	p.VMULPS(p.number(most*most), first, margin)
	p.VMULPS(p.sumW, margin, margin)
	p.VBROADCASTSS(operand.Mem{Base: inverse, Index: end, Scale: 4, Disp: -4}, part)
	p.VMULPS(p.sumX, part, part)
	p.VADDPS(part, margin, margin)
	p.VMULPS(p.number(1.0/(1<<16)), margin, margin)
	const normal = 1.0 / (1 << 60) / (1 << 40)
	p.VMULPS(last, margin, part)
	sure := p.K()
	p.KMOVW(p.compare(margin, isGreater, p.number(normal)), sure)
	sure = p.both(sure, p.compare(part, isGreater, p.number(normal))).(reg.OpmaskVirtual)
	p.VMULPS(first, margin, part)
	for _, v := range []reg.Register{margin, part} { // no error overflows
		sure = p.both(sure, p.compare(v, isLess, p.number(1<<60*(1<<40)))).(reg.OpmaskVirtual)
	}

	count, at := p.GP64(), p.GP64()
	kept, found, valid, all := p.GP64(), p.GP32(), p.GP32(), p.GP32()
	p.MOVWQZX(operand.Mem{Base: list, Disp: -2}, count)
	p.XORQ(at, at)
	keep := func(atFirst, atLast, nearFirst, nearLast reg.VecVirtual) {
		far, near, code := p.K(), p.K(), p.vec()
		p.KANDW(p.both(p.compare(atFirst, isGreater, nearFirst), p.compare(atLast, isGreater, nearLast)), sure, far)
		p.KNOTW(far, near)
		p.KMOVW(near, found)
		p.MOVQ(count, valid.As64())
		p.SUBQ(at, valid.As64())
		p.MOVL(operand.U32(16), all)
		p.CMPL(valid, all)
		p.CMOVLGT(all, valid) // BZHI takes eight bits
		p.BZHIL(valid, found, found)
		p.KMOVW(found, near)
		p.VPMOVZXWD(operand.Mem{Base: list, Index: at, Scale: 2}, code)
		p.VPCOMPRESSD_Z(code, near, code)
		p.VMOVDQU32(code, operand.Mem{Base: p.memory, Index: kept, Scale: 4, Disp: nearKept})
		p.POPCNTL(found, found)
		p.ADDQ(found.As64(), kept)
	}
	p.CMPQ(count, operand.Imm(16))
	p.JG(operand.LabelRef("long"))
	atFirst, atLast, least := p.atEnds(list, at, first, last)
	nearFirst, nearLast := p.limits(least, atFirst, atLast, margin)
	p.XORQ(kept, kept)
	keep(atFirst, atLast, nearFirst, nearLast)
	p.JMP(operand.LabelRef("kept"))

	p.Label("long")
	least, nearFirst, nearLast = p.get(p.bits(greatestFloat)), p.vec(), p.vec()
	p.zero(nearFirst)
	p.zero(nearLast)
	p.Label("far")
	atFirst, atLast, both := p.atEnds(list, at, first, last)
	p.VMOVUPS(atFirst, operand.Mem{Base: p.memory, Index: at, Scale: 4})
	p.VMOVUPS(atLast, operand.Mem{Base: p.memory, Index: at, Scale: 4, Disp: nearErrors})
	less := p.compare(both, isLess, least)
	p.VMINPS(least, both, least)
	p.choose(less, atFirst, nearFirst)
	p.choose(less, atLast, nearLast)
	p.ADDQ(operand.Imm(16), at)
	p.CMPQ(at, count)
	p.JLT(operand.LabelRef("far"))
	nearFirst, nearLast = p.limits(least, nearFirst, nearLast, margin)
	p.XORQ(at, at)
	p.XORQ(kept, kept)
	p.Label("keep")
	keep(p.get(operand.Mem{Base: p.memory, Index: at, Scale: 4}),
		p.get(operand.Mem{Base: p.memory, Index: at, Scale: 4, Disp: nearErrors}), nearFirst, nearLast)
	p.ADDQ(operand.Imm(16), at)
	p.CMPQ(at, count)
	p.JLT(operand.LabelRef("keep"))
	p.Label("kept")
	return kept
}

// atEnds is the errors of points at two scales, divided by the scale and less what is the same for all points, and
// their sum.
func (p *pointRuns) atEnds(list, at reg.Register, first, last reg.VecVirtual) (atFirst, atLast, both reg.VecVirtual) {
	q, a, b := p.vec(), p.vec(), p.vec()
	p.VPMOVZXWD(operand.Mem{Base: list, Index: at, Scale: 2}, q)
	for i := range p.squares {
		if i == 0 {
			p.VPERMPS(p.squares[i], q, a)
			p.VPERMPS(p.products[i], q, b)
			continue
		}
		p.VPSRLD(operand.Imm(4), q, q)
		term, other := p.vec(), p.vec()
		p.VPERMPS(p.squares[i], q, term)
		p.VADDPS(term, a, a)
		p.VPERMPS(p.products[i], q, other)
		p.VADDPS(other, b, b)
	}
	atFirst, atLast, both = p.vec(), p.vec(), p.vec()
	p.VMULPS(a, first, atFirst)
	p.VSUBPS(b, atFirst, atFirst)
	p.VMULPS(a, last, atLast)
	p.VSUBPS(b, atLast, atLast)
	p.VADDPS(atLast, atFirst, both)
	return atFirst, atLast, both
}

// limits is margin more than the errors, at both ends, of a point with the least sum of them.
func (p *pointRuns) limits(least, atFirst, atLast, margin reg.VecVirtual) (first, last reg.VecVirtual) {
	lowest, other := p.vec(), p.vec()
	p.VSHUFF64X2(operand.Imm(0x4e), least, least, other) // halves
	p.VMINPS(other, least, lowest)
	p.VSHUFF64X2(operand.Imm(0xb1), lowest, lowest, other) // quarters
	p.VMINPS(other, lowest, lowest)
	p.VPERMILPS(operand.Imm(0x4e), lowest, other) // pairs
	p.VMINPS(other, lowest, lowest)
	p.VPERMILPS(operand.Imm(0xb1), lowest, other)
	p.VMINPS(other, lowest, lowest)
	same := p.compare(least, isEqual, lowest)
	limit := func(v reg.VecVirtual) reg.VecVirtual {
		l := p.vec()
		p.VCOMPRESSPS_Z(v, same, l)
		p.VBROADCASTSS(l.AsX(), l)
		p.VADDPS(margin, l, l)
		return l
	}
	return limit(atFirst), limit(atLast)
}

// keptCode spreads one of the codes that were kept to all lanes, four bits a level.
func (p *pointRuns) keptCode(v reg.VecVirtual, at operand.Mem) {
	if p.size == 4 {
		p.VPBROADCASTD(at, v)
		return
	}
	code, mask := p.GP32(), p.GP32()
	p.MOVL(at, code)
	p.MOVL(operand.U32(0x33333333), mask)
	p.PDEPL(mask, code, code)
	p.VPBROADCASTD(code, v)
}

// nearest sets the codes of a mask, of one half of the trials, to the first of the codes that were kept with the
// least error.
func (p *pointRuns) nearest(half int, mask reg.Register, kept, codes reg.Register) {
	done, label := fmt.Sprintf("done%d", half), fmt.Sprintf("candidate%d", half)
	bits := p.GP32()
	p.KMOVW(mask, bits)
	p.TESTL(bits, bits)
	p.JZ(operand.LabelRef(done))
	x, w, scale, odd := p.param("x"), p.param("w"), p.get(operand.Mem{Base: p.param("scale"), Disp: 64 * half}),
		p.get(p.oddValues())
	least, best, at := p.get(p.bits(greatestFloat)), p.vec(), p.GP64()
	p.keptCode(best, operand.Mem{Base: p.memory, Disp: nearKept})
	p.XORQ(at, at)
	p.Label(label)
	code, sum := p.vec(), p.vec()
	p.keptCode(code, operand.Mem{Base: p.memory, Index: at, Scale: 4, Disp: nearKept})
	rest := p.vec()
	p.VMOVDQA32(code, rest)
	for i := range p.size {
		d, e := p.vec(), p.vec()
		p.VPERMPS(odd, rest, d)
		if i < p.size-1 {
			p.VPSRLD(operand.Imm(4), rest, rest)
		}
		p.VMULPS(scale, d, d)
		p.VSUBPS_BCST(operand.Mem{Base: x, Disp: 4 * i}, d, d)
		p.VMULPS_BCST(operand.Mem{Base: w, Disp: 4 * i}, d, e)
		p.VMULPS(d, e, e)
		if i == 0 {
			p.VMOVAPS(e, sum)
		} else {
			p.VADDPS(e, sum, sum)
		}
	}
	less := p.compare(sum, isLess, least)
	p.VMINPS(least, sum, least) // least where the sum is no number
	p.choose(less, code, best)
	p.INCQ(at)
	p.CMPQ(at, kept)
	p.JLT(operand.LabelRef(label))
	p.VMOVDQU32(best, mask, operand.Mem{Base: codes, Disp: 64 * half})
	p.Label(done)
}
