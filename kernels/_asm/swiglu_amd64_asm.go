package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// swigluFile holds the gated activation and its gradient.
func swigluFile(g *gen) {
	for _, s := range []isa{avx512, avx2} {
		swiglu(g, s)
		swigluBackward(g, s)
	}
}

func swiglu(g *gen, s isa) {
	g.kernel(s, "swiglu", "(n int, y, gate, u *float32)", "y[i] = gate[i] / (1 + exp(-gate[i])) * u[i]")
	e := g.newExp()
	g.stream(g.param("n"), 2, []string{"y", "gate", "u"}, func(at [][]operand.Mem) {
		for i, gate := range g.load(at[1]) {
			d := e.onePlusExpOfMinus(gate)
			g.VDIVPS(d, gate, d)
			g.VMULPS(at[2][i], d, d)
			g.VMOVUPS(d, at[0][i])
		}
	})
	g.end()
}

// onePlusExpOfMinus is a register with 1 + exp(-x).
func (e exponential) onePlusExpOfMinus(x reg.VecVirtual) reg.VecVirtual {
	minus := e.vec()
	e.VXORPS(e.bits(1<<31), x, minus)
	y := e.exp(minus)
	e.VADDPS(e.number(1), y, y)
	return y
}

func swigluBackward(g *gen, s isa) {
	g.kernel(s, "swigluBackward", "(n int, dg, du, dy, gate, u *float32)",
		"with s = 1 / (1 + exp(-gate[i])):",
		"dgate[i] += dy[i] * u[i] * s * (1 + gate[i]*(1-s))",
		"du[i] += dy[i] * gate[i] * s")
	e, one := g.newExp(), g.constant(1)
	g.stream(g.param("n"), 1, []string{"dg", "du", "dy", "gate", "u"}, func(at [][]operand.Mem) {
		for i, gate := range g.load(at[3]) {
			d, rest, sum := e.onePlusExpOfMinus(gate), g.vec(), g.vec()
			g.VDIVPS(d, one, d)
			g.VSUBPS(d, one, rest)
			g.VFMADD213PS(one, gate, rest)
			g.VMULPS(at[2][i], d, d) // dy*s
			g.VMOVUPS(at[1][i], sum)
			g.VFMADD231PS(d, gate, sum)
			g.VMOVUPS(sum, at[1][i])
			g.VMULPS(at[4][i], d, d)
			g.VFMADD213PS(at[0][i], rest, d)
			g.VMOVUPS(d, at[0][i])
		}
	})
	g.end()
}
