package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Groups of three levels, eight side by side: sorted, they are cut into runs of one level each. All ways to cut them
// are tried.

// The levels are raised or lowered by 1/8.
var shiftedLevels = [2][3]float32{{-0.875, 0.125, 1.125}, {-1.125, -0.125, 0.875}}

// Slots of what is found.
const (
	slotCutScore = iota
	slotCutScale
	slotCut
)

// cutRow is the bytes between the sums of the first weights in order and those of one more.
const cutRow = 32

// cuts is what the two searches have in common.
type cuts struct {
	*gen
	n, found    reg.Register
	first       reg.Register // the offset of the row of the first cut
	second      reg.Register // and of the second
	name        reg.GPVirtual
	rest, inner reg.GPVirtual
	offers      int
}

func newCuts(g *gen) *cuts {
	return &cuts{gen: g, n: g.param("n"), found: g.param("found"), first: g.GP64(), second: g.GP64(),
		name: g.GP32(), rest: g.GP64(), inner: g.GP64()}
}

// each runs outer for each first cut, and inner for each second one from there on.
func (c *cuts) each(outer, inner func()) {
	c.XORQ(c.first, c.first)
	c.LEAQ(operand.Mem{Base: c.n, Disp: 1}, c.rest)
	c.loop("first", c.rest, 1, func() {
		outer()
		c.MOVQ(c.first, c.second)
		c.MOVQ(c.rest, c.inner)
		c.loop("second", c.inner, 1, func() {
			inner()
			c.ADDQ(operand.Imm(cutRow), c.second)
		})
		c.ADDQ(operand.Imm(cutRow), c.first)
	})
	c.end()
}

// offer takes the cut in the groups where its error is less. low says which halves are lowered, a bit each.
func (c *cuts) offer(x, w reg.VecVirtual, low int) {
	next := "worse" + string(rune('0'+c.offers))
	c.offers++
	score := c.binary(c.VMULPS, operand.Mem{Base: c.found, Disp: 32 * slotCutScore}, w)
	better := c.compare(c.binary(c.VMULPS, x, x), isGreater, score)
	better = c.both(better, c.compare(w, isGreater, c.number(0)))
	bits := c.bitsOf(better)
	c.TESTL(bits, bits)
	c.JZ(operand.LabelRef(next))
	scale := c.binary(c.VDIVPS, w, x)
	t, name, cut := c.GP32(), c.XMM(), c.vec()
	c.MOVL(c.first.(reg.GPVirtual).As32(), c.name)
	c.SHLL(operand.Imm(3), c.name)
	c.MOVL(c.second.(reg.GPVirtual).As32(), t)
	c.SHRL(operand.Imm(5), t)
	c.ORL(t, c.name)
	c.ORL(operand.U32(low<<16), c.name)
	c.VMOVD(c.name, name)
	c.VPBROADCASTD(name, cut)
	c.chooseAt(better, c.binary(c.VMULPS, x, scale), operand.Mem{Base: c.found, Disp: 32 * slotCutScore})
	c.chooseAt(better, scale, operand.Mem{Base: c.found, Disp: 32 * slotCutScale})
	c.chooseAt(better, cut, operand.Mem{Base: c.found, Disp: 32 * slotCut})
	c.Label(next)
}

// whole is the sum over all weights.
func (c *cuts) whole(sums reg.Register) reg.VecVirtual {
	at := c.GP64()
	c.MOVQ(c.n, at)
	c.SHLQ(operand.Imm(5), at)
	return c.get(indexed(sums, at, 0))
}

