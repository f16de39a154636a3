package main

import "github.com/mmcloughlin/avo/operand"

// normFile holds the passes of the norms.
func normFile(g *gen) {
	for _, s := range []isa{avx512, avx2} {
		scaleMul(g, s)
		dot3(g, s)
		addMulAxpy(g, s)
		sum(g, s)
		shift(g, s)
	}
}

func scaleMul(g *gen, s isa) {
	g.kernel(s, "scaleMul", "(n int, y *float32, a float32, x, w *float32)", "y[i] = x[i] * a * w[i]")
	a := g.splat("a")
	g.stream(g.param("n"), 4, []string{"y", "x", "w"}, func(at [][]operand.Mem) {
		x := g.load(at[1])
		for i := range x {
			g.VMULPS(a, x[i], x[i])
			g.VMULPS(at[2][i], x[i], x[i])
		}
		g.store(x, at[0])
	})
	g.end()
}

func dot3(g *gen, s isa) {
	g.kernel(s, "dot3", "(n int, x, y, z *float32) float32", "the sum of x[i]*y[i]*z[i]")
	acc := g.zeros(4)
	g.stream(g.param("n"), 4, []string{"x", "y", "z"}, func(at [][]operand.Mem) {
		for i, x := range g.load(at[0]) {
			g.VMULPS(at[1][i], x, x)
			g.VFMADD231PS(at[2][i], x, acc[i])
		}
	})
	g.give(g.fold(acc, g.VADDPS))
}

func addMulAxpy(g *gen, s isa) {
	g.kernel(s, "addMulAxpy", "(n int, dst *float32, a float32, x, y *float32, b float32, z *float32)",
		"dst[i] += a*x[i]*y[i] + b*z[i]")
	a, b := g.splat("a"), g.splat("b")
	g.stream(g.param("n"), 2, []string{"dst", "x", "y", "z"}, func(at [][]operand.Mem) {
		sum := g.load(at[0])
		for i, x := range g.load(at[1]) {
			g.VMULPS(a, x, x)
			g.VFMADD231PS(at[2][i], x, sum[i])
			g.VFMADD231PS(at[3][i], b, sum[i])
		}
		g.store(sum, at[0])
	})
	g.end()
}

func sum(g *gen, s isa) {
	g.kernel(s, "sum", "(n int, x *float32) float64", "the sum of x[i], in float64")
	acc := g.zeros(4)
	g.stream(g.param("n"), 4, []string{"x"}, func(at [][]operand.Mem) {
		for i, m := range at[0] {
			for half := range 2 {
				v := g.vec()
				g.VCVTPS2PD(m.Offset(half*g.bytes()/2), v)
				g.VADDPD(v, acc[(2*i+half)%4], acc[(2*i+half)%4])
			}
		}
	})
	g.giveDouble(acc)
}

func shift(g *gen, s isa) {
	g.kernel(s, "shift", "(n int, a float32, x *float32)", "x[i] += a")
	a := g.splat("a")
	g.stream(g.param("n"), 4, []string{"x"}, func(at [][]operand.Mem) {
		x := g.vecs(len(at[0]))
		for i := range x {
			g.VADDPS(at[0][i], a, x[i])
		}
		g.store(x, at[0])
	})
	g.end()
}
