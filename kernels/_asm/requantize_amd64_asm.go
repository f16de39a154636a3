package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// requantizeFile holds the loops that fit the blocks of a matrix to a change of its weights.
func requantizeFile(g *gen) {
	scalePairs(g)
	scaleFits(g)
	levelSums(g)
	for _, s := range []isa{avx512, avx2} {
		roundLevels(g, s)
		thresholds(g, s)
		laneMoments(g, s)
		changeSums(g, s)
		combineRows(g, s)
	}
}

// roundLevels is RoundLevels of groups of n weights, a multiple of 16.
func roundLevels(g *gen, s isa) {
	g.kernel(s, "roundLevels", "(groups, n int, level *uint8, change, inverse, up *float32, from, top float32)",
		"level[i] = whole part of level[i] + from + change[i]*inverse[group] + up[i] - from, within 0 to top")
	groups, n, level, change := g.param("groups"), g.param("n"), g.param("level"), g.param("change")
	inverse, up := g.param("inverse"), g.param("up")
	from, top, zero, factor, count := g.splat("from"), g.splat("top"), g.constant(0), g.vec(), g.GP64()
	g.loop("group", groups, 1, func() {
		g.VBROADCASTSS(operand.Mem{Base: inverse}, factor)
		g.ADDQ(operand.Imm(4), inverse)
		g.MOVQ(n, count)
		g.loop("vector", count, g.lanes, func() {
			f, d := g.vec(), g.vec()
			g.VPMOVZXBD(operand.Mem{Base: level}, f)
			g.VCVTDQ2PS(f, f)
			g.VADDPS(from, f, f)
			g.VMULPS(operand.Mem{Base: change}, factor, d)
			g.VADDPS(d, f, f)
			g.VADDPS(operand.Mem{Base: up}, f, f)
			g.VSUBPS(from, f, f)
			g.VMAXPS(zero, f, f) // 0 of what is no number
			g.VMINPS(top, f, f)
			g.VCVTTPS2DQ(f, f)
			g.storeBytes(f, level)
			g.ADDQ(operand.Imm(uint64(g.bytes())), change)
			g.ADDQ(operand.Imm(uint64(g.bytes())), up)
			g.ADDQ(operand.Imm(uint64(g.lanes)), level)
		})
	})
	g.end()
}

// Constants of SplitMix64.
const (
	splitMixStep  = 0x9e3779b97f4a7c15
	splitMixFirst = 0xbf58476d1ce4e5b9
	splitMixLast  = 0x94d049bb133111eb
)

// words is the address of a vector of 64-bit numbers.
func (g *gen) words(name string, word func(i int) uint64) operand.Mem {
	var halves []uint32
	for i := range 8 {
		halves = append(halves, uint32(word(i)), uint32(word(i)>>32))
	}
	return g.data(name, halves)
}

// thresholds is Thresholds of n numbers, a multiple of 32.
func thresholds(g *gen, s isa) {
	g.kernel(s, "thresholds", "(n int, u *float32, state uint64)",
		"u[i] = 16 bits of SplitMix64 / 65536, four of each of its numbers, the lowest bits first")
	n, u, per := g.param("n"), g.param("u"), g.lanes/2 // numbers in a vector
	state := g.vec()
	step := uint64(splitMixStep)
	g.VPBROADCASTQ(g.address(g.Param("state")), state)
	g.wide(g.VPADDQ, g.words("splitMixSteps", func(i int) uint64 { return uint64(i+1) * step }), state)
	all := func(name string, v uint64) reg.VecVirtual {
		x := g.vec()
		g.VMOVUPS(g.words(name, func(int) uint64 { return v }), x)
		return x
	}
	ahead := all("splitMixAhead"+s.suffix, uint64(per)*step)
	first, last := all("splitMixFirst", splitMixFirst), all("splitMixLast", splitMixLast)
	share := g.constant(1.0 / 65536)
	g.loop("numbers", n, 4*per, func() {
		x, t := g.vec(), g.vec()
		mix := func(shift uint64, factor reg.VecVirtual) {
			g.VPSRLQ(operand.Imm(shift), x, t)
			g.exclusiveOr(t, x)
			if factor != nil {
				g.multiplyWords(x, factor)
			}
		}
		g.VMOVUPS(state, x)
		g.wide(g.VPADDQ, ahead, state)
		mix(30, first)
		mix(27, last)
		mix(31, nil)
		for half := range 2 {
			f, part := g.vec(), x.AsX()
			switch {
			case g.lanes == 16:
				y := g.YMM()
				g.VEXTRACTI64X4(operand.Imm(uint64(half)), x, y)
				g.VPMOVZXWD(y, f)
			case half == 1:
				y := g.XMM()
				g.VEXTRACTI128(operand.Imm(1), x, y)
				g.VPMOVZXWD(y, f)
			default:
				g.VPMOVZXWD(part, f)
			}
			g.VCVTDQ2PS(f, f)
			g.VMULPS(share, f, f)
			g.VMOVUPS(f, g.at(u, half))
		}
		g.ADDQ(operand.Imm(uint64(2*g.bytes())), u)
	})
	g.end()
}

