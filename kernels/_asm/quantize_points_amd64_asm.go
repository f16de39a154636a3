package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The levels of some weights have to be a point of a lattice. Levels travel as codes of four bits a weight, the first
// lowest.

// greatestFloat is where searches for the least error begin.
const greatestFloat = 0x7f7fffff

// points writes the searches for points.
func points(g *gen, s isa) {
	if s.lanes == avx2.lanes {
		snapPoint(g, s, 8, 3)
		snapPoint(g, s, 4, 8)
	} else {
		snapPoints(g, 8, 3)
		snapPoints(g, 4, 8)
	}
	nearestPoint(g, s)
	pointSums(g, s)
}

// maxTrials is the most scales that are tried for a group, and errorRow the bytes of a row of an error each.
const (
	maxTrials = 32
	errorRow  = 4 * maxTrials
)

// pointBytes is the bytes of what kernels.Lattice says of a point: the offsets of its errors, 16 bits each, then its
// code in pointCode.
const (
	pointBytes = 16
	pointCode  = 12
)

// snapPoint rounds the weights of one point for many scales at once. Levels that are no point are compared with their
// neighbours: for the scales in a row that round to the same levels, which have the same neighbours, at once. The
// errors of each level of each weight are computed before, for all scales.
func snapPoint(g *gen, s isa, size, radix int) {
	g.kernel(s, fmt.Sprintf("snapPoint%d", size), "(trials int, x, w, inverse, scale, errors *float32, place *int32, "+
		"places *uint16, near, lists, points, codes *uint32) (moved uint32)",
		fmt.Sprintf("codes[t] = the point next to x*inverse[t] for trials, and the bits of those that were moved; of %d "+
			"weights and %d levels", size, radix))
	numbers := g.AllocLocal(4 * maxTrials)
	x := g.param("x")
	g.roundLevels(g.param("trials"), x, g.param("inverse"), g.param("codes"), numbers, size, radix)
	trials := g.address(g.Param("trials"))
	g.CMPQ(trials, operand.Imm(1))
	g.JNE(operand.LabelRef("several"))
	g.snapOnce(x, numbers, size)
	g.Label("several")
	rows := g.trialErrors(x, size, radix)
	if size == 8 {
		g.parabolas(x, size)
	}
	trial, end, at, moved := g.GP64(), g.GP64(), g.GP64(), g.GP32()
	g.XORQ(trial, trial)
	g.XORL(moved, moved)
	g.LEAQ(numbers, at)
	g.Label("trial")
	number, list := g.GP64(), g.GP64()
	g.MOVL(operand.Mem{Base: at, Index: trial, Scale: 4}, number.As32())
	g.Load(g.Param("place"), list)
	g.MOVLQSX(operand.Mem{Base: list, Index: number, Scale: 4}, list)
	g.MOVQ(trial, end)
	g.INCQ(end)
	g.TESTQ(list, list)
	g.JNS(operand.LabelRef("next"))
	g.BTSL(trial.As32(), moved)
	g.JMP(operand.LabelRef("same"))
	g.Label("more")
	g.BTSL(end.As32(), moved)
	g.INCQ(end)
	g.Label("same")
	g.CMPQ(end, trials)
	g.JGE(operand.LabelRef("known"))
	g.CMPL(number.As32(), operand.Mem{Base: at, Index: end, Scale: 4})
	g.JEQ(operand.LabelRef("more"))
	g.Label("known")
	g.NOTQ(list)
	g.ADDQ(list, list)
	g.ADDQ(g.address(g.Param("places")), list)
	if size == 8 {
		g.leaveOutFar(trial, end, number, list, size)
	}
	g.Label("lanes")
	g.nearestForTrials(trial, end, list, rows)
	g.ADDQ(operand.Imm(uint64(g.lanes)), trial)
	g.CMPQ(trial, end)
	g.JLT(operand.LabelRef("lanes"))
	g.Label("next")
	g.MOVQ(end, trial)
	g.CMPQ(trial, trials)
	g.JLT(operand.LabelRef("trial"))
	g.Store(moved, g.ReturnIndex(0))
	g.end()
}

