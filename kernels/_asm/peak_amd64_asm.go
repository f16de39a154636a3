package main

// peakFile holds the loop that measures what the multiply-add units can do.
func peakFile(g *gen) {
	peak(g, avx512)
	peak(g, avx2)
}

// peakChains is how many independent multiply-adds are under way: more than latency times units.
const peakChains = 12

func peak(g *gen, s isa) {
	g.kernel(s, "peak", "(n int)", "n rounds of 12 independent vector multiply-adds.")
	n := g.param("n")
	acc, x := g.vecs(peakChains), g.vec()
	g.zero(x)
	for _, v := range acc {
		g.zero(v)
	}
	g.loop("round", n, 1, func() {
		for _, v := range acc {
			g.VFMADD231PS(x, x, v)
		}
	})
	g.end()
}
