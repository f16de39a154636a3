package main

import "fmt"

// The searches for points of lattices, and for cuts. Levels travel as codes of four bits a weight, the first lowest.

// snapPoint rounds the weights of one point for many scales at once, and then looks for neighbours of levels that are
// no point, one scale after the other.
func (k *neon) snapPoint(size, radix int) {
	k.kernel(fmt.Sprintf("snapPoint%d", size),
		"(trials int, x, w, inverse, scale *float32, near, lists, codes, numbers *uint32) (moved uint32)",
		fmt.Sprintf("codes[t] = the point next to x*inverse[t] for trials, and the bits of those that were moved; of %d "+
			"weights and %d levels. numbers is memory for as many words.", size, radix))
	trials, x, w, codes, numbers := k.param("trials"), k.param("x"), k.param("w"), k.param("codes"), k.param("numbers")
	k.scoped(func() { k.roundLevels(trials, x, codes, numbers, size, radix) })
	near, lists, scale := k.param("near"), k.param("lists"), k.param("scale")
	list, moved, bit := k.gp(), k.gp(), k.gp()
	search, factor := k.newListSearch(), k.vec()
	value := k.floatTable(8, func(i int) float32 { return float32(2*i + 1) })
	k.op("MOVD", "ZR", moved)
	k.op("MOVD", "$1", bit)
	k.loop("trial", trials, 1, func() {
		k.op("MOVWU.P", fmt.Sprintf("4(%s)", numbers), "R17")
		k.op("MOVWU", fmt.Sprintf("(%s)(R17<<2)", near), "R17")
		k.op("CBZ", "R17", "next")
		k.op("ORR", bit, moved)
		k.op("VLD1R", fmt.Sprintf("(%s)", scale), "["+factor.s4()+"]")
		k.op("ADD", "R17<<2", lists, list)
		k.scoped(func() {
			errors := k.levelErrors(factor, value, x, w, size)
			search.nearest(errors, list)
		})
		k.op("MOVWU", fmt.Sprintf("(%s)(R17<<2)", list), "R17")
		k.op("MOVW", "R17", fmt.Sprintf("(%s)", codes))
		k.label("next")
		k.op("ADD", "$4", scale)
		k.op("ADD", "$4", codes)
		k.op("LSL", "$1", bit)
	})
	k.op("MOVW", moved, k.result())
	k.op("RET")
}

// roundLevels rounds weights to levels for all trials, and stores their codes and the numbers that they spell.
func (k *neon) roundLevels(trials, x, codes, numbers r, size, radix int) {
	inverse, rest, toCodes, toNumbers := k.param("inverse"), k.gp(), k.gp(), k.gp()
	one, half, zero, top, near := k.constant(1), k.constant(0.5), k.zeros(1)[0], k.bits(uint32(radix-1)), k.newNearest()
	inverses, number, code, l, t := k.vecs(1), k.vec(), k.vec(), k.vec(), k.vec()
	k.op("ADD", "$3", trials, rest)
	k.op("MOVD", codes, toCodes)
	k.op("MOVD", numbers, toNumbers)
	weights := k.vecs(size / 4)
	for i, w := range weights {
		k.fetch(w, x, 16*i)
	}
	k.loop("round", rest, 4, func() {
		k.load(inverse, inverses)
		k.zero(number)
		k.zero(code)
		for i := size - 1; i >= 0; i-- {
			k.fmulElement(l, inverses[0], weights[i/4], i%4)
			k.fsub(l, l, one)
			k.fmul(l, l, half)
			near.of(l)
			k.smax(l, l, zero)
			k.smin(l, l, top)
			k.shiftLeft(code, code, 4)
			k.or(code, code, l)
			if radix == 3 {
				k.add(t, number, number)
				k.add(number, number, t)
			} else {
				k.shiftLeft(number, number, 3)
			}
			k.add(number, number, l)
		}
		k.store([]v{code}, toCodes)
		k.store([]v{number}, toNumbers)
	})
}

