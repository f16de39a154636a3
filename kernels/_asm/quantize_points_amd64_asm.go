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
	snapPoint(g, s, 8, 3)
	snapPoint(g, s, 4, 8)
	nearestPoint(g, s)
	pointSums(g, s)
}

// snapPoint rounds the weights of one point for many scales at once, and then looks for neighbours of levels that are
// no point, one scale after the other.
func snapPoint(g *gen, s isa, size, radix int) {
	g.kernel(s, fmt.Sprintf("snapPoint%d", size),
		"(trials int, x, w, inverse, scale *float32, near, lists, codes *uint32) (moved uint32)",
		fmt.Sprintf("codes[t] = the point next to x*inverse[t] for trials, and the bits of those that were moved; of %d "+
			"weights and %d levels", size, radix))
	numbers := g.AllocLocal(4 * 32)
	trials, x, w, inverse, codes := g.param("trials"), g.param("x"), g.param("w"), g.param("inverse"), g.param("codes")
	g.roundLevels(trials, x, inverse, codes, numbers, size, radix)
	near, lists, scale := g.param("near"), g.param("lists"), g.param("scale")
	trial, at, moved := g.GP64(), g.GP64(), g.GP32()
	g.XORQ(trial, trial)
	g.XORL(moved, moved)
	g.Label("trial")
	number := g.GP64()
	g.LEAQ(numbers, at)
	g.MOVL(operand.Mem{Base: at, Index: trial, Scale: 4}, number.As32())
	g.MOVL(operand.Mem{Base: near, Index: number, Scale: 4}, number.As32())
	g.TESTQ(number, number)
	g.JZ(operand.LabelRef("next"))
	g.BTSL(trial.As32(), moved)
	factor := g.vec()
	g.VBROADCASTSS(operand.Mem{Base: scale, Index: trial, Scale: 4}, factor)
	g.LEAQ(operand.Mem{Base: lists, Index: number, Scale: 4}, at)
	best := g.nearestInList(g.levelErrors(factor, g.oddValues(), x, w, size), at)
	g.MOVL(operand.Mem{Base: at, Index: best.As64(), Scale: 4}, best)
	g.MOVL(best, operand.Mem{Base: codes, Index: trial, Scale: 4})
	g.Label("next")
	g.INCQ(trial)
	g.CMPQ(trial, trials)
	g.JLT(operand.LabelRef("trial"))
	g.Store(moved, g.ReturnIndex(0))
	g.end()
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