// wide is an operation of 64-bit lanes on a and v, into v.
func (g *gen) wide(op func(ops ...operand.Op), a operand.Op, v reg.Register) { op(a, v, v) }

// exclusiveOr is v ^= a.
func (g *gen) exclusiveOr(a, v reg.Register) {
	if g.lanes == 16 {
		g.VPXORQ(a, v, v)
		return
	}
	g.VPXOR(a, v, v)
}

// multiplyWords multiplies 64-bit lanes: x *= factor.
func (g *gen) multiplyWords(x, factor reg.VecVirtual) {
	if g.lanes == 16 {
		g.VPMULLQ(factor, x, x)
		return
	}
	high, cross, other := g.vec(), g.vec(), g.vec()
	g.VPSRLQ(operand.Imm(32), x, high)
	g.VPMULUDQ(factor, high, cross)
	g.VPSRLQ(operand.Imm(32), factor, high)
	g.VPMULUDQ(high, x, other)
	g.VPADDQ(other, cross, cross)
	g.VPSLLQ(operand.Imm(32), cross, cross)
	g.VPMULUDQ(factor, x, x)
	g.VPADDQ(cross, x, x)
}

// scaleLevels are the parameters of ScaleLevels in registers, or in memory.
type scaleLevels struct {
	lo, hi, step, first, perStep reg.VecVirtual
	bias                         operand.Mem
}

func (g *gen) scaleLevels(name string) (l scaleLevels) {
	p := g.param(name)
	for i, v := range []*reg.VecVirtual{&l.lo, &l.hi, &l.step, &l.first, &l.perStep} {
		*v = g.vec()
		g.VBROADCASTSS(operand.Mem{Base: p, Disp: 4 * i}, *v)
	}
	l.bias = g.number(roundingBias)
	return l
}

// code makes v the code nearest to it, as a float.
func (g *gen) code(l *scaleLevels, v reg.VecVirtual) {
	g.VSUBPS(l.first, v, v)
	g.VMULPS(l.perStep, v, v)
	g.VMAXPS(l.lo, v, v) // the lowest of what is no number
	g.VMINPS(l.hi, v, v)
	g.VADDPS(l.bias, v, v)
	g.VSUBPS(l.bias, v, v)
}

// level is what a code stands for.
func (g *gen) level(l *scaleLevels, code reg.VecVirtual) reg.VecVirtual {
	v := g.binary(g.VMULPS, code, l.step)
	g.VADDPS(l.first, v, v)
	return v
}