// levelErrors is, for each weight, a table of the errors of its eight levels: w·(factor·value - x)².
func (k *neon) levelErrors(factor v, value []v, x, w r, size int) [][]v {
	var errors [][]v
	for range size {
		errors = append(errors, k.vecs(2))
	}
	k.scoped(func() {
		wide, d, weight := k.vecs(2), k.vec(), k.vec()
		for i := range wide {
			k.fmul(wide[i], value[i], factor)
		}
		for i, e := range errors {
			for j := range e {
				k.op("ADD", fmt.Sprintf("$%d", 4*i), x, "R16")
				k.op("VLD1R", "(R16)", "["+d.s4()+"]")
				k.op("ADD", fmt.Sprintf("$%d", 4*i), w, "R16")
				k.op("VLD1R", "(R16)", "["+weight.s4()+"]")
				k.fsub(d, wide[j], d)
				k.fmul(e[j], weight, d)
				k.fmul(e[j], e[j], d)
			}
		}
	})
	return errors
}

// A listSearch finds the first code of a list with the least sum of errors.
type listSearch struct {
	*neon
	times, ramp, seven, count v
	rest, at                  r
}

func (k *neon) newListSearch() listSearch {
	return listSearch{neon: k, times: k.bits(0x04040404), ramp: k.bits(0x03020100), seven: k.bits(7),
		count: k.each(func(i int) int { return (1 - min(i%4, 1)) * (i / 4) }), rest: k.gp(), at: k.gp()}
}

// mul is the product of int32s.
func (k *neon) mul(d, n, m v) { k.three(0x4ea09c00, "MUL", d, n, m) }

// nearest sets R17 to the position, in the list of codes at list, of the first with the least sum. Before the list
// stands how many times eight codes it has.
func (s listSearch) nearest(errors [][]v, list r) {
	s.op("MOVWU", fmt.Sprintf("-4(%s)", list), s.rest)
	s.op("LSL", "$1", s.rest)
	s.op("MOVD", list, s.at)
	least, best, position, code := s.bits(greatestFloat), s.zeros(1)[0], s.vec(), s.vec()
	sum, term, less := s.vec(), s.vec(), s.vec()
	s.move(s.count, position)
	s.loop("codes", s.rest, 1, func() {
		s.load(s.at, []v{code})
		for i, e := range errors {
			s.and(term, code, s.seven)
			s.mul(term, term, s.times)
			s.add(term, term, s.ramp)
			if i == 0 {
				s.place(term, e, sum)
			} else {
				s.place(term, e, term)
				s.fadd(sum, sum, term)
			}
			if i < len(errors)-1 {
				s.shiftRight(code, code, 4)
			}
		}
		s.fcmgt(less, least, sum)
		s.bit(least, sum, less)
		s.bit(best, position, less)
		s.op("VMOVI", "$4", b16(less)) // four in the lowest byte of each lane
		s.shiftRight(less, less, 24)
		s.add(position, position, less)
	})
	// The lowest position in the lanes with the least number.
	s.fminv(sum, least)
	s.lane(sum, 0)
	s.fcmeq(sum, sum, least)
	s.not(term, sum)
	s.or(best, best, term)
	s.uminv(best, best)
	s.op("FMOVS", fmt.Sprintf("F%d", int(best)), "R17")
}

// lane fills a register with its own lane i.
func (s listSearch) lane(x v, i int) { s.op("VDUP", fmt.Sprintf("%s.S[%d]", x, i), x.s4()) }

// nearestPoint is the search of one list for eight weights, with any values of levels.
func (k *neon) nearestPoint() {
	k.kernel("nearestPoint", "(x, w, value *float32, scale float32, list *uint32) (position uint32)",
		"the first code of list, behind its length, of which the weights are next to x[0:8]")
	x, w, values, list := k.param("x"), k.param("w"), k.param("value"), k.param("list")
	search, factor, value := k.newListSearch(), k.splat("scale"), k.vecs(2)
	k.loadPair(values, 0, value[0], value[1])
	k.op("ADD", "$4", list)
	search.nearest(k.levelErrors(factor, value, x, w, 8), list)
	k.op("MOVW", "R17", k.result())
	k.op("RET")
}