// cutsTogether has whole groups raised or lowered.
func cutsTogether(g *gen) {
	g.kernel(avx2, "cutsTogether", "(n int, x, w *float32, found *[3][8]float32)",
		"the best cut of each of eight groups; x and w are their Σ w·x and Σ w of the first 0 to n weights in order")
	x, w, c := g.param("x"), g.param("w"), newCuts(g)
	var fromX, fromW [2]reg.VecVirtual
	for i := range 2 {
		fromX[i], fromW[i] = g.vec(), g.vec()
	}
	times := func(v reg.VecVirtual, level float32) reg.VecVirtual { return g.binary(g.VMULPS, g.number(level), v) }
	twice := func(v reg.VecVirtual, level float32) reg.VecVirtual { return times(times(v, level), level) }
	c.each(func() {
		for i, level := range shiftedLevels {
			g.VMOVAPS(times(g.get(indexed(x, c.first, 0)), level[0]), fromX[i])
			g.VMOVAPS(twice(g.get(indexed(w, c.first, 0)), level[0]), fromW[i])
		}
	}, func() {
		for i, level := range shiftedLevels {
			sx, sw := g.get(indexed(x, c.second, 0)), g.get(indexed(w, c.second, 0))
			x1, w1 := g.binary(g.VSUBPS, indexed(x, c.first, 0), sx), g.binary(g.VSUBPS, indexed(w, c.first, 0), sw)
			x2, w2 := g.binary(g.VSUBPS, sx, c.whole(x)), g.binary(g.VSUBPS, sw, c.whole(w))
			qx := g.binary(g.VADDPS, times(x1, level[1]), fromX[i])
			g.VADDPS(times(x2, level[2]), qx, qx)
			qq := g.binary(g.VADDPS, twice(w1, level[1]), fromW[i])
			g.VADDPS(twice(w2, level[2]), qq, qq)
			c.offer(qx, qq, i*3)
		}
	})
}

// cutsApart has each half of a group raised or lowered. One level is 1 more than the one before, so that a cut takes
// away the sum of what lies below.
func cutsApart(g *gen) {
	g.kernel(avx2, "cutsApart", "(n int, x0, w0, x1, w1 *float32, found *[3][8]float32)",
		"the best cut of each of eight groups of two halves; x and w are the halves' Σ w·x and Σ w of the first 0 to n "+
			"weights in order")
	memory := g.AllocLocal(2 * 2 * 2 * 32)
	x, w := [2]reg.Register{g.param("x0"), g.param("x1")}, [2]reg.Register{g.param("w0"), g.param("w1")}
	c := newCuts(g)
	fixed := func(half, shift, what int) operand.Mem { return memory.Offset(32 * (4*half + 2*shift + what)) }
	c.each(func() {
		for half := range 2 {
			for shift, level := range shiftedLevels {
				g.VMOVUPS(g.binary(g.VMULPS, g.number(level[2]), c.whole(x[half])), fixed(half, shift, 0))
				above := g.binary(g.VMULPS, g.number(level[2]), c.whole(w[half]))
				g.VMULPS(g.number(level[2]), above, above)
				first := g.get(indexed(w[half], c.first, 0))
				g.VMULPS(g.number(level[0]*level[0]-level[1]*level[1]), first, first)
				g.VADDPS(above, first, first)
				g.VMOVUPS(first, fixed(half, shift, 1))
			}
		}
	}, func() {
		var sums [2][2][2]reg.VecVirtual // half, shift, x and w
		for half := range 2 {
			below := g.get(indexed(x[half], c.second, 0))
			g.VADDPS(indexed(x[half], c.first, 0), below, below)
			for shift, level := range shiftedLevels {
				step := g.binary(g.VMULPS, indexed(w[half], c.second, 0), g.constant(level[1]*level[1]-level[2]*level[2]))
				sums[half][shift] = [2]reg.VecVirtual{
					g.binary(g.VSUBPS, below, g.get(fixed(half, shift, 0))), g.binary(g.VADDPS, fixed(half, shift, 1), step)}
			}
		}
		for i := range 4 {
			a, b := sums[0][i/2], sums[1][i%2]
			c.offer(g.binary(g.VADDPS, b[0], a[0]), g.binary(g.VADDPS, b[1], a[1]), i/2|i%2<<1)
		}
	})
}
