package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// ropeFile holds the rotations of both layouts of pairs.
func ropeFile(g *gen) {
	for _, s := range []isa{avx512, avx2} {
		rope(g, s)
		ropeNeox(g, s)
	}
}

func rope(g *gen, s isa) {
	g.kernel(s, "rope", "(n int, x, cos, sin *float32)",
		"x[2i], x[2i+1] = x[2i]*cos[i] - x[2i+1]*sin[i], x[2i]*sin[i] + x[2i+1]*cos[i] for i < n, a multiple of 8")
	n, x, cos, sin := g.param("n"), g.param("x"), g.param("cos"), g.param("sin")
	pairs := g.lanes / 2
	g.loop("pairs", n, pairs, func() {
		v, swapped := g.vec(), g.vec()
		g.VMOVUPS(operand.Mem{Base: x}, v)
		g.VPERMILPS(operand.Imm(0xb1), v, swapped)
		g.VMULPS(g.twice(sin), swapped, swapped)
		g.VFMADDSUB213PS(swapped, g.twice(cos), v)
		g.VMOVUPS(v, operand.Mem{Base: x})
		g.ADDQ(operand.Imm(uint64(g.bytes())), x)
		g.ADDQ(operand.Imm(uint64(g.bytes()/2)), cos)
		g.ADDQ(operand.Imm(uint64(g.bytes()/2)), sin)
	})
	g.end()
}

// twice is a register with each of the float32s at p two times.
func (g *gen) twice(p reg.Register) reg.VecVirtual {
	v := g.vec()
	g.VPMOVZXDQ(operand.Mem{Base: p}, v)
	g.VMOVSLDUP(v, v)
	return v
}

func ropeNeox(g *gen, s isa) {
	g.kernel(s, "ropeNeox", "(n int, x, y, cos, sin *float32)",
		"x[i], y[i] = x[i]*cos[i] - y[i]*sin[i], x[i]*sin[i] + y[i]*cos[i]")
	g.stream(g.param("n"), 2, []string{"x", "y", "cos", "sin"}, func(at [][]operand.Mem) {
		x, y, cos := g.load(at[0]), g.load(at[1]), g.load(at[2])
		for i := range x {
			sin, ys := g.vec(), g.vec()
			g.VMOVUPS(at[3][i], sin)
			g.VMULPS(sin, y[i], ys)
			g.VMULPS(cos[i], y[i], y[i])
			g.VFMADD231PS(sin, x[i], y[i])
			g.VFMSUB213PS(ys, cos[i], x[i])
		}
		g.store(x, at[0])
		g.store(y, at[1])
	})
	g.end()
}