// scalePairs has a block a lane, and the groups of a block one after the other.
func scalePairs(g *gen) {
	g.kernel(avx2, "scalePairs", "(n int, pair, levels, scale, mean, spread, low *float32)", "ScalePairs.Fit of n groups")
	n, pair, index := g.param("n"), g.param("pair"), g.GP64()
	l := g.scaleLevels("levels")
	wanted, mean, spread, low := g.param("scale"), g.param("mean"), g.param("spread"), g.param("low")
	in := func(i int) operand.Mem { return operand.Mem{Base: pair, Disp: 32 * i} }
	const ( // the fields of ScalePairs
		factor = iota
		inverse
		factorMin
		inverseMin
		sum
		scaleCode
		minCode = scaleCode + 16
		least   = minCode + 16
	)
	g.VMOVUPS(g.zeros(1)[0], in(sum))
	g.XORQ(index, index)
	g.loop("group", n, 1, func() {
		of := func(p reg.Register) operand.Mem { return indexed(p, index, 0) }
		found := func(i int) operand.Mem { return indexed(pair, index, 32*i) }
		zero := g.zeros(1)[0]
		g.VMOVUPS(g.get(g.bits(0x7f7fffff)), in(least))
		g.VMOVUPS(zero, found(scaleCode))
		g.VMOVUPS(zero, found(minCode))
		scale := g.get(of(wanted))
		middle := g.binary(g.VMULPS, in(inverse), scale)
		g.code(&l, middle)
		for _, off := range []float32{-1, 0, 1} {
			c := g.binary(g.VADDPS, g.number(off), middle)
			miss := g.level(&l, c)
			g.VMULPS(in(factor), miss, miss)
			g.VSUBPS(miss, scale, miss)
			want := g.binary(g.VMULPS, of(mean), miss)
			g.VSUBPS(want, g.get(of(low)), want)
			m := g.binary(g.VMULPS, in(inverseMin), want)
			g.code(&l, m)
			rest := g.level(&l, m)
			g.VMULPS(in(factorMin), rest, rest)
			g.VSUBPS(rest, want, rest)
			g.VMULPS(rest, rest, rest)
			g.VMULPS(miss, miss, miss)
			g.VMULPS(of(spread), miss, miss)
			g.VADDPS(rest, miss, miss)
			better := g.compare(miss, isLess, in(least))
			better = g.both(better, g.compare(c, isNotLess, l.lo))
			better = g.both(better, g.compare(c, atMost, l.hi))
			g.chooseAt(better, miss, in(least))
			g.chooseAt(better, c, found(scaleCode))
			g.chooseAt(better, m, found(minCode))
		}
		g.VMOVUPS(g.binary(g.VADDPS, in(least), g.get(in(sum))), in(sum))
		g.ADDQ(operand.Imm(32), index)
	})
	g.end()
}

// The fields of kernels.ScaleFits, in bytes.
const (
	fitsWant = 512 * iota
	fitsWeight
	fitsCode
	fitsFactor
	fitsLeast  = fitsFactor + 32
	fitsBest   = fitsLeast + 32
	fitsChosen = fitsBest + 32
	fitsTop    = fitsChosen + 32
)

// A scaleFit is what scaleFits works with.
type scaleFit struct {
	*gen
	fits, n, index, count reg.Register
	levels                scaleLevels
}

// field is a field of all blocks.
func (f *scaleFit) field(disp int) operand.Mem { return operand.Mem{Base: f.fits, Disp: disp} }

// each runs body for every group; row is the group's part of an array.
func (f *scaleFit) each(label string, body func(row func(disp int) operand.Mem)) {
	f.XORQ(f.index, f.index)
	f.MOVQ(f.n, f.count)
	f.loop(label, f.count, 1, func() {
		body(func(disp int) operand.Mem { return indexed(f.fits, f.index, disp) })
		f.ADDQ(operand.Imm(32), f.index)
	})
}

// addError adds w·(want - d·level)² to sum.
func (f *scaleFit) addError(want, d, level reg.VecVirtual, weight operand.Mem, sum reg.VecVirtual) {
	f.VMULPS(d, level, level)
	f.VSUBPS(level, want, level)
	f.VMULPS(level, level, level)
	f.VMULPS(weight, level, level)
	f.VADDPS(level, sum, sum)
}

// inverse is 1/d, and 0 of 0.
func (f *scaleFit) inverse(d reg.VecVirtual) reg.VecVirtual {
	v := f.binary(f.VDIVPS, d, f.constant(1))
	f.VANDPS(f.compare(d, differs, f.zeros(1)[0]), v, v)
	return v
}

