package main

import "github.com/mmcloughlin/avo/operand"

// tanhHigh is a number from half of which on the hyperbolic tangent is 1.
const tanhHigh = 20

// softCapFile holds the limit of scores.
func softCapFile(g *gen) {
	softCap(g, avx512)
	softCap(g, avx2)
}

// softCap takes tanh(x) = e/(e+2) with e = exp(2|x|) - 1 = 2^n (exp(r)-1) + (2^n-1), which is as exact for small x as
// for large ones, and the sign of x.
func softCap(g *gen, s isa) {
	g.kernel(s, "softCap", "(n int, x *float32, limit, inverse float32)", "x[i] = limit * tanh(x[i]*inverse)")
	limit, twice := g.splat("limit"), g.splat("inverse")
	g.VADDPS(twice, twice, twice)
	e := exponential{gen: g, high: g.constant(tanhHigh)}
	g.stream(g.param("n"), 2, []string{"x"}, func(at [][]operand.Mem) {
		x := g.load(at[0])
		for i := range x {
			sign, power, d := g.vec(), g.vec(), g.vec()
			g.VANDPS(g.bits(1<<31), x[i], sign)
			g.VANDPS(g.bits(1<<31-1), x[i], x[i])
			g.VMULPS(twice, x[i], x[i])
			g.VMINPS(x[i], e.high, x[i]) // in this order a NaN stays one
			p, n := e.expMinusOne(x[i])
			g.VMOVUPS(g.number(1), power)
			g.timesPowerOf2(power, n)
			g.VADDPS(g.number(-1), power, d)
			g.VFMADD231PS(power, p, d) // exp(2|x|) - 1
			g.VADDPS(g.number(2), d, p)
			g.VDIVPS(p, d, d)
			g.VMULPS(limit, d, d)
			g.VORPS(sign, d, x[i])
		}
		g.store(x, at[0])
	})
	g.end()
}
