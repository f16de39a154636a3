package kernels

// A LowRank is a trainable map beside a frozen one: x·Aᵀ·Bᵀ times Scale. Its products are fused with those of the
// frozen matrix: the input of the first factor is in the cache because it is being packed, and the second factor is
// one more block of k while the results are in registers.
type LowRank struct {
	Rank  int
	A     []float32 // (Rank, cols)
	B     []float32 // (rows, Rank)
	Scale float32
}

// maxFusedRank is the rank up to which the products are fused.
const maxFusedRank = 256

func (l *LowRank) check(rows, cols, t int, u []float32) {
	if l.Rank <= 0 || len(l.A) != l.Rank*cols || len(l.B) != rows*l.Rank || len(u) != t*l.Rank {
		panic("kernels: a LowRank that does not fit the weights")
	}
}

// GemmWTLowRank is GemmWTPrec plus a map of low rank beside the weights, in float32:
//
//	u (t, Rank) = x · Aᵀ
//	y (t, rows) = x · wᵀ + Scale · u · Bᵀ + beta·y
func GemmWTLowRank(p Precision, y, x []float32, t int, w Weights, beta float32, l LowRank, u []float32) {
	rows, cols := w.Dims()
	l.check(rows, cols, t, u)
	r := l.Rank
	switch {
	case t <= dotsRows:
		GemmWTPrec(p, y, x, t, w, beta)
		addFewLow(y, x, t, l, u)
		return
	case r > maxFusedRank:
		GemmWTPrec(p, y, x, t, w, beta)
		Gemm(false, true, t, r, cols, 1, x, cols, l.A, cols, 0, u, r)
		Gemm(false, true, t, rows, r, l.Scale, u, r, l.B, r, 1, y, rows)
		return
	}
	if len(x) != t*cols || len(y) != t*rows {
		panic("kernels: GemmWTLowRank of slices that do not fit the weights")
	}
	g := gemms.Get()
	g.product = product{m: t, n: rows, k: cols, alpha: 1, beta: beta, a: strided(x, cols, false), w: w, wTrans: true,
		precision: p, c: y, ldc: rows}
	g.setLow(low{rank: r, down: strided(l.A, cols, true), downScale: 1, up: strided(l.B, r, true), upScale: l.Scale, u: u})
	g.run()
	gemms.Put(g)
}

// GemmWLowRank is GemmWPrec plus a map of low rank beside the weights, in float32:
//
//	du (t, Rank) = Scale · dy · B
//	dx (t, cols) = dy · w + du · A + beta·dx
func GemmWLowRank(p Precision, dx, dy []float32, t int, w Weights, beta float32, l LowRank, du []float32) {
	rows, cols := w.Dims()
	l.check(rows, cols, t, du)
	r := l.Rank
	if t <= dotsRows || r > maxFusedRank {
		GemmWPrec(p, dx, dy, t, w, beta)
		Gemm(false, false, t, r, rows, l.Scale, dy, rows, l.B, r, 0, du, r)
		Gemm(false, false, t, cols, r, 1, du, r, l.A, cols, 1, dx, cols)
		return
	}
	if len(dy) != t*rows || len(dx) != t*cols {
		panic("kernels: GemmWLowRank of slices that do not fit the weights")
	}
	g := gemms.Get()
	g.product = product{m: t, n: cols, k: rows, alpha: 1, beta: beta, a: strided(dy, rows, false), w: w, precision: p,
		c: dx, ldc: cols}
	g.setLow(low{rank: r, down: strided(l.B, r, false), downScale: l.Scale, up: strided(l.A, cols, false), upScale: 1,
		u: du})
	g.run()
	gemms.Put(g)
}

