package kernels

// The product by outer-product tiles, after BLIS. A is packed first: into panels of as many rows as the
// register tile has, cut into blocks of k. Then each task takes some columns of C and some panels of A, and
// for one block of k after the other brings its columns of B into panels and multiplies all pairs of panels.
// C collects the blocks of k in their order.

const (
	maxPanels = 8 // the most panels of B in a task: they should stay in the second-level cache
	tileLD    = tileCols + 16
)

// tiling is how a product is cut into tasks.
type tiling struct {
	shape
	form
	height   int // rows of a panel of A, but for the last
	panels   int // of A
	blocks   int // of k
	unit     int // columns that a task's width is a multiple of
	units    int // of unit columns in C
	wide     int // units a task
	cols     int // tasks side by side
	tall     int // panels of A a task
	rows     int // tasks one above the other
	panelLen int // elements of a packed panel of A
	stepB    int // from one packed panel of B to the next
}

// maxPacked is the number of elements of A up to which it is packed whole. Of a larger one some rows are
// multiplied after the others. A variable for the sake of tests.
var maxPacked = 8 << 20

func (g *gemm) runTiles() {
	g.tiling.form = formOf(g.precision)
	rows := max(maxPacked/ceilDiv(g.k, g.tiling.block)/g.tiling.block, tileShape().mr)
	for m := g.m; m > 0; m -= g.m {
		g.m = min(m, rows)
		g.runRows()
		if m > rows {
			g.a.data, g.c = g.a.from(rows, 0), g.c[g.cIndex(rows, 0):]
			g.low.rows(rows)
		}
	}
}

// runRows computes the product with as many rows as fit.
func (g *gemm) runRows() {
	t := &g.tiling
	t.shape = tileShape()
	t.height, t.panels = t.balance(g.m)
	t.blocks = ceilDiv(g.k, t.block)
	t.panelLen, t.stepB = t.panelSizes(min(g.k, t.block))
	t.unit = t.nr
	if g.w != nil && !g.wTrans {
		t.unit = tileCols
	}
	t.units = ceilDiv(g.n, t.unit)
	t.divide(g.packingCost())
	work := g.m * g.n * g.k
	grow(&g.packed, t.panels*t.blocks*t.panelLen)
	if g.low.rank > 0 {
		g.packDown()
	}
	share(work, t.panels, g.packTask)
	share(work, t.rows*t.cols, g.tileTask)
}

// balance divides m rows into as few panels as there must be, all of one height but the last.
func (s shape) balance(m int) (height, panels int) {
	height = s.roundUp(ceilDiv(m, ceilDiv(m, s.mr)))
	return height, ceilDiv(m, height)
}

// roundUp is the height of the register tile for so many rows.
func (s shape) roundUp(rows int) int { return ceilDiv(rows, s.step) * s.step }

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// packingCost is what it takes to bring one panel of B into place, in register tiles that could be
// multiplied meanwhile.
func (g *gemm) packingCost() float64 {
	switch {
	case g.w != nil:
		return 2
	case g.direct():
		return 0
	}
	return 0.5
}

// divide chooses the width and height of tasks so that the last thread to finish finishes soonest.
func (t *tiling) divide(packingCost float64) {
	const taskCost = 0.5 // of a task itself, in register tiles
	threads := Threads()
	best := 0.0
	for rows := 1; rows <= t.panels && rows < 2*threads || rows == 1; rows *= 2 {
		tall := ceilDiv(t.panels, rows)
		for wide := 1; wide <= max(1, maxPanels*t.nr/t.unit); wide++ {
			tasks := ceilDiv(t.units, wide) * ceilDiv(t.panels, tall)
			cost := float64(ceilDiv(tasks, threads)) * (float64(wide*t.unit/t.nr)*(float64(tall)+packingCost) + taskCost)
			if best == 0 || cost < best {
				best, t.wide, t.tall = cost, wide, tall
			}
		}
	}
	t.cols, t.rows = ceilDiv(t.units, t.wide), ceilDiv(t.panels, t.tall)
}