// pointSums sums up the weights of some points for four trials.
func (k *neon) pointSums() {
	k.kernel("pointSums", "(points, size, stride int, x, w *float32, codes *uint32, qx, qq *float32)",
		"the sums of w·x·q and w·q² for q = 2·level+1 of points of size weights; codes lie stride bytes apart, sums of all "+
			"lanes side by side")
	points, size, stride, x, w, codes := k.param("points"), k.param("size"), k.param("stride"), k.param("x"), k.param("w"),
		k.param("codes")
	toX, toQ, rest := k.param("qx"), k.param("qq"), k.gp()
	qx, qq, fifteen, one := k.zeros(1)[0], k.zeros(1)[0], k.bits(15), k.bits(1)
	code, q, v, weight := k.vec(), k.vec(), k.vec(), k.vec()
	k.loop("point", points, 1, func() {
		k.fetch(code, codes, 0)
		k.op("ADD", stride, codes)
		k.op("MOVD", size, rest)
		k.loop("weight", rest, 1, func() {
			k.and(q, code, fifteen)
			k.add(q, q, q)
			k.or(q, q, one)
			k.scvtf(q, q)
			k.shiftRight(code, code, 4)
			k.everywhere(weight, w)
			k.everywhere(v, x)
			k.fmul(v, v, weight)
			k.fmul(v, v, q)
			k.fadd(qx, qx, v)
			k.fmul(weight, weight, q)
			k.fmul(weight, weight, q)
			k.fadd(qq, qq, weight)
		})
	})
	k.keep(qx, toX, 0)
	k.keep(qq, toQ, 0)
	k.op("RET")
}

// laneCuts is what the two searches for cuts have in common. They take four groups of eight.
type laneCuts struct {
	*neon
	n, found      r
	first, second r // the offsets of the rows of the cuts
	rest, inner   r
	any           r
	offers        int
	zero          v
}

func (k *neon) newLaneCuts() *laneCuts {
	return &laneCuts{neon: k, n: k.param("n"), found: k.param("found"), first: k.gp(), second: k.gp(), rest: k.gp(),
		inner: k.gp(), any: k.gp(), zero: k.zeros(1)[0]}
}

// at loads the vector of a row.
func (c *laneCuts) at(x v, sums, offset r) {
	c.op("ADD", offset, sums, "R16")
	c.op("FMOVQ", "(R16)", fmt.Sprintf("F%d", int(x)))
}

// whole loads the sum over all weights.
func (c *laneCuts) whole(x v, sums r) {
	c.op("ADD", fmt.Sprintf("%s<<5", c.n), sums, "R16")
	c.op("FMOVQ", "(R16)", fmt.Sprintf("F%d", int(x)))
}

// each runs outer for each first cut, and inner for each second one from there on.
func (c *laneCuts) each(outer, inner func()) {
	c.op("MOVD", "ZR", c.first)
	c.op("ADD", "$1", c.n, c.rest)
	c.loop("first", c.rest, 1, func() {
		c.scoped(outer)
		c.op("MOVD", c.first, c.second)
		c.op("MOVD", c.rest, c.inner)
		c.loop("second", c.inner, 1, func() {
			c.scoped(inner)
			c.op("ADD", fmt.Sprintf("$%d", cutRow), c.second)
		})
		c.op("ADD", fmt.Sprintf("$%d", cutRow), c.first)
	})
	c.op("RET")
}

// offer takes the cut in the groups where its error is less. low says which halves are lowered, a bit each.
func (c *laneCuts) offer(x, w v, low int) {
	next := fmt.Sprintf("worse%d", c.offers)
	c.offers++
	c.scoped(func() {
		score, better, t, scale := c.get(c.found, 32*slotCutScore), c.vec(), c.vec(), c.vec()
		c.fmul(score, w, score)
		c.fmul(better, x, x)
		c.fcmgt(better, better, score)
		c.fcmgt(t, w, c.zero)
		c.and(better, better, t)
		c.umaxv(t, better)
		c.op("FMOVS", fmt.Sprintf("F%d", int(t)), c.any)
		c.op("CBZW", c.any, next)
		c.fdiv(scale, x, w)
		c.op("LSL", "$3", c.first, "R16")
		c.op("LSR", "$5", c.second, "R17")
		c.op("ORR", "R17", "R16")
		if low > 0 {
			c.op("ORR", fmt.Sprintf("$%d", low<<16), "R16")
		}
		c.op("VDUP", "R16", score.s4())
		c.chosen(better, score, c.found, 32*slotCut, t)
		c.chosen(better, scale, c.found, 32*slotCutScale, t)
		c.fmul(scale, x, scale)
		c.chosen(better, scale, c.found, 32*slotCutScore, t)
	})
	c.label(next)
}

