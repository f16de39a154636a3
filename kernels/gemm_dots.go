package kernels

// The product by dot products, for few rows on one side: nothing is repacked but these few rows. The other
// side is divided into tasks, and each task goes through k in blocks.

const (
	dotBlock = 1024 // the k of a block: few rows of it stay in the first-level cache
	dotLD    = dotBlock + 16
)

// dotsFit says whether the product is one for dot products: few rows on one side, and rows contiguous in k
// on the other.
func (g *gemm) dotsFit() bool {
	switch {
	case g.k < dotsDepth:
		return false
	case g.w != nil:
		return g.wTrans && g.m <= dotsRows
	case g.m <= dotsRows && g.b.rs == 1 && g.n > g.m:
		return true
	}
	return g.n <= dotsRows && g.a.cs == 1
}

// runDots calls the few rows A, by swapping the sides if it must.
func (g *gemm) runDots() {
	if g.w == nil && !(g.m <= dotsRows && g.b.rs == 1 && g.n > g.m) {
		g.m, g.n, g.a, g.b, g.cTrans = g.n, g.m, g.b.transposed(), g.a.transposed(), true
	}
	g.packFew()
	g.wide = max(g.n/(4*Threads()), 1<<15/g.k, 8)
	g.wide = min(g.wide+3, 64) &^ 3
	share(g.m*g.n*g.k, ceilDiv(g.n, g.wide), g.dotTask)
}

// packFew copies the few rows of A times alpha, padded with zeros to a multiple of 16, block by block.
func (g *gemm) packFew() {
	blocks := ceilDiv(g.k, dotBlock)
	grow(&g.packed, blocks*g.m*dotLD)
	for b := range blocks {
		k0 := b * dotBlock
		k := min(dotBlock, g.k-k0)
		for i := range g.m {
			row := g.few(b, i)[:(k+15)&^15]
			packGeneric(row, 1, g.a.from(i, k0), g.a.cs, 1, k, 1)
			clear(row[k:])
			if g.alpha != 1 {
				Scale(g.alpha, row)
			}
		}
	}
}

// few is packed row number i, block number b of k.
func (g *gemm) few(b, i int) []float32 {
	at := (b*g.m + i) * dotLD
	return g.packed[at : at+dotLD]
}

// dotRows computes some columns of C.
func (g *gemm) dotRows(i int) {
	s := scratches.get()
	defer scratches.put(s)
	n1 := min(g.n, (i+1)*g.wide)
	for n := i * g.wide; n < n1; n += 4 {
		for k0 := 0; k0 < g.k; k0 += dotBlock {
			g.dotFour(s, n, min(n1, n+4), k0, min(g.k, k0+dotBlock))
		}
	}
}

// dotFour multiplies up to four columns of B by all rows of A, over one block of k.
func (g *gemm) dotFour(s *scratch, n0, n1, k0, k1 int) {
	var a, b [4][]float32
	var sums [16]float32
	whole := (k1 - k0 + 15) &^ 15
	g.columns(s, &b, n0, n1, k0, k1)
	for i0 := 0; i0 < g.m; i0 += 4 {
		for i := range a {
			a[i] = g.few(k0/dotBlock, min(i0+i, g.m-1))
		}
		dots(whole, &a, &b, &sums)
		for i := i0; i < min(g.m, i0+4); i++ {
			for j := n0; j < n1; j++ {
				g.storeDot(i, j, sums[4*(j-n0)+i-i0], k0 > 0)
			}
		}
	}
}

// columns is up to four columns of B, the last one again for those that are not there, each as long as a
// multiple of 16.
func (g *gemm) columns(s *scratch, b *[4][]float32, n0, n1, k0, k1 int) {
	k := k1 - k0
	whole := (k + 15) &^ 15
	ld := dotLD
	src := s.tile
	switch {
	case g.w != nil:
		src = grow(&s.tile, 4*dotLD)
		g.w.Tile(src, dotLD, n0, n1, k0, k1)
	case k < whole:
		src = grow(&s.tile, 4*dotLD)
		for j := n0; j < n1; j++ {
			copy(src[(j-n0)*dotLD:], g.b.from(k0, j)[:k])
		}
	default:
		src, ld = g.b.from(k0, n0), g.b.cs
	}
	for j := range b {
		b[j] = src[min(j, n1-n0-1)*ld:][:whole]
		if k < whole {
			clear(b[j][k:])
		}
	}
}

// storeDot brings a sum into C.
func (g *gemm) storeDot(i, j int, v float32, later bool) {
	at := g.cIndex(i, j)
	switch {
	case later:
		v += g.c[at]
	case g.beta != 0:
		v += g.beta * g.c[at]
	}
	g.c[at] = v
}
