package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// swigluFile holds the gated activations and their gradients.
func swigluFile(g *gen) {
	for _, s := range []isa{avx512, avx2} {
		swiglu(g, s)
		swigluBackward(g, s)
		gated(g, s)
		gatedBackward(g, s)
		sigmoidMul(g, s)
		sigmoidMulBackward(g, s)
		clamp(g, s)
		addWithin(g, s)
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

// gatedLimit bounds the gate inside of the polynomial of gated, so that it does not overflow.
const gatedLimit = 1e4

// gatedCube fills new registers with the gate h within its limits and with a*h + b*h³.
func (g *gen) gatedCube(gate, a, b reg.VecVirtual) (h, z reg.VecVirtual) {
	h, z = g.vec(), g.vec()
	g.VMAXPS(g.number(-gatedLimit), gate, h)
	g.VMINPS(g.number(gatedLimit), h, h)
	g.VMULPS(h, h, z)
	g.VFMADD213PS(a, b, z)
	g.VMULPS(h, z, z)
	return h, z
}

func gated(g *gen, s isa) {
	g.kernel(s, "gated", "(n int, y, gate, u *float32, a, b float32)",
		"with h = min(max(gate[i], -1e4), 1e4) and z = a*h + b*h*h*h:",
		"y[i] = gate[i] / (1 + exp(-z)) * u[i]")
	e, a, b := g.newExp(), g.splat("a"), g.splat("b")
	g.stream(g.param("n"), 2, []string{"y", "gate", "u"}, func(at [][]operand.Mem) {
		for i := range at[0] {
			gate := g.load(at[1][i : i+1])[0]
			_, z := g.gatedCube(gate, a, b)
			d := e.onePlusExpOfMinus(z)
			g.VDIVPS(d, gate, d)
			g.VMULPS(at[2][i], d, d)
			g.VMOVUPS(d, at[0][i])
		}
	})
	g.end()
}

func gatedBackward(g *gen, s isa) {
	g.kernel(s, "gatedBackward", "(n int, dg, du, dy, gate, u *float32, a, b float32)",
		"with h and z as in gated and s = 1 / (1 + exp(-z)):",
		"dg[i] += dy[i] * u[i] * s * (1 + (a*h + 3*b*h*h*h)*(1-s))",
		"du[i] += dy[i] * gate[i] * s")
	e, one, a, b := g.newExp(), g.constant(1), g.splat("a"), g.splat("b")
	g.stream(g.param("n"), 1, []string{"dg", "du", "dy", "gate", "u"}, func(at [][]operand.Mem) {
		for i, gate := range g.load(at[3]) {
			h, z := g.gatedCube(gate, a, b)
			g.VFNMADD213PS(z, a, h)          // b*h³
			g.VFMADD132PS(g.number(2), z, h) // a*h + 3*b*h³
			d, sum := e.onePlusExpOfMinus(z), g.vec()
			g.VDIVPS(d, one, d)
			rest := g.vec()
			g.VSUBPS(d, one, rest)
			g.VFMADD213PS(one, h, rest)
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

func sigmoidMul(g *gen, s isa) {
	g.kernel(s, "sigmoidMul", "(n int, y, x, gate *float32)", "y[i] = x[i] / (1 + exp(-gate[i]))")
	e := g.newExp()
	g.stream(g.param("n"), 2, []string{"y", "x", "gate"}, func(at [][]operand.Mem) {
		for i, gate := range g.load(at[2]) {
			d, x := e.onePlusExpOfMinus(gate), g.vec()
			g.VMOVUPS(at[1][i], x)
			g.VDIVPS(d, x, x)
			g.VMOVUPS(x, at[0][i])
		}
	})
	g.end()
}

func sigmoidMulBackward(g *gen, s isa) {
	g.kernel(s, "sigmoidMulBackward", "(n int, dx, dg, dy, x, gate *float32)",
		"with s = 1 / (1 + exp(-gate[i])):",
		"dx[i] += dy[i] * s",
		"dg[i] += dy[i] * s * (1-s) * x[i]")
	e, one := g.newExp(), g.constant(1)
	g.stream(g.param("n"), 1, []string{"dx", "dg", "dy", "x", "gate"}, func(at [][]operand.Mem) {
		for i, gate := range g.load(at[4]) {
			d, rest, sum := e.onePlusExpOfMinus(gate), g.vec(), g.vec()
			g.VDIVPS(d, one, d)
			g.VSUBPS(d, one, rest)
			g.VMULPS(at[2][i], d, d) // dy*s
			g.VADDPS(at[0][i], d, sum)
			g.VMOVUPS(sum, at[0][i])
			g.VMULPS(rest, d, d)
			g.VMOVUPS(at[1][i], sum)
			g.VFMADD231PS(at[3][i], d, sum)
			g.VMOVUPS(sum, at[1][i])
		}
	})
	g.end()
}

func clamp(g *gen, s isa) {
	g.kernel(s, "clamp", "(n int, y, x *float32, low, high float32)", "y[i] = min(max(x[i], low), high)")
	low, high := g.splat("low"), g.splat("high")
	g.stream(g.param("n"), 4, []string{"y", "x"}, func(at [][]operand.Mem) {
		x := g.load(at[1])
		for i := range x {
			g.VMAXPS(x[i], low, x[i]) // in this order a NaN stays one
			g.VMINPS(x[i], high, x[i])
		}
		g.store(x, at[0])
	})
	g.end()
}

func addWithin(g *gen, s isa) {
	g.kernel(s, "addWithin", "(n int, dst, d, x *float32, low, high float32)",
		"dst[i] += d[i] where low <= x[i] <= high")
	low, high := g.splat("low"), g.splat("high")
	g.stream(g.param("n"), 2, []string{"dst", "d", "x"}, func(at [][]operand.Mem) {
		d, x := g.load(at[1]), g.load(at[2])
		for i := range d {
			g.clearBelow(d[i], x[i], low)
			g.clearBelow(d[i], high, x[i])
			g.VADDPS(at[0][i], d[i], d[i])
		}
		g.store(d, at[0])
	})
	g.end()
}
