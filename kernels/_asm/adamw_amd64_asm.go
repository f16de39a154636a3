package main

import (
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// adamwFile holds the optimizer's update.
func adamwFile(g *gen) {
	adamw(g, avx512)
	adamw(g, avx2)
}

func adamw(g *gen, s isa) {
	g.kernel(s, "adamw", "(n int, p, grad, m, v *float32, c *float32)",
		"with c pointing to beta1, oneMinusBeta1, beta2, oneMinusBeta2, decay, step, root, eps in this order:",
		"m[i] = beta1*m[i] + oneMinusBeta1*grad[i]",
		"v[i] = beta2*v[i] + oneMinusBeta2*grad[i]*grad[i]",
		"p[i] = p[i]*decay - step*m[i]/(sqrt(v[i])*root + eps)")
	c := g.param("c")
	var k [8]reg.VecVirtual
	for i := range k {
		k[i] = g.vec()
		g.VBROADCASTSS(operand.Mem{Base: c, Disp: 4 * i}, k[i])
	}
	g.stream(g.param("n"), 1, []string{"p", "grad", "m", "v"}, func(at [][]operand.Mem) {
		for i, d := range g.load(at[1]) {
			m, v, p := g.vec(), g.vec(), g.vec()
			g.VMULPS(at[2][i], k[0], m)
			g.VFMADD231PS(d, k[1], m)
			g.VMOVUPS(m, at[2][i])
			g.VMULPS(d, d, d)
			g.VMULPS(k[3], d, d)
			g.VMULPS(at[3][i], k[2], v)
			g.VADDPS(d, v, v)
			g.VMOVUPS(v, at[3][i])
			g.VSQRTPS(v, v)
			g.VFMADD213PS(k[7], k[6], v)
			g.VMULPS(k[5], m, m)
			g.VDIVPS(v, m, m)
			g.VMOVUPS(at[0][i], p)
			g.VFMSUB213PS(m, k[4], p)
			g.VMOVUPS(p, at[0][i])
		}
	})
	g.end()
}