// snapOnce looks for neighbours for one trial, and returns.
func (g *gen) snapOnce(x reg.Register, numbers operand.Mem, size int) {
	number, list, moved := g.GP64(), g.param("near"), g.GP32()
	g.XORL(moved, moved)
	g.MOVL(numbers, number.As32())
	g.MOVL(operand.Mem{Base: list, Index: number, Scale: 4}, number.As32())
	g.TESTQ(number, number)
	g.JZ(operand.LabelRef("point"))
	scale, factor := g.param("scale"), g.vec()
	g.VBROADCASTSS(operand.Mem{Base: scale}, factor)
	lists := g.param("lists")
	g.LEAQ(operand.Mem{Base: lists, Index: number, Scale: 4}, list)
	best := g.nearestInList(g.levelErrors(factor, g.oddValues(), x, g.param("w"), size), list)
	g.MOVL(operand.Mem{Base: list, Index: best.As64(), Scale: 4}, best)
	g.MOVL(best, operand.Mem{Base: g.param("codes")})
	g.INCL(moved)
	g.Label("point")
	g.Store(moved, g.ReturnIndex(0))
	g.end()
}

// nearestForTrials sets the codes of the trials from trial to end, at most one a lane, to the first of the points of
// list with the least error, which is the sum of some rows of errors.
func (g *gen) nearestForTrials(trial, end, list reg.Register, rows int) {
	row, points, rest, near, term := g.param("errors"), g.param("points"), g.GP64(), g.GP64(), g.GP64()
	g.LEAQ(operand.Mem{Base: row, Index: trial, Scale: 4}, row)
	g.MOVWQZX(operand.Mem{Base: list}, rest)
	g.LEAQ(operand.Mem{Base: list, Disp: 2}, near)
	ofPoint := func(disp int) operand.Mem { return operand.Mem{Base: points, Index: term, Scale: 8, Disp: disp} }
	point := func() {
		g.MOVWQZX(operand.Mem{Base: near}, term)
		g.ADDQ(term, term)
	}
	best, least, left := g.vec(), g.get(g.bits(greatestFloat)), g.XMM()
	point()
	g.VPBROADCASTD(ofPoint(pointCode), best)
	g.Label("near")
	point()
	sum, code, offset := g.vec(), g.vec(), g.GP64()
	for i := range rows {
		g.MOVWQZX(ofPoint(2*i), offset)
		if i == 0 {
			g.VMOVUPS(operand.Mem{Base: row, Index: offset, Scale: 1}, sum)
		} else {
			g.VADDPS(operand.Mem{Base: row, Index: offset, Scale: 1}, sum, sum)
		}
	}
	g.VPBROADCASTD(ofPoint(pointCode), code)
	less := g.compare(sum, isLess, least)
	g.VMINPS(least, sum, least) // least where the sum is no number
	g.choose(less, code, best)
	g.ADDQ(operand.Imm(2), near)
	g.DECQ(rest)
	g.JNZ(operand.LabelRef("near"))
	g.MOVQ(end, rest)
	g.SUBQ(trial, rest)
	g.VMOVD(rest.As32(), left)
	count := g.vec()
	g.VPBROADCASTD(left, count)
	g.VCVTDQ2PS(count, count)
	numbers := g.vec()
	g.VCVTDQ2PS(g.counting(), numbers)
	g.chooseAt(g.compare(numbers, isLess, count), best,
		operand.Mem{Base: g.param("codes"), Index: trial, Scale: 4})
}

// What is in the memory of errors behind the rows, in bytes: for each of eight weights Σ w·q² and Σ 2·w·x·q for each
// level q, vectors of Σ w and Σ w·x², errors of near points for two scales, and a list of points.
const (
	parabolasAt = errorRow*42 + 64
	weightSumAt = parabolasAt + 16*64
	squareSumAt = weightSumAt + 64
	firstAt     = squareSumAt + 64
	lastAt      = firstAt + 4*mostFar
	keptAt      = lastAt + 4*mostFar
)

// Lists of leastFar to mostFar points are worth being shortened, or can be.
const (
	leastFar = 16
	mostFar  = 256
)