// half limits v to the numbers of half precision and rounds it to one. What is no number stays so.
func (f *scaleFit) half(v reg.VecVirtual) {
	f.VMAXPS(v, f.constant(-65504), v)
	f.VMINPS(v, f.constant(65504), v)
	f.VCVTPS2PH(operand.Imm(0), v, v.AsX())
	f.VCVTPH2PS(v.AsX(), v)
}

// try takes the factor d where it has the least error.
func (f *scaleFit) try(label string, d reg.VecVirtual) {
	inverse, sum := f.inverse(d), f.zeros(1)[0]
	f.each(label, func(row func(disp int) operand.Mem) {
		v := f.get(row(fitsWant))
		c := f.binary(f.VMULPS, v, inverse)
		f.code(&f.levels, c)
		f.addError(v, d, f.level(&f.levels, c), row(fitsWeight), sum)
	})
	none := f.zeros(1)[0]
	better := f.both(f.compare(sum, isLess, f.field(fitsLeast)), f.compare(d, differs, none))
	better = f.both(better, f.compare(f.binary(f.VSUBPS, d, d), isEqual, none))
	f.chooseAt(better, sum, f.field(fitsLeast))
	f.chooseAt(better, d, f.field(fitsBest))
	f.VORPS(f.field(fitsChosen), better, better)
	f.VMOVUPS(better, f.field(fitsChosen))
}

// refit is the factor of least error for the codes.
func (f *scaleFit) refit(label string) reg.VecVirtual {
	num, den := f.zeros(1)[0], f.zeros(1)[0]
	f.each(label, func(row func(disp int) operand.Mem) {
		w, level := f.get(row(fitsWeight)), f.level(&f.levels, f.get(row(fitsCode)))
		v := f.binary(f.VMULPS, row(fitsWant), w)
		f.VMULPS(level, v, v)
		f.VADDPS(v, num, num)
		f.VMULPS(level, w, w)
		f.VMULPS(level, w, w)
		f.VADDPS(w, den, den)
	})
	f.VDIVPS(den, num, num)
	f.half(num)
	f.choose(f.compare(den, isEqual, f.zeros(1)[0]), f.get(f.field(fitsBest)), num)
	return num
}

// assign sets the codes where another factor was taken, and forgets where that was.
func (f *scaleFit) assign(label string) {
	inverse, chosen := f.inverse(f.get(f.field(fitsBest))), f.get(f.field(fitsChosen))
	f.each(label, func(row func(disp int) operand.Mem) {
		c := f.binary(f.VMULPS, row(fitsWant), inverse)
		f.code(&f.levels, c)
		f.chooseAt(chosen, c, row(fitsCode))
	})
	f.VMOVUPS(f.zeros(1)[0], f.field(fitsChosen))
}

// scaleFits has a block a lane, and the groups of a block one after the other.
func scaleFits(g *gen) {
	g.kernel(avx2, "scaleFits", "(n int, fits, levels *float32, ends int, end *float32)", "ScaleFits.Fit of n groups")
	f := &scaleFit{gen: g, fits: g.param("fits"), n: g.param("n"), index: g.GP64(), count: g.GP64()}
	f.levels = g.scaleLevels("levels")
	ends, end := g.param("ends"), g.param("end")
	base, sum, top, most := g.get(f.field(fitsFactor)), g.zeros(1)[0], g.zeros(1)[0], g.zeros(1)[0]
	f.each("base", func(row func(disp int) operand.Mem) {
		v := g.get(row(fitsWant))
		size := g.magnitude(v)
		larger := g.compare(size, isGreater, most)
		g.choose(larger, v, top)
		g.choose(larger, size, most)
		f.addError(v, base, g.level(&f.levels, g.get(row(fitsCode))), row(fitsWeight), sum)
	})
	g.VMOVUPS(sum, f.field(fitsLeast))
	g.VMOVUPS(top, f.field(fitsTop))
	g.VMOVUPS(base, f.field(fitsBest))
	g.VMOVUPS(g.zeros(1)[0], f.field(fitsChosen))
	d := f.refit("refit")
	f.try("same", g.get(f.field(fitsFactor)))
	f.try("refitted", d)
	g.loop("end", ends, 1, func() {
		d, top := g.vec(), g.get(f.field(fitsTop))
		g.VBROADCASTSS(operand.Mem{Base: end}, d)
		g.ADDQ(operand.Imm(4), end)
		g.VDIVPS(d, top, d)
		f.half(d)
		f.try("ended", d)
	})
	f.assign("assign")
	f.try("again", f.refit("refit_again"))
	f.assign("assign_again")
	g.VMOVUPS(g.get(f.field(fitsBest)), f.field(fitsFactor))
	g.end()
}