// AddLowRank adds a map of low rank to y, in float32, in one pass over the rows:
//
//	u (t, Rank) = x · Aᵀ
//	y (t, rows) += Scale · u · Bᵀ
func AddLowRank(y, x []float32, t int, l LowRank, u []float32) {
	r := l.Rank
	rows, cols := len(l.B)/max(r, 1), len(l.A)/max(r, 1)
	l.check(rows, cols, t, u)
	if len(x) != t*cols || len(y) != t*rows {
		panic("kernels: AddLowRank of slices that do not fit the map")
	}
	switch {
	case t <= dotsRows:
		addFewLow(y, x, t, l, u)
		return
	case r > maxFusedRank:
		Gemm(false, true, t, r, cols, 1, x, cols, l.A, cols, 0, u, r)
		Gemm(false, true, t, rows, r, l.Scale, u, r, l.B, r, 1, y, rows)
		return
	}
	g := gemms.Get()
	g.product = product{m: t, n: rows, k: cols, alpha: 1, beta: 1, a: strided(x, cols, false), c: y, ldc: rows}
	g.setLow(low{rank: r, alone: true, down: strided(l.A, cols, true), downScale: 1, up: strided(l.B, r, true),
		upScale: l.Scale, u: u})
	g.runLow()
	gemms.Put(g)
}

// runLow computes a low without weights.
func (g *gemm) runLow() {
	if g.lowTask == nil {
		g.lowTask, g.upTask = g.lowRows, g.packUp
	}
	t := &g.tiling
	t.shape, t.form = tileShape(), floats
	t.height, t.panels = t.balance(g.m)
	g.packDown()
	g.makeUps()
	share(16*g.n*g.low.rank, g.upTasks(), g.upTask)
	share(g.m*(g.n+g.k)*g.low.rank, t.panels, g.lowTask)
	g.product = product{}
	g.setLow(low{})
}

// upColumns is how many columns of up a task packs.
const upColumns = 512

// makeUps allocates the panels of up.
func (g *gemm) makeUps() {
	l, nr := &g.low, g.tiling.nr
	step := l.rank * nr
	l.right = panelsB{grow(&l.rights, ceilDiv(g.n, nr)*step+packSlack), step, nr}
}

// upTasks is the number of tasks that pack up.
func (g *gemm) upTasks() int {
	if g.low.rank == 0 {
		return 0
	}
	return ceilDiv(g.n, upColumns)
}

// packUp packs some columns of up.
func (g *gemm) packUp(i int) {
	l := &g.low
	for n := i * upColumns; n < min(g.n, (i+1)*upColumns); n += l.right.nr {
		pack(l.right.at(n), l.right.nr, l.up.from(0, n), l.up.rs, l.up.cs, l.rank, min(g.n-n, l.right.nr))
	}
}

// upAfter is the panel of up that begins with column n, or nil: it is added after the last block of k only.
func (g *gemm) upAfter(time bool, n int) []float32 {
	if !time || g.low.rank == 0 {
		return nil
	}
	return g.low.right.at(n)
}

// lowRows computes panel number i of U and adds its product to C.
func (g *gemm) lowRows(i int) {
	t := &g.tiling
	g.project(i, i*t.height, min(t.height, g.m-i*t.height))
	s := scratches.Get()
	defer scratches.Put(s)
	grow(&s.edge, tileSide*maxNR)
	for n := 0; n < g.n; n += t.nr {
		g.tile(s, i, n, g.low.rank, g.up(i), g.low.right.at(n), t.nr, true, nil)
	}
}

// low is C += upScale·U·up with U = downScale·A·down.
type low struct {
	rank      int    // 0: there is none
	down      matrix // (k, rank)
	downScale float32
	up        matrix // (rank, n)
	upScale   float32
	u         []float32
	downs     []float32 // packed panels of down, one behind the other
	ups       []float32 // packed panels of U·upScale
	alone     bool      // there are no weights, and A is not packed
	right     panelsB   // packed panels of up, in:
	rights    []float32
}

// setLow sets the low rank and keeps the memory of the one before.
func (g *gemm) setLow(l low) {
	l.downs, l.ups, l.rights = g.low.downs, g.low.ups, g.low.rights
	g.low = l
}

// rows drops the first i rows.
func (l *low) rows(i int) {
	if l.rank > 0 {
		l.u = l.u[i*l.rank:]
	}
}