// parabolas prepares leaveOutFar.
func (g *gen) parabolas(x reg.Register, size int) {
	w, to := g.param("w"), g.param("errors")
	odd, sum, squares := g.get(g.oddValues()), g.zeros(2)[0], g.vec()
	g.zero(squares)
	for i := range size {
		v, weight, twice := g.vec(), g.vec(), g.vec()
		g.VBROADCASTSS(operand.Mem{Base: x, Disp: 4 * i}, v)
		g.VBROADCASTSS(operand.Mem{Base: w, Disp: 4 * i}, weight)
		g.VADDPS(weight, sum, sum)
		wx := g.binary(g.VMULPS, v, weight)
		g.VMULPS(wx, v, v)
		g.VADDPS(v, squares, squares)
		g.VMULPS(odd, weight, weight)
		g.VMULPS(odd, weight, weight)
		g.VADDPS(wx, wx, twice)
		g.VMULPS(odd, twice, twice)
		g.store([]reg.VecVirtual{weight, twice}, []operand.Mem{
			{Base: to, Disp: parabolasAt + 128*i}, {Base: to, Disp: parabolasAt + 128*i + 64}})
	}
	g.store([]reg.VecVirtual{sum, squares}, []operand.Mem{{Base: to, Disp: weightSumAt}, {Base: to, Disp: squareSumAt}})
}

// leaveOutFar makes list a shorter one, without points that are not the nearest for any trial from trial to end.
//
// The error of a point is s²·A - 2·s·B + C, A = Σ w·q², B = Σ w·x·q and C = Σ w·x² at scale s. So the difference of the
// errors of two points, divided by s, is linear in s: a point that is farther than another for the first and the last
// scale is farther for all between. It is left out where that is certain, whatever the roundings: these change the
// difference by less than 2⁻¹⁷·(s·Σ w·5² + C/s), if nothing underflows. The first point always stays.
func (g *gen) leaveOutFar(trial, end, number, list reg.Register, size int) {
	count, to, scale := g.GP64(), g.param("errors"), g.param("scale")
	g.MOVWQZX(operand.Mem{Base: list}, count)
	g.CMPQ(count, operand.Imm(leastFar))
	g.JLT(operand.LabelRef("lanes"))
	g.CMPQ(count, operand.U32(mostFar))
	g.JGT(operand.LabelRef("lanes"))
	first, last, margin, part := g.vec(), g.vec(), g.vec(), g.vec()
	g.VBROADCASTSS(operand.Mem{Base: scale, Index: trial, Scale: 4}, first)
	g.VBROADCASTSS(operand.Mem{Base: scale, Index: end, Scale: 4, Disp: -4}, last)
	g.VMULPS(g.number(25), first, margin)
	g.VMULPS(operand.Mem{Base: to, Disp: weightSumAt}, margin, margin)
	g.VMOVUPS(operand.Mem{Base: to, Disp: squareSumAt}, part)
	g.VDIVPS(last, part, part)
	g.VADDPS(part, margin, margin)
	g.VMULPS(g.number(1.0/(1<<16)), margin, margin)
	normal := g.number(1.0 / (1 << 60) / (1 << 40))
	g.VMULPS(last, margin, part)
	sure := g.bitsOf(g.both(g.compare(margin, isGreater, normal), g.compare(part, isGreater, normal)))
	g.TESTL(sure, sure)
	g.JZ(operand.LabelRef("lanes"))

	code, at, rest := g.param("near"), g.GP64(), g.GP64()
	g.MOVL(operand.Mem{Base: code, Index: number, Scale: 4}, code.As32())
	g.SHLQ(operand.Imm(2), code)
	g.ADDQ(g.address(g.Param("lists")), code)
	least, nearFirst, nearLast := g.get(g.bits(greatestFloat)), g.get(g.bits(greatestFloat)), g.get(g.bits(greatestFloat))
	g.XORQ(at, at)
	g.Label("far")
	q, a, b := g.get(indexed(code, at, 0)), g.vec(), g.vec()
	for i := range size {
		table := operand.Mem{Base: to, Disp: parabolasAt + 128*i}
		if i == 0 {
			g.VPERMPS(table, q, a)
			g.VPERMPS(table.Offset(64), q, b)
			continue
		}
		g.VPSRLD(operand.Imm(4), q, q)
		term := g.vec()
		g.VPERMPS(table, q, term)
		g.VADDPS(term, a, a)
		g.VPERMPS(table.Offset(64), q, term)
		g.VADDPS(term, b, b)
	}
	atFirst, atLast := g.binary(g.VMULPS, a, first), g.binary(g.VMULPS, a, last)
	g.VSUBPS(b, atFirst, atFirst)
	g.VSUBPS(b, atLast, atLast)
	g.VMOVUPS(atFirst, indexed(to, at, firstAt))
	g.VMOVUPS(atLast, indexed(to, at, lastAt))
	both := g.binary(g.VADDPS, atLast, atFirst)
	less := g.compare(both, isLess, least)
	g.VMINPS(least, both, least)
	g.choose(less, atFirst, nearFirst)
	g.choose(less, atLast, nearLast)
	g.ADDQ(operand.Imm(uint64(g.bytes())), at)
	g.MOVQ(count, rest)
	g.SHLQ(operand.Imm(2), rest)
	g.CMPQ(at, rest)
	g.JLT(operand.LabelRef("far"))

	copied, lowest := g.vec(), g.vec()
	g.VMOVAPS(least, copied)
	g.VBROADCASTSS(g.foldLanes(copied, g.VMINPS), lowest)
	same := g.compare(least, isEqual, lowest)
	limit := func(near reg.VecVirtual) reg.VecVirtual {
		v := g.get(g.bits(0x80000000 | greatestFloat))
		g.choose(same, near, v)
		g.VBROADCASTSS(g.foldLanes(v, g.VMAXPS), v)
		g.VADDPS(margin, v, v)
		return v
	}
	limitFirst, limitLast := limit(nearFirst), limit(nearLast)
	bits, i, next, kept := g.GP64(), g.GP64(), g.GP64(), g.GP64()
	g.XORQ(at, at)
	g.XORQ(kept, kept)
	g.Label("keep")
	far := g.both(g.compare(g.get(operand.Mem{Base: to, Index: at, Scale: 4, Disp: firstAt}), isGreater, limitFirst),
		g.compare(g.get(operand.Mem{Base: to, Index: at, Scale: 4, Disp: lastAt}), isGreater, limitLast))
	g.MOVL(g.bitsOf(far), bits.As32())
	g.XORL(operand.U32(1<<g.lanes-1), bits.As32())
	g.TESTQ(at, at)
	g.JNZ(operand.LabelRef("bits"))
	g.ORQ(operand.Imm(1), bits)
	g.JMP(operand.LabelRef("bits"))
	g.Label("bit")
	g.BSFQ(bits, i)
	g.LEAQ(operand.Mem{Base: bits, Disp: -1}, next)
	g.ANDQ(next, bits)
	g.ADDQ(at, i)
	g.CMPQ(i, count)
	g.JGE(operand.LabelRef("kept"))
	g.MOVW(operand.Mem{Base: list, Index: i, Scale: 2, Disp: 2}, next.As16())
	g.MOVW(next.As16(), operand.Mem{Base: to, Index: kept, Scale: 2, Disp: keptAt + 2})
	g.INCQ(kept)
	g.Label("bits")
	g.TESTQ(bits, bits)
	g.JNZ(operand.LabelRef("bit"))
	g.ADDQ(operand.Imm(uint64(g.lanes)), at)
	g.CMPQ(at, count)
	g.JLT(operand.LabelRef("keep"))
	g.Label("kept")
	g.MOVW(kept.As16(), operand.Mem{Base: to, Disp: keptAt})
	g.LEAQ(operand.Mem{Base: to, Disp: keptAt}, list)
}

