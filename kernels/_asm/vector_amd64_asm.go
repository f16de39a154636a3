package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// vectorFile holds the basic loops over vectors.
func vectorFile(g *gen) {
	for _, s := range []isa{avx512, avx2} {
		dot(g, s)
		axpy(g, s)
		scale(g, s)
		combine(g, s, "add", "dst[i] += x[i]", g.VADDPS)
		combine(g, s, "mul", "dst[i] *= x[i]", g.VMULPS)
		mulAdd(g, s)
		sumSquares(g, s)
		maximum(g, s)
	}
}

func dot(g *gen, s isa) {
	g.kernel(s, "dot", "(n int, x, y *float32) float32", "the sum of x[i]*y[i]")
	acc := g.zeros(4)
	g.stream(g.param("n"), 4, []string{"x", "y"}, func(at [][]operand.Mem) {
		for i, x := range g.load(at[0]) {
			g.VFMADD231PS(at[1][i], x, acc[i])
		}
	})
	g.give(g.fold(acc, g.VADDPS))
}

func axpy(g *gen, s isa) {
	g.kernel(s, "axpy", "(n int, a float32, x, y *float32)", "y[i] += a * x[i]")
	a := g.splat("a")
	g.stream(g.param("n"), 4, []string{"x", "y"}, func(at [][]operand.Mem) {
		y := g.load(at[1])
		for i := range y {
			g.VFMADD231PS(at[0][i], a, y[i])
		}
		g.store(y, at[1])
	})
	g.end()
}

func scale(g *gen, s isa) {
	g.kernel(s, "scale", "(n int, a float32, x *float32)", "x[i] *= a")
	a := g.splat("a")
	g.stream(g.param("n"), 4, []string{"x"}, func(at [][]operand.Mem) {
		x := g.vecs(len(at[0]))
		for i := range x {
			g.VMULPS(at[0][i], a, x[i])
		}
		g.store(x, at[0])
	})
	g.end()
}

func combine(g *gen, s isa, name, doc string, op func(ops ...operand.Op)) {
	g.kernel(s, name, "(n int, dst, x *float32)", doc)
	g.stream(g.param("n"), 4, []string{"dst", "x"}, func(at [][]operand.Mem) {
		x := g.load(at[1])
		for i := range x {
			op(at[0][i], x[i], x[i])
		}
		g.store(x, at[0])
	})
	g.end()
}

func mulAdd(g *gen, s isa) {
	g.kernel(s, "mulAdd", "(n int, dst, x, y *float32)", "dst[i] += x[i] * y[i]")
	g.stream(g.param("n"), 4, []string{"dst", "x", "y"}, func(at [][]operand.Mem) {
		sum := g.load(at[0])
		for i, x := range g.load(at[1]) {
			g.VFMADD231PS(at[2][i], x, sum[i])
		}
		g.store(sum, at[0])
	})
	g.end()
}

func sumSquares(g *gen, s isa) {
	g.kernel(s, "sumSquares", "(n int, x *float32) float64", "the sum of x[i]*x[i], in float64")
	acc := g.zeros(4)
	g.stream(g.param("n"), 4, []string{"x"}, func(at [][]operand.Mem) {
		for i, m := range at[0] {
			for half := range 2 {
				v := g.vec()
				g.VCVTPS2PD(m.Offset(half*g.bytes()/2), v)
				g.VFMADD231PD(v, v, acc[(2*i+half)%4])
			}
		}
	})
	g.giveDouble(acc)
}

// giveDouble returns the sum of the float64s of four registers.
func (g *gen) giveDouble(acc []reg.VecVirtual) {
	g.VADDPD(acc[2], acc[0], acc[0])
	g.VADDPD(acc[3], acc[1], acc[1])
	g.VADDPD(acc[1], acc[0], acc[0])
	x, high := g.quarter(acc[0], g.VADDPD), g.XMM()
	g.VPERMILPD(operand.Imm(1), x, high)
	g.VADDPD(high, x, x)
	g.VMOVSD(x, g.address(g.ReturnIndex(0)))
	g.end()
}

func maximum(g *gen, s isa) {
	g.kernel(s, "max", "(n int, x *float32) float32", "the largest of x[i]")
	acc := g.vecs(4)
	for _, v := range acc {
		g.VMOVUPS(g.bits(0xff800000), v) // -Inf
	}
	g.stream(g.param("n"), 4, []string{"x"}, func(at [][]operand.Mem) {
		for i, m := range at[0] {
			g.VMAXPS(m, acc[i], acc[i])
		}
	})
	g.give(g.fold(acc, g.VMAXPS))
}
