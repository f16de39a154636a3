package main

import "github.com/mmcloughlin/avo/reg"

// peakFile holds the loops that measure what the multiply-add units can do.
func peakFile(g *gen) {
	for _, s := range []isa{avx512, avx2} {
		peak(g, s, "peak", func(x, acc reg.VecVirtual) { g.VFMADD231PS(x, x, acc) })
	}
	peak(g, avx512, "peakBF16", func(x, acc reg.VecVirtual) { g.vdpbf16ps(x, x, acc) })
	peak(g, avx512, "peakInt8", func(x, acc reg.VecVirtual) { g.VPDPBUSD(x, x, acc) })
}

// peakChains is how many independent multiply-adds are under way: more than latency times units.
const peakChains = 12

func peak(g *gen, s isa, name string, multiplyAdd func(x, acc reg.VecVirtual)) {
	g.kernel(s, name, "(n int)", "n rounds of 12 independent vector multiply-adds.")
	n := g.param("n")
	acc, x := g.vecs(peakChains), g.vec()
	g.zero(x)
	for _, v := range acc {
		g.zero(v)
	}
	g.loop("round", n, 1, func() {
		for _, v := range acc {
			multiplyAdd(x, v)
		}
	})
	g.end()
}