// trialErrors sets rows of errors w·(scale·q - x)², an error a trial: for each weight and level, the first weight
// first. Of three levels, those of the first three weights are summed up, a row for each of the 27 combinations, the
// level of the first weight counting fastest. It returns the number of rows that make up the error of a point.
func (g *gen) trialErrors(x reg.Register, size, radix int) (rows int) {
	w, scale, row, rest := g.param("w"), g.param("scale"), g.param("errors"), g.param("trials")
	g.ADDQ(operand.Imm(uint64(g.lanes-1)), rest)
	apart := 0 // the weights that have rows of their own begin here
	if radix == 3 {
		apart = 3
	}
	g.loop("errors", rest, g.lanes, func() {
		scales := g.get(operand.Mem{Base: scale})
		wide := g.vecs(radix)
		for l := range wide {
			g.VMULPS(g.number(float32(2*l+1)), scales, wide[l])
		}
		ofLevels := func(i int) (errors []reg.VecVirtual) {
			v, weight := g.vec(), g.vec()
			g.VBROADCASTSS(operand.Mem{Base: x, Disp: 4 * i}, v)
			g.VBROADCASTSS(operand.Mem{Base: w, Disp: 4 * i}, weight)
			for l := range radix {
				d := g.binary(g.VSUBPS, v, wide[l])
				e := g.binary(g.VMULPS, d, weight)
				g.VMULPS(d, e, e)
				if i >= apart {
					g.VMOVUPS(e, operand.Mem{Base: row, Disp: errorRow * (radix*radix*radix*(apart/3) + radix*(i-apart) + l)})
				}
				errors = append(errors, e)
			}
			return errors
		}
		if apart > 0 {
			a, b, c := ofLevels(0), ofLevels(1), ofLevels(2)
			for i := range radix * radix {
				two := g.binary(g.VADDPS, a[i%radix], b[i/radix])
				for j := range radix {
					three := g.binary(g.VADDPS, two, c[j])
					g.VMOVUPS(three, operand.Mem{Base: row, Disp: errorRow * (radix*radix*j + i)})
				}
			}
		}
		for i := apart; i < size; i++ {
			ofLevels(i)
		}
		g.ADDQ(operand.Imm(uint64(g.bytes())), scale)
		g.ADDQ(operand.Imm(uint64(g.bytes())), row)
	})
	if apart > 0 {
		return 1 + size - apart
	}
	return size
}

