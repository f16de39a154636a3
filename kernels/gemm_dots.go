package kernels

// The product by dot products, for few rows on one side: nothing is repacked but these few rows. The other
// side is divided into tasks, and each task goes through k in blocks.

const (
	dotBlock = 1024 // the k of a block: a few rows of it stay in the L1 cache
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

// runDots makes the few rows A, by swapping the sides if it must.
func (g *gemm) runDots() {
	if g.w == nil && !(g.m <= dotsRows && g.b.rs == 1 && g.n > g.m) {
		g.m, g.n, g.a, g.b, g.cTrans = g.n, g.m, g.b.transposed(), g.a.transposed(), true
	}
	g.packFew()
	g.wide = max(g.n/(4*Threads()), 1<<15/g.k, 8)
	g.wide = min(g.wide+3, 64) &^ 3
	share(g.m*g.n*g.k, ceilDiv(g.n, g.wide), g.dotTask)
}

// packFew copies the few rows of A times alpha, block by block, with zeros for what is missing to multiples
// of 16 elements and of 4 rows.
func (g *gemm) packFew() {
	g.fours = ceilDiv(g.m, 4)
	blocks := ceilDiv(g.k, dotBlock)
	grow(&g.packed, blocks*4*g.fours*dotLD+packSlack)
	for b := range blocks {
		k0 := b * dotBlock
		k := min(dotBlock, g.k-k0)
		few := g.few(b, 0)
		g.copyFew(few, k0, k)
		for i := range 4 * g.fours {
			row := few[i*dotLD : i*dotLD+round16(k)]
			if i >= g.m {
				k = 0
			}
			clear(row[k:])
			if g.alpha != 1 {
				Scale(g.alpha, row)
			}
		}
	}
}

// copyFew copies k elements from k0 on of the few rows of A.
func (g *gemm) copyFew(dst []float32, k0, k int) {
	if g.a.cs != 1 {
		packTransposed(dst, dotLD, g.a.from(0, k0), g.a.cs, g.m, k)
		return
	}
	for i := range g.m {
		copy(dst[i*dotLD:], g.a.from(i, k0)[:k])
	}
}

func round16(n int) int { return (n + 15) &^ 15 }

// few is block number b of k of the packed rows, from number i on.
func (g *gemm) few(b, i int) []float32 { return g.packed[(b*4*g.fours+i)*dotLD:] }

// dotRows computes some columns of C.
func (g *gemm) dotRows(i int) {
	s := scratches.Get()
	defer scratches.Put(s)
	n1 := min(g.n, (i+1)*g.wide)
	for n := i * g.wide; n < n1; n += 4 {
		for k0 := 0; k0 < g.k; k0 += dotBlock {
			g.dotFour(s, n, min(n1, n+4), k0, min(g.k, k0+dotBlock))
		}
	}
}

// dotFour multiplies up to four columns of B by all rows of A, over one block of k.
func (g *gemm) dotFour(s *scratch, n0, n1, k0, k1 int) {
	var sums [16]float32
	beta := g.beta
	if k0 > 0 {
		beta = 1
	}
	b, ldb := g.columns(s, n0, n1, k0, k1)
	for i := 0; i < g.m; i += 4 {
		dots(round16(k1-k0), g.few(k0/dotBlock, i), dotLD, b, ldb, &sums)
		g.storeDots(&sums, i, min(g.m, i+4), n0, n1, beta)
	}
}

// columns is up to four columns of B as rows ld apart, each filled up with zeros to a multiple of 16. Where
// there are less than four, the others are any numbers.
func (g *gemm) columns(s *scratch, n0, n1, k0, k1 int) (rows []float32, ld int) {
	k := k1 - k0
	if g.w == nil && n1-n0 == 4 && k%16 == 0 {
		return g.b.from(k0, n0), g.b.cs
	}
	rows = grow(&s.tile, 4*dotLD)
	if g.w != nil {
		g.w.Tile(rows, dotLD, n0, n1, k0, k1)
	}
	for j := n0; j < n1; j++ {
		row := rows[(j-n0)*dotLD:][:round16(k)]
		if g.w == nil {
			copy(row, g.b.from(k0, j)[:k])
		}
		clear(row[k:])
	}
	return rows, dotLD
}

// storeDots brings sums into rows i0 to i1 and columns j0 to j1 of beta·C.
func (g *gemm) storeDots(sums *[16]float32, i0, i1, j0, j1 int, beta float32) {
	for j := j0; j < j1; j++ {
		s := (*[4]float32)(sums[4*(j-j0):])
		if g.cTrans && i1-i0 == 4 {
			storeFour((*[4]float32)(g.c[j*g.ldc+i0:]), s, beta)
			continue
		}
		for i := i0; i < i1; i++ {
			at := g.cIndex(i, j)
			v := s[i-i0]
			if beta != 0 {
				v += beta * g.c[at]
			}
			g.c[at] = v
		}
	}
}

// storeFour is c = beta·c + s.
func storeFour(c, s *[4]float32, beta float32) {
	if beta == 0 {
		*c = *s
		return
	}
	c[0] = s[0] + beta*c[0]
	c[1] = s[1] + beta*c[1]
	c[2] = s[2] + beta*c[2]
	c[3] = s[3] + beta*c[3]
}