// levelSums adds up the levels of groups and their squares.
func levelSums(g *gen) {
	g.kernel(avx2, "levelSums", "(groups, n int, level *uint8, sums *[2]int32)", "LevelSums of groups of n levels, a "+
		"multiple of 16")
	groups, n, level, sums, count := g.param("groups"), g.param("n"), g.param("level"), g.param("sums"), g.GP64()
	none := g.XMM()
	g.VPXOR(none, none, none)
	g.loop("group", groups, 1, func() {
		sum, squares := g.XMM(), g.YMM()
		g.VPXOR(sum, sum, sum)
		g.VPXOR(squares, squares, squares)
		g.MOVQ(n, count)
		g.loop("sixteen", count, 16, func() {
			s, q := g.XMM(), g.YMM()
			g.VPSADBW(operand.Mem{Base: level}, none, s)
			g.VPADDD(s, sum, sum)
			g.VPMOVZXBW(operand.Mem{Base: level}, q)
			g.VPMADDWD(q, q, q)
			g.VPADDD(q, squares, squares)
			g.ADDQ(operand.Imm(16), level)
		})
		fold, low := g.XMM(), squares.AsX()
		g.VEXTRACTI128(operand.Imm(1), squares, fold)
		g.VPADDD(fold, low, low)
		for _, v := range []reg.Register{low, sum} {
			g.VPSHUFD(operand.Imm(0x4e), v, fold)
			g.VPADDD(fold, v, v)
		}
		g.VPSHUFD(operand.Imm(0xb1), low, fold)
		g.VPADDD(fold, low, low)
		g.VMOVD(sum, operand.Mem{Base: sums})
		g.VMOVD(low, operand.Mem{Base: sums, Disp: 4})
		g.ADDQ(operand.Imm(8), sums)
	})
	g.end()
}

// halfVec is a register of half the size, which holds as many floats as a whole one holds doubles.
func (g *gen) halfVec() reg.VecVirtual {
	if g.lanes == 16 {
		return g.YMM()
	}
	return g.XMM()
}

// laneMoments adds up products of groups in lanes, in float64.
func laneMoments(g *gen, s isa) {
	g.kernel(s, "laneMoments", "(n int, old, change, offset *float32, sums *[4][16]float64)",
		"Σ p, Σ p², Σ d, Σ p·d of n elements of groups in lanes, p = old - offset, d = change; products are exact")
	n, old, change, offset, sums := g.param("n"), g.param("old"), g.param("change"), g.param("offset"), g.param("sums")
	wide := g.bytes() / 2 // of the floats of half a vector
	var total [2][4]reg.VecVirtual
	var away [2]reg.VecVirtual
	for h := range 2 {
		total[h] = [4]reg.VecVirtual(g.zeros(4))
		away[h] = g.halfVec()
		g.VMOVUPS(operand.Mem{Base: offset, Disp: h * wide}, away[h])
	}
	g.loop("element", n, 1, func() {
		for h := range 2 {
			p, x, d := g.halfVec(), g.vec(), g.vec()
			g.VMOVUPS(operand.Mem{Base: old, Disp: h * wide}, p)
			g.VSUBPS(away[h], p, p)
			g.VCVTPS2PD(p, x)
			g.VCVTPS2PD(operand.Mem{Base: change, Disp: h * wide}, d)
			g.VADDPD(x, total[h][0], total[h][0])
			g.VFMADD231PD(x, x, total[h][1])
			g.VADDPD(d, total[h][2], total[h][2])
			g.VFMADD231PD(x, d, total[h][3])
		}
		g.ADDQ(operand.Imm(uint64(g.bytes())), old)
		g.ADDQ(operand.Imm(uint64(g.bytes())), change)
	})
	for h := range 2 {
		for i, t := range total[h] {
			g.VMOVUPS(t, operand.Mem{Base: sums, Disp: 128*i + h*g.bytes()})
		}
	}
	g.end()
}