// oddValues is the address of what levels stand for: 2·level+1.
func (g *gen) oddValues() operand.Mem {
	return g.data("oddValues", floatWords(16, func(i int) float32 { return float32(2*i + 1) }))
}

// roundLevels rounds weights to levels for all trials, and stores their codes and the numbers that they spell.
func (g *gen) roundLevels(trials, x, inverse, codes reg.Register, numbers operand.Mem, size, radix int) {
	at, index, rest := g.GP64(), g.GP64(), g.GP64()
	g.LEAQ(numbers, at)
	g.XORQ(index, index)
	g.LEAQ(operand.Mem{Base: trials, Disp: g.lanes - 1}, rest)
	one, half, bias := g.constant(1), g.constant(0.5), g.constant(roundingBias)
	g.loop("round", rest, g.lanes, func() {
		inverses, number, code := g.get(indexed(inverse, index, 0)), g.zeros(2)[0], g.vec()
		g.zero(code)
		for i := size - 1; i >= 0; i-- {
			l := g.vec()
			g.VBROADCASTSS(operand.Mem{Base: x, Disp: 4 * i}, l)
			g.VMULPS(inverses, l, l)
			g.VSUBPS(one, l, l)
			g.VMULPS(half, l, l)
			g.VADDPS(bias, l, l)
			g.nearest(l)
			g.integers(g.VPMAXSD, g.bits(0), l)
			g.integers(g.VPMINSD, g.bits(uint32(radix-1)), l)
			g.VPSLLD(operand.Imm(4), code, code)
			g.or(l, code)
			g.spell(number, l, radix)
		}
		g.VMOVUPS(code, indexed(codes, index, 0))
		g.VMOVUPS(number, indexed(at, index, 0))
		g.ADDQ(operand.Imm(uint64(g.bytes())), index)
	})
}

// spell adds a digit to a number.
func (g *gen) spell(number, digit reg.VecVirtual, radix int) {
	if radix == 3 {
		g.integers(g.VPADDD, g.shifted(number, 1), number)
	} else {
		g.VPSLLD(operand.Imm(3), number, number)
	}
	g.integers(g.VPADDD, digit, number)
}

// levelErrors is, for each weight, a register of the errors of its levels: w·(factor·value - x)².
func (g *gen) levelErrors(factor reg.VecVirtual, value operand.Mem, x, w reg.Register, size int) []reg.VecVirtual {
	wide := g.binary(g.VMULPS, value, factor)
	var errors []reg.VecVirtual
	for i := range size {
		e, d, weight := g.vec(), g.vec(), g.vec()
		g.VBROADCASTSS(operand.Mem{Base: x, Disp: 4 * i}, d)
		g.VSUBPS(d, wide, d)
		g.VBROADCASTSS(operand.Mem{Base: w, Disp: 4 * i}, weight)
		g.VMULPS(d, weight, e)
		g.VMULPS(d, e, e)
		errors = append(errors, e)
	}
	return errors
}

