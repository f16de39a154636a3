package quant

import (
	"sync"

	"github.com/peftconv/peftconv/kernels"
)

// Where there is assembly for it, eight IQ1 groups are cut side by side. The points near to codes that are not on the
// lattice are also compared side by side. The steps and their order are those of the plain search.

// cutLanes keeps the memory of searches.
var cutLanes = sync.Pool{New: func() any { return new(kernels.Cuts) }}

// What codes stand for.
var (
	raisedCodes  = [16]float32{raised[0], raised[1], raised[2]}
	loweredCodes = [16]float32{lowered[0], lowered[1], lowered[2]}
)

// cutTogetherInLanes is cutIQ1_S of eight groups.
func cutTogetherInLanes(groups *[kernels.CutLanes]ternaryGroup) {
	c := cutLanes.Get().(*kernels.Cuts)
	defer cutLanes.Put(c)
	for lane := range groups {
		g := &groups[lane]
		g.sort()
		var x, w float32
		for i, at := range g.order[:g.n] {
			x += float32(g.w[at] * g.x[at])
			w += g.w[at]
			c.X[0][i+1][lane], c.W[0][i+1][lane] = x, w
		}
	}
	c.Together(groups[0].n)
	takeCuts(groups, c)
}

// cutApartInLanes is cutIQ1_M of eight groups.
func cutApartInLanes(groups *[kernels.CutLanes]ternaryGroup) {
	c := cutLanes.Get().(*kernels.Cuts)
	defer cutLanes.Put(c)
	for lane := range groups {
		g := &groups[lane]
		g.sort()
		var x, w [2]float32
		for i, at := range g.order[:g.n] {
			half := int(at) / 8 & 1
			x[half] += float32(g.w[at] * g.x[at])
			w[half] += g.w[at]
			for h := range 2 {
				c.X[h][i+1][lane], c.W[h][i+1][lane] = x[h], w[h]
			}
		}
	}
	c.Apart(groups[0].n)
	takeCuts(groups, c)
}

// takeCuts gives the groups the cuts that were found.
func takeCuts(groups *[kernels.CutLanes]ternaryGroup, c *kernels.Cuts) {
	for i := range groups {
		if cut := c.Cut(i); !groups[i].zero {
			groups[i].best = ternaryBest{found: cut.Found, scale: cut.Scale, first: cut.First, second: cut.Second, low: cut.Low}
		}
	}
}