// packDown packs the columns of down, as many at a time as a register tile has.
func (g *gemm) packDown() {
	t, l := &g.tiling, &g.low
	grow(&l.downs, g.k*ceilDiv(l.rank, t.nr)*t.nr+packSlack)
	grow(&l.ups, t.panels*g.upLen())
	for j := 0; j < l.rank; j += t.nr {
		pack(l.downs[g.k*j:], t.nr, l.down.from(0, j), l.down.rs, l.down.cs, g.k, min(t.nr, l.rank-j))
	}
}

// upLen is the length of a packed panel of U.
func (g *gemm) upLen() int { return g.tiling.height*g.low.rank + packSlack }

// up is packed panel number i of U.
func (g *gemm) up(i int) []float32 { return g.low.ups[i*g.upLen():] }

// sumDepth is the number of products in one partial sum of an element of U: long sums of small numbers lose bits.
const sumDepth = 32

// project computes panel number i of U: rows of A from i0 on, times down.
func (g *gemm) project(i, i0, rows int) {
	s := scratches.Get()
	defer scratches.Put(s)
	g.eachFloatTile(rows, func(r, n int) { g.projectRows(s, i, i0+r, n, g.up(i)[r*g.low.rank:]) })
}

// eachFloatTile divides the rows of a panel into register tiles of float32, which may be lower than those of the
// product.
func (g *gemm) eachFloatTile(rows int, f func(r, n int)) {
	height, _ := tileShape().balance(rows)
	for r := 0; r < rows; r += height {
		f(r, min(height, rows-r))
	}
}

// addUp sets c to the product of the rows of panel number i of U with a panel of up, or adds it.
func (g *gemm) addUp(i, rows int, up, c []float32, ldc int, add bool) {
	g.eachFloatTile(rows, func(r, n int) {
		tile(tileShape().roundUp(n), g.low.rank, g.up(i)[r*g.low.rank:], up, g.tiling.nr, c[r*ldc:], ldc, add)
	})
}

// projectRows computes rows of panel number i of U from i0 on, and packs them as up.
func (g *gemm) projectRows(s *scratch, i, i0, rows int, up []float32) {
	t, l := &g.tiling, &g.low
	width := tileShape().roundUp(rows)
	groups := ceilDiv(l.rank, t.nr)
	sums := grow(&s.edge, groups*maxMR*t.nr)
	block := floats.block
	if g.packsFloats() {
		block = t.block
	}
	for b := 0; b < g.k; b += block {
		k := min(block, g.k-b)
		a := g.floatsOf(s, i, i0, b, k, rows)
		for q := 0; q < k; q += sumDepth {
			for j := range groups {
				multiply := tile
				if hasHalfTile() && l.rank-j*t.nr <= t.nr/2 {
					multiply = halfTile
				}
				multiply(width, min(sumDepth, k-q), a[q*width:], l.downs[(g.k*j+b+q)*t.nr:], t.nr, sums[j*maxMR*t.nr:], t.nr,
					b+q > 0)
			}
		}
	}
	for r := range rows {
		u := l.u[(i0+r)*l.rank : (i0+r+1)*l.rank]
		for j := range groups {
			copy(u[j*t.nr:], sums[(j*maxMR+r)*t.nr:][:t.nr])
		}
		if l.downScale != 1 {
			Scale(l.downScale, u)
		}
	}
	packTransposed(up, width, l.u[i0*l.rank:], l.rank, l.rank, rows)
	if l.upScale != 1 {
		Scale(l.upScale, up[:l.rank*width])
	}
}

// packsFloats says whether A is packed, in float32.
func (g *gemm) packsFloats() bool { return g.precision == F32 && !g.low.alone }

// floatsOf is a packed panel of k columns from b on of the rows of A from i0 on, as float32.
func (g *gemm) floatsOf(s *scratch, i, i0, b, k, rows int) []float32 {
	t := &g.tiling
	if g.packsFloats() {
		return g.panel(i, b/t.block)
	}
	panel := grow(&s.b, maxMR*floats.block+packSlack)
	pack(panel, tileShape().roundUp(rows), g.a.from(i0, b), g.a.cs, g.a.rs, k, rows)
	return panel
}