// nearestInList is the position, in the list of codes at list, of the first with the least sum of errors. Before the
// list stands how many times eight codes it has; it is filled up to a multiple of sixteen.
func (g *gen) nearestInList(errors []reg.VecVirtual, list reg.Register) reg.GPVirtual {
	least, best, position := g.get(g.bits(greatestFloat)), g.zeros(1)[0], g.get(g.counting())
	rest, at := g.GP64(), g.GP64()
	g.MOVL(operand.Mem{Base: list, Disp: -4}, rest.As32())
	g.MOVQ(list, at)
	g.Label("codes")
	code := g.get(operand.Mem{Base: at})
	sum := g.vec()
	g.VPERMPS(errors[0], code, sum)
	for _, e := range errors[1:] {
		term := g.vec()
		g.VPSRLD(operand.Imm(4), code, code)
		g.VPERMPS(e, code, term)
		g.VADDPS(term, sum, sum)
	}
	less := g.compare(sum, isLess, least)
	g.choose(less, sum, least)
	g.choose(less, position, best)
	g.integers(g.VPADDD, g.bits(uint32(g.lanes)), position)
	g.ADDQ(operand.Imm(uint64(g.bytes())), at)
	g.SUBQ(operand.Imm(uint64(g.lanes/8)), rest)
	g.JG(operand.LabelRef("codes"))
	return g.firstOfLeast(least, best)
}

// firstOfLeast is the lowest position in the lanes with the least number.
func (g *gen) firstOfLeast(least, position reg.VecVirtual) reg.GPVirtual {
	copied, lowest, none := g.vec(), g.vec(), g.get(g.bits(0xffff))
	g.VMOVAPS(least, copied)
	g.VBROADCASTSS(g.foldLanes(copied, g.VMINPS), lowest)
	g.choose(g.compare(least, isEqual, lowest), position, none)
	words, high, r := g.XMM(), g.XMM(), g.GP32()
	if g.lanes == 16 {
		half := g.YMM()
		g.VPMOVDW(none, half)
		g.VEXTRACTI128(operand.Imm(1), half, high)
		g.VPMINUW(high, half.AsX(), words)
	} else {
		g.VEXTRACTI128(operand.Imm(1), none, high)
		g.VPACKUSDW(high, none.AsX(), words)
	}
	g.VPHMINPOSUW(words, words)
	g.VMOVD(words, r)
	g.MOVWLZX(r.As16(), r)
	return r
}

// nearestPoint is the search of one list for eight weights, with any values of levels.
func nearestPoint(g *gen, s isa) {
	g.kernel(s, "nearestPoint", "(x, w, value *float32, scale float32, list *uint32) (position uint32)",
		"the first code of list, behind its length, of which the weights are next to x[0:8]")
	x, w, value, list := g.param("x"), g.param("w"), g.param("value"), g.param("list")
	g.ADDQ(operand.Imm(4), list)
	factor := g.splat("scale")
	errors := g.levelErrors(factor, operand.Mem{Base: value}, x, w, 8)
	g.Store(g.nearestInList(errors, list), g.ReturnIndex(0))
	g.end()
}

// pointSums sums up the weights of some points for as many trials as there are lanes.
func pointSums(g *gen, s isa) {
	g.kernel(s, "pointSums", "(points, size, stride int, x, w *float32, codes *uint32, qx, qq *float32)",
		"the sums of w·x·q and w·q² for q = 2·level+1 of points of size weights; codes lie stride bytes apart, sums of all "+
			"lanes side by side")
	points, size, stride, x, w, codes := g.param("points"), g.param("size"), g.param("stride"), g.param("x"), g.param("w"),
		g.param("codes")
	odd, qx, qq := g.get(g.oddValues()), g.zeros(2)[0], g.vec()
	g.zero(qq)
	code, rest := g.vec(), g.GP64()
	g.loop("point", points, 1, func() {
		g.VMOVUPS(operand.Mem{Base: codes}, code)
		g.ADDQ(stride, codes)
		g.MOVQ(size, rest)
		g.loop("weight", rest, 4, func() {
			for i := range 4 {
				q, v, weight := g.vec(), g.vec(), g.vec()
				g.VPERMPS(odd, code, q)
				g.VPSRLD(operand.Imm(4), code, code)
				g.VBROADCASTSS(operand.Mem{Base: w, Disp: 4 * i}, weight)
				g.VBROADCASTSS(operand.Mem{Base: x, Disp: 4 * i}, v)
				g.VMULPS(v, weight, v)
				g.VMULPS(q, v, v)
				g.VADDPS(v, qx, qx)
				g.VMULPS(q, weight, weight)
				g.VMULPS(q, weight, weight)
				g.VADDPS(weight, qq, qq)
			}
			g.ADDQ(operand.Imm(16), x)
			g.ADDQ(operand.Imm(16), w)
		})
	})
	toX, toQ := g.param("qx"), g.param("qq")
	g.VMOVUPS(qx, operand.Mem{Base: toX})
	g.VMOVUPS(qq, operand.Mem{Base: toQ})
	g.end()
}