// changeSums is ChangeSums of n elements, a multiple of 8, in eight sums each.
func changeSums(g *gen, s isa) {
	g.kernel(s, "changeSums", "(n int, old, change, now *float32, sums *[3][8]float64)",
		"sums[0][i%8] += change², sums[1] += made·change, sums[2] += (made-change)², made = now - old, in float64")
	n, old, change, now, sums := g.param("n"), g.param("old"), g.param("change"), g.param("now"), g.param("sums")
	parts := 16 / g.lanes // vectors of eight doubles
	total := g.zeros(3 * parts)
	g.loop("eight", n, 8, func() {
		for h := range parts {
			at := func(base reg.Register) operand.Mem { return operand.Mem{Base: base, Disp: 16 * h} }
			made, asked, before := g.vec(), g.vec(), g.vec()
			g.VCVTPS2PD(at(now), made)
			g.VCVTPS2PD(at(old), before)
			g.VCVTPS2PD(at(change), asked)
			g.VSUBPD(before, made, made)
			add := func(i int, a, b reg.VecVirtual) {
				product := g.vec()
				g.VMULPD(a, b, product)
				g.VADDPD(product, total[3*h+i], total[3*h+i])
			}
			add(0, asked, asked)
			add(1, made, asked)
			g.VSUBPD(asked, made, made)
			add(2, made, made)
		}
		for _, p := range []reg.Register{old, change, now} {
			g.ADDQ(operand.Imm(32), p)
		}
	})
	for h := range parts {
		for i := range 3 {
			g.VMOVUPS(total[3*h+i], operand.Mem{Base: sums, Disp: 64*i + 32*h})
		}
	}
	g.end()
}

// combineRows keeps four vectors of y in registers while all rows are added to them.
func combineRows(g *gen, s isa) {
	g.kernel(s, "combineRows", "(n int, y *float32, rows int, factor, x *float32, stride int)",
		"y[i] = fma(factor[k], x[k*stride+i], y[i]) for k < rows in order; n is a multiple of 16")
	n, y, rows, factor, x, stride := g.param("n"), g.param("y"), g.param("rows"), g.param("factor"), g.param("x"),
		g.param("stride")
	g.SHLQ(operand.Imm(2), stride)
	k, from, f := g.GP64(), g.GP64(), g.GP64()
	pass := func(label string, vectors int) func() {
		return func() {
			sum, v := g.vecs(vectors), g.vec()
			for i := range sum {
				g.VMOVUPS(g.at(y, i), sum[i])
			}
			g.MOVQ(x, from)
			g.MOVQ(factor, f)
			g.MOVQ(rows, k)
			g.loop(label, k, 1, func() {
				g.VBROADCASTSS(operand.Mem{Base: f}, v)
				for i := range sum {
					g.VFMADD231PS(g.at(from, i), v, sum[i])
				}
				g.ADDQ(operand.Imm(4), f)
				g.ADDQ(stride, from)
			})
			for i := range sum {
				g.VMOVUPS(sum[i], g.at(y, i))
			}
			g.ADDQ(operand.U32(vectors*g.bytes()), y)
			g.ADDQ(operand.U32(vectors*g.bytes()), x)
		}
	}
	g.loop("many", n, 8*g.lanes, pass("many_rows", 8))
	g.loop("block", n, block, pass("block_rows", block/g.lanes))
	g.end()
}