// cutsTogether has whole groups raised or lowered.
func (k *neon) cutsTogether() {
	k.kernel("cutsTogether", "(n int, x, w, found *float32)",
		"the best cut of each of four groups of eight; x and w are their Σ w·x and Σ w of the first 0 to n weights in order")
	x, w, c := k.param("x"), k.param("w"), k.newLaneCuts()
	fromX, fromW := k.vecs(2), k.vecs(2)
	var level [2][3]v
	for i := range level {
		for j := range level[i] {
			level[i][j] = k.constant(shiftedLevels[i][j])
		}
	}
	c.each(func() {
		for i := range level {
			c.at(fromX[i], x, c.first)
			k.fmul(fromX[i], fromX[i], level[i][0])
			c.at(fromW[i], w, c.first)
			k.fmul(fromW[i], fromW[i], level[i][0])
			k.fmul(fromW[i], fromW[i], level[i][0])
		}
	}, func() {
		for i := range level {
			x1, w1, x2, w2, qx, qq, t := k.vec(), k.vec(), k.vec(), k.vec(), k.vec(), k.vec(), k.vec()
			middle := func(first, second v, sums r) { // sums of the middle and of the last run
				c.at(t, sums, c.second)
				c.at(first, sums, c.first)
				k.fsub(first, t, first)
				c.whole(second, sums)
				k.fsub(second, second, t)
			}
			middle(x1, x2, x)
			middle(w1, w2, w)
			k.fmul(x1, x1, level[i][1])
			k.fadd(qx, fromX[i], x1)
			k.fmul(x2, x2, level[i][2])
			k.fadd(qx, qx, x2)
			for j, w := range []v{w1, w2} {
				k.fmul(w, w, level[i][1+j])
				k.fmul(w, w, level[i][1+j])
			}
			k.fadd(qq, fromW[i], w1)
			k.fadd(qq, qq, w2)
			c.offer(qx, qq, i*3)
			k.vectors -= 7
		}
	})
}

// cutsApart has each half of a group raised or lowered. One level is 1 more than the one before, so that a cut takes
// away the sum of what lies below.
func (k *neon) cutsApart() {
	k.kernel("cutsApart", "(n int, x0, w0, x1, w1, found *float32)",
		"the best cut of each of four groups of eight, of two halves; x and w are the halves' Σ w·x and Σ w of the first 0 "+
			"to n weights in order")
	x, w := [2]r{k.param("x0"), k.param("x1")}, [2]r{k.param("w0"), k.param("w1")}
	c := k.newLaneCuts()
	var fixed [2][2][2]v // half, shift, x and w
	for half := range 2 {
		for shift := range 2 {
			fixed[half][shift] = [2]v(k.vecs(2))
		}
	}
	var top, outer, inner [2]v
	for shift, level := range shiftedLevels {
		top[shift] = k.constant(level[2])
		outer[shift] = k.constant(level[0]*level[0] - level[1]*level[1])
		inner[shift] = k.constant(level[1]*level[1] - level[2]*level[2])
	}
	c.each(func() {
		t := k.vec()
		for half := range 2 {
			for shift := range 2 {
				f := fixed[half][shift]
				c.whole(f[0], x[half])
				k.fmul(f[0], f[0], top[shift])
				c.whole(f[1], w[half])
				k.fmul(f[1], f[1], top[shift])
				k.fmul(f[1], f[1], top[shift])
				c.at(t, w[half], c.first)
				k.fmul(t, t, outer[shift])
				k.fadd(f[1], t, f[1])
			}
		}
	}, func() {
		var sums [2][2][2]v
		below, t := k.vec(), k.vec()
		for half := range 2 {
			c.at(below, x[half], c.second)
			c.at(t, x[half], c.first)
			k.fadd(below, below, t)
			c.at(t, w[half], c.second)
			for shift := range 2 {
				s := [2]v(k.vecs(2))
				k.fsub(s[0], fixed[half][shift][0], below)
				k.fmul(s[1], t, inner[shift])
				k.fadd(s[1], s[1], fixed[half][shift][1])
				sums[half][shift] = s
			}
		}
		for i := range 4 {
			a, b := sums[0][i/2], sums[1][i%2]
			k.fadd(below, a[0], b[0])
			k.fadd(t, a[1], b[1])
			c.offer(below, t, i/2|i%2<<1)
		}
	})
}
