package main

import (
	"math"

	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// softmaxFile holds the exponentials of the softmax.
func softmaxFile(g *gen) {
	expSum(g, avx512)
	expSum(g, avx2)
}

func expSum(g *gen, s isa) {
	g.kernel(s, "expSum", "(n int, x *float32, max float32) float32", "x[i] = exp(x[i]-max); the sum of them")
	limit := g.splat("max")
	e := g.newExp()
	acc := g.zeros(2)
	g.stream(g.param("n"), 2, []string{"x"}, func(at [][]operand.Mem) {
		x := g.load(at[0])
		for i := range x {
			g.VSUBPS(limit, x[i], x[i])
			x[i] = e.exp(x[i])
			g.VADDPS(x[i], acc[i], acc[i])
		}
		g.store(x, at[0])
	})
	g.give(g.fold(acc, g.VADDPS))
}

// The exponential: x = n ln 2 + r with |r| <= ln(2)/2, exp(x) = 2^n exp(r), exp(r) = 1 + r + r² q(r). q
// interpolates (exp(r)-1-r)/r² at Chebyshev's nodes; the error of the polynomial is 1.1e-8 of exp(r).
var expPolynomial = []float32{0.5, 0.16666576266288757, 0.041666556149721146, 0.008363185450434685,
	0.0013926191022619605}

const (
	expLow  = -87.33654 // below it, exp is subnormal and taken as 0
	expHigh = 89        // from it on, exp overflows

	ln2High = 0.693145751953125 // 16 bits: times n it is exact
	ln2Low  = math.Ln2 - ln2High

	notLess = 0x15 // the predicate "not less than", true for NaN
)

// exponential holds the registers of the exponential's limits.
type exponential struct {
	*gen
	low, high reg.VecVirtual
}

func (g *gen) newExp() exponential {
	return exponential{g, g.constant(expLow), g.constant(expHigh)}
}

// exp is a register with the exponentials of x.
func (e exponential) exp(x reg.VecVirtual) reg.VecVirtual {
	r := e.vec()
	e.VMAXPS(x, e.low, r) // in this order a NaN stays one
	e.VMINPS(r, e.high, r)
	q, n := e.expMinusOne(r)
	e.VADDPS(e.number(1), q, q)
	e.timesPowerOf2(q, n)
	e.clearBelow(q, x, e.low)
	return q
}

// expMinusOne takes n ln 2 off r, which is between low and high, and gives exp(r) - 1 of the rest, and n.
func (e exponential) expMinusOne(r reg.VecVirtual) (q, n reg.VecVirtual) {
	n, r2 := e.vec(), e.vec()
	e.VMULPS(e.number(math.Log2E), r, n)
	e.round(n)
	e.VFNMADD231PS(e.number(ln2High), n, r)
	e.VFNMADD231PS(e.number(ln2Low), n, r)
	e.VMULPS(r, r, r2)
	q = e.constant(expPolynomial[4])
	for i := 3; i >= 0; i-- {
		e.VFMADD213PS(e.number(expPolynomial[i]), r, q)
	}
	e.VFMADD213PS(r, r2, q)
	return q, n
}

// round rounds x to the nearest integers.
func (g *gen) round(x reg.VecVirtual) {
	if g.lanes == 16 {
		g.VRNDSCALEPS(operand.Imm(8), x, x)
		return
	}
	g.VROUNDPS(operand.Imm(8), x, x)
}

// timesPowerOf2 multiplies x by 2^n, n being an integer from -126 to 128.
func (g *gen) timesPowerOf2(x, n reg.VecVirtual) {
	if g.lanes == 16 {
		g.VSCALEFPS(n, x, x)
		return
	}
	half := g.vec()
	g.VCVTPS2DQ(n, n)
	g.VPSRAD(operand.Imm(1), n, half)
	g.VPSUBD(half, n, n)
	for _, part := range []reg.VecVirtual{half, n} {
		g.VPADDD(g.bits(127), part, part)
		g.VPSLLD(operand.Imm(23), part, part)
		g.VMULPS(part, x, x)
	}
}

// clearBelow makes x 0 where by is less than low.
func (g *gen) clearBelow(x, by, low reg.VecVirtual) {
	if g.lanes == 16 {
		keep := g.K()
		g.VCMPPS(operand.Imm(notLess), low, by, keep)
		g.VMOVAPS_Z(x, keep, x)
		return
	}
	keep := g.vec()
	g.VCMPPS(operand.Imm(notLess), low, by, keep)
	g.VANDPS(keep, x, x)
}