// packPanels packs panel number i of A for all blocks of k, times alpha.
func (g *gemm) packPanels(i int) {
	t := &g.tiling
	i0 := i * t.height
	rows := min(t.height, g.m-i0)
	for b := range t.blocks {
		k0 := b * t.block
		g.packA(g.panel(b, i), g.a.from(i0, k0), min(t.block, g.k-k0), rows)
	}
	if g.low.rank > 0 {
		g.project(i, i0, rows)
	}
}

// panel is packed panel number i of A, for block number b of k.
func (g *gemm) panel(b, i int) []float32 {
	t := &g.tiling
	at := (b*t.panels + i) * t.panelLen
	return g.packed[at : at+t.panelLen]
}

// tilePanels computes a task's part of C.
func (g *gemm) tilePanels(i int) {
	t := &g.tiling
	s := scratches.get()
	defer scratches.put(s)
	p0 := i / t.cols * t.tall
	p1 := min(t.panels, p0+t.tall)
	n0 := i % t.cols * t.wide * t.unit
	n1 := min(g.n, n0+t.wide*t.unit)
	grow(&s.edge, maxMR*maxNR)
	up := g.bringUp(s, n0, n1)
	for b := range t.blocks {
		k0, k1 := b*t.block, min(g.k, (b+1)*t.block)
		x := g.bring(s, k0, k1, n0, n1)
		for p := p0; p < p1; p++ {
			a := g.panel(b, p)
			for n := n0; n < n1; n += t.nr {
				g.tile(s, p, n, t.words(k1-k0), a, x.at(n-n0), x.ld, b > 0, up.after(b == t.blocks-1, n-n0))
			}
		}
	}
}

// tile multiplies panel number p of A by the panel b of B that begins with column n; k counts words. With the last b
// comes up, the panel of the second factor of a low rank.
func (g *gemm) tile(s *scratch, p, n, k int, a, b []float32, bs int, later bool, up []float32) {
	t := &g.tiling
	i0 := p * t.height
	rows, cols := min(t.height, g.m-i0), min(t.nr, g.n-n)
	height := t.roundUp(rows)
	if g.cTrans || rows < height || cols < t.nr {
		t.multiply(height, k, a, b, bs, s.edge, t.nr, false)
		if up != nil {
			tile(height, g.low.rank, g.up(p), up, t.nr, s.edge, t.nr, true)
		}
		g.storeEdge(s.edge, i0, n, rows, cols, later)
		return
	}
	c := g.c[i0*g.ldc+n:]
	if !later && g.beta != 0 && g.beta != 1 {
		for i := range rows {
			Scale(g.beta, c[i*g.ldc:i*g.ldc+cols])
		}
	}
	t.multiply(rows, k, a, b, bs, c, g.ldc, later || g.beta != 0)
	if up != nil {
		tile(rows, g.low.rank, g.up(p), up, t.nr, c, g.ldc, true)
	}
}

// storeEdge brings a tile into C that does not lie in it as it is.
func (g *gemm) storeEdge(tile []float32, i0, j0, rows, cols int, later bool) {
	beta, nr := g.beta, g.tiling.nr
	if later {
		beta = 1
	}
	if g.cTrans {
		for j := range cols {
			at := g.cIndex(i0, j0+j)
			storeColumn(g.c[at:at+rows], tile[j:], nr, beta)
		}
		return
	}
	for i := range rows {
		at := g.cIndex(i0+i, j0)
		c := g.c[at : at+cols]
		scaleOrClear(beta, c)
		addGeneric(c, tile[i*nr:i*nr+cols])
	}
}

// storeColumn is c[i] = beta*c[i] + tile[i*nr].
func storeColumn(c, tile []float32, nr int, beta float32) {
	for i := range c {
		v := tile[i*nr]
		if beta != 0 {
			v += beta * c[i]
		}
		c[i] = v
	}
}
