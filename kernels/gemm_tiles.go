package kernels

import "sync/atomic"

// The product by outer-product tiles, after BLIS. A is packed into panels as high as the register tile, B into panels
// of columns, both cut into blocks of k. B is packed slice by slice. A slice is some blocks of k of as many columns as
// keep its panels in the last-level cache. The first slice is packed together with A, each further one together with
// the tiles of the slice before it.
//
// The tiles of a slice are divided into as many areas as there are threads, or a few more. A thread goes through its
// area panel of B by panel of B, so that the panels of A stay in its L2 cache. Then it helps with the other areas. So
// a thread that other programs delay holds up nobody longer than a few tiles take.
//
// Where A has few panels, packing B takes much of the time. Then a thread packs a panel of a transposed matrix of
// weights right before it multiplies it, while it is in its cache; and the rows of one that is not transposed are
// multiplied as they were dequantized.

const (
	tileLD     = tileCols + 16
	columnRows = 64 // rows of weights that are dequantized at a time where they are rows of B too

	leastTiles = 8  // the fewest register tiles that a thread takes at a time, about
	leastTall  = 6  // the fewest panels of A in an area, about
	mostTall   = 12 // the most
)

// Variables, so that tests can change them.
var (
	// maxPacked is the number of elements of A up to which it is packed whole. A larger one is multiplied in parts of
	// its rows.
	maxPacked = 8 << 20
	// maxSlice is the number of elements of a packed slice of B.
	maxSlice = 2 << 20
	// maxDepth is about the k up to which there is one pass over C.
	maxDepth = 8 << 10
	// fewPanels is the number of panels of A up to which weights are not packed ahead, and rows of them not at all:
	// it would take longer than it saves.
	fewPanels = 8
)

// alonePerThread is the least number of panels of B for each thread where they are not packed ahead. All ways of
// packing lead to the same sums, so the way may depend on the number of threads.
const alonePerThread = 4

// tiling is how a product is cut into tasks.
type tiling struct {
	shape
	form
	height   int  // rows of a panel of A, but for the last
	panels   int  // of A
	packed   int  // panels of A that a task packs
	blocks   int  // of k
	panelLen int  // elements of a packed panel of A, of one block
	stepB    int  // of a panel of B
	deep     int  // blocks of a slice
	unit     int  // columns that are packed together
	partLen  int  // and the k of them
	slice    int  // columns of a slice
	slices   int  // side by side; times the slices one above the other, all slices
	rows     int  // areas one above the other
	cols     int  // areas side by side
	wide     int  // panels of B that a thread takes at a time
	flat     bool // B is not in panels: it is rows of unit columns, tileLD apart
	alone    bool // a panel of B is packed by the thread that multiplies it, just before: there are no slices
}

// runTiles computes the product in pieces of k and of rows.
func (g *gemm) runTiles() {
	whole := g.product
	depth := ceilDiv(ceilDiv(g.k, ceilDiv(g.k, maxDepth)), tileCols) * tileCols
	if g.low.rank > 0 {
		depth = g.k
	}
	rows := max(maxPacked/min(depth, g.k), tileShape().mr)
	for i := 0; i < whole.m; i += rows {
		for k := 0; k < whole.k; k += depth {
			g.m, g.k, g.skip = min(rows, whole.m-i), min(depth, whole.k-k), k
			g.a.data, g.c = whole.a.from(i, k), whole.c[whole.cIndex(i, 0):]
			if g.w == nil {
				g.b.data = whole.b.from(k, 0)
			}
			if g.beta = whole.beta; k > 0 {
				g.beta = 1
			}
			g.runRows()
		}
		if i+rows < whole.m {
			g.low.rows(rows)
		}
	}
}

// floatBlock is the length of blocks of k for panels of float32. C is read and written once per block, which favours
// long blocks, but the panels must stay in the caches.
func floatBlock(k int) int {
	const longest = 768
	return max(ceilDiv(ceilDiv(k, ceilDiv(k, longest)), tileCols), 1) * tileCols
}

// runRows computes the product with as many rows and as much of k as fit.
func (g *gemm) runRows() {
	t := &g.tiling
	t.form = formOf(g.precision)
	t.shape = t.form.tileShape()
	if t.numbers == 1 && g.precision != Int8 {
		t.block = floatBlock(g.k)
	}
	t.blocks = ceilDiv(g.k, t.block)
	t.height, t.panels = t.balance(g.m)
	t.packed = 1
	if t.numbers == fours.numbers && !t.tiles && g.a.cs != 1 && g.low.rank == 0 && hasByteColumns() {
		t.packed = max(min(mostByteColumns/t.height, ceilDiv(t.panels, 2*Threads())), 2)
	}
	t.panelLen, t.stepB = t.panelSizes(min(g.k, t.block))
	g.cutB()
	g.divide()
	grow(&g.packed, t.panels*t.blocks*t.panelLen)
	if g.low.rank > 0 {
		g.packDown()
		g.makeUps()
	}
	work := g.m * g.n * g.k
	share(work, g.panelTasks()+g.packTasks(0)+g.upTasks(), g.packTask)
	if t.alone {
		share(work, ceilDiv(g.n, t.nr), g.aloneTask)
		return
	}
	for g.number = range t.slices * ceilDiv(t.blocks, t.deep) {
		for i := range g.taken {
			g.taken[i].Store(0)
		}
		share(work, g.packTasks(g.number+1)+Threads(), g.tileTask)
	}
}

// balance divides m rows into as few panels as there must be, all of one height but the last.
func (s shape) balance(m int) (height, panels int) {
	height = s.roundUp(ceilDiv(m, ceilDiv(m, s.mr)))
	return height, ceilDiv(m, height)
}

// roundUp is the height of the register tile for this many rows.
func (s shape) roundUp(rows int) int { return ceilDiv(rows, s.step) * s.step }

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// cutB cuts B into slices, and these into what is packed at a time.
func (g *gemm) cutB() {
	t := &g.tiling
	t.flat = false
	t.deep = min(t.blocks, max(sliceDepth*t.numbers/t.block, 1))
	t.unit, t.partLen = t.nr, t.deep*t.block
	if g.w != nil && !g.wTrans {
		t.unit, t.partLen = tileCols, columnRows
		if g.precision == Int8 {
			t.partLen = t.block
		}
		t.flat = t.panels <= fewPanels && g.precision == F32
	}
	t.alone = g.w != nil && g.wTrans && t.panels <= fewPanels && g.n >= alonePerThread*t.nr*Threads()
	if t.alone {
		return
	}
	t.slice = max(maxSlice/(t.deep*t.stepB)*t.nr/t.unit, 1) * t.unit
	if g.direct() {
		t.slice = g.n
	}
	t.slices = ceilDiv(g.n, t.slice)
	t.slice = ceilDiv(ceilDiv(g.n, t.slices), t.unit) * t.unit
	t.slices = ceilDiv(g.n, t.slice)
	if !g.direct() {
		for i := range g.right {
			grow(&g.right[i], t.deep*t.blockB()+packSlack)
		}
	}
}

// blockB is the elements of a block of k of a slice of B.
func (t *tiling) blockB() int {
	if t.flat {
		return t.slice / t.unit * t.block * tileLD
	}
	return t.slice / t.nr * t.stepB
}

// sliceDepth is about the words along k of a slice: at this depth the panels of A of an area stay in the L2 cache.
const sliceDepth = 768

// divide cuts slices into areas.
func (g *gemm) divide() {
	t := &g.tiling
	t.rows = max(min(t.panels/leastTall, Threads()), ceilDiv(t.panels, mostTall))
	t.cols = ceilDiv(Threads(), t.rows)
	t.wide = max(leastTiles*t.rows/t.panels, 1)
	for len(g.taken) < t.rows*t.cols {
		g.taken = append(g.taken, counter{})
	}
}

// sliceAt is where slice number i is: its first column and their number, its first block of k and the one after its
// last. Beyond the last slice there are no columns.
func (g *gemm) sliceAt(i int) (n0, width, b0, b1 int) {
	t := &g.tiling
	above := ceilDiv(t.blocks, t.deep)
	n0, b0 = i/above*t.slice, i%above*t.deep
	return n0, max(min(t.slice, g.n-n0), 0), b0, min(b0+t.deep, t.blocks)
}

// packTasks is the number of tasks that pack slice number i.
func (g *gemm) packTasks(i int) int {
	if g.direct() || g.tiling.alone {
		return 0
	}
	_, width, b0, b1 := g.sliceAt(i)
	return ceilDiv(width, g.tiling.unit) * g.parts(b0, b1)
}

// parts is what packing some blocks of k is divided into.
func (g *gemm) parts(b0, b1 int) int {
	t := &g.tiling
	return ceilDiv(min(g.k, b1*t.block)-b0*t.block, t.partLen)
}

// packFirst packs a panel of A, or a part of the first slice of B, or of the second factor of a low rank.
func (g *gemm) packFirst(i int) {
	t := &g.tiling
	if i < g.panelTasks() {
		if t.packed == 1 {
			g.packPanel(i)
		} else {
			g.packByteColumns(i*t.packed, min((i+1)*t.packed, t.panels))
		}
		return
	}
	if i -= g.panelTasks(); i < g.packTasks(0) {
		g.packPart(0, i)
		return
	}
	g.packUp(i - g.packTasks(0))
}

// panelTasks is the number of tasks that pack A.
func (g *gemm) panelTasks() int { return ceilDiv(g.tiling.panels, g.tiling.packed) }

// tileOrPack packs a part of the next slice (these tasks come first), or multiplies panels of this one.
func (g *gemm) tileOrPack(i int) {
	if packing := g.packTasks(g.number + 1); i < packing {
		g.packPart(g.number+1, i)
	} else {
		g.tileAreas(i - packing)
	}
}

// packPanel packs panel number i of A for all blocks of k, times alpha.
func (g *gemm) packPanel(i int) {
	t := &g.tiling
	i0 := i * t.height
	rows := min(t.height, g.m-i0)
	for b := range t.blocks {
		k0 := b * t.block
		g.packA(g.panel(i, b), g.a.from(i0, k0), min(t.block, g.k-k0), rows)
	}
	if g.low.rank > 0 {
		g.project(i, i0, rows)
	}
}

// panel is packed panel number i of A, block number b of k.
func (g *gemm) panel(i, b int) []float32 {
	t := &g.tiling
	at := (b*t.panels + i) * t.panelLen
	return g.packed[at : at+t.panelLen]
}

// panelB is panel number j of slice number i, block number b of k, and how far apart its rows are.
func (g *gemm) panelB(i, j, b int) (panel []float32, bs int) {
	t := &g.tiling
	if g.direct() {
		return g.b.from(b*t.block, j*t.nr), g.b.rs
	}
	from := g.right[i%2][b%t.deep*t.blockB():]
	if t.flat {
		n := j * t.nr
		return from[n/t.unit*t.block*tileLD+n%t.unit:], tileLD
	}
	return from[j*t.stepB : (j+1)*t.stepB], t.nr
}

// counter is a counter alone in its cache lines.
type counter struct {
	atomic.Int64
	_ [120]byte
}

// tileAreas computes area after area of the current slice, beginning with that of thread number i.
func (g *gemm) tileAreas(i int) {
	t := &g.tiling
	s := scratches.Get()
	defer scratches.Put(s)
	grow(&s.edge, tileSide*maxNR)
	areas := t.rows * t.cols
	first := i * areas / Threads()
	for j := range areas {
		g.tileArea(s, (first+j)%areas)
	}
}

// tileArea takes panels of B in an area until none is left.
func (g *gemm) tileArea(s *scratch, i int) {
	t := &g.tiling
	_, width, _, _ := g.sliceAt(g.number)
	side, row, col := ceilDiv(width, t.nr), i%t.rows, i/t.rows
	p0, p1 := t.panels*row/t.rows, t.panels*(row+1)/t.rows
	j0, j1 := side*col/t.cols, side*(col+1)/t.cols
	for j := j0; j < j1; {
		j = j0 + int(g.taken[i].Add(int64(t.wide))) - t.wide
		if j < j1 {
			g.tilePanels(s, p0, p1, j, min(j+t.wide, j1))
		}
	}
}

// tilePanels multiplies panels p0 to p1-1 of A by panels j0 to j1-1 of the current slice.
func (g *gemm) tilePanels(s *scratch, p0, p1, j0, j1 int) {
	t := &g.tiling
	n0, _, b0, b1 := g.sliceAt(g.number)
	for b := b0; b < b1; b++ {
		words, last := t.words(min(g.k-b*t.block, t.block)), b == t.blocks-1
		alone := p0
		many := t.tiles || t.numbers == fours.numbers // panels of A at a time
		if many && !g.cTrans && n0+j1*t.nr <= g.n && (b > 0 || g.beta == 0 || g.beta == 1) {
			alone = max(p0, min(p1, g.m/t.height)) // those before have their whole height
			for j := j0; j < j1 && alone > p0; j++ {
				x, _ := g.panelB(g.number, j, b)
				g.wholeTiles(s, p0, alone, b, n0+j*t.nr, words, x, g.upAfter(last, n0+j*t.nr))
			}
		}
		for p := alone; p < p1; p++ {
			a := g.panel(p, b)
			for j := j0; j < j1; j++ {
				x, bs := g.panelB(g.number, j, b)
				n := n0 + j*t.nr
				g.tile(s, p, n, words, a, x, bs, b > 0, g.upAfter(last, n))
			}
		}
	}
}

// wholeTiles multiplies panels p0 to p1-1 of A, block number b of k, by the panel x of B that begins with column n. All
// of it is whole.
func (g *gemm) wholeTiles(s *scratch, p0, p1, b, n, words int, x, up []float32) {
	t := &g.tiling
	a, c := g.packed[(b*t.panels+p0)*t.panelLen:], g.c[p0*t.height*g.ldc+n:]
	if add := b > 0 || g.beta != 0; t.tiles {
		t.multiplyTiles(s, p1-p0, words, a, x, c, g.ldc, add)
	} else {
		scale, start := t.scalesB(x)
		tilesInt8(p1-p0, t.height, words, a, t.panelLen, x, c, g.ldc, add, a[t.panelLen-factorRoom:],
			(*[panelLanes]float32)(scale), start)
	}
	for p := p0; p < p1 && up != nil; p++ {
		g.addUp(p, t.height, up, c[(p-p0)*t.height*g.ldc:], g.ldc, true)
	}
}

// tileAlone packs panel number i of B, block by block of k, and multiplies each block by all panels of A.
func (g *gemm) tileAlone(i int) {
	t := &g.tiling
	s := scratches.Get()
	defer scratches.Put(s)
	grow(&s.edge, tileSide*maxNR)
	panel := grow(&s.b, t.stepB+packSlack)[:t.stepB]
	n := i * t.nr
	for b := range t.blocks {
		k0, k1, last := b*t.block, min(g.k, (b+1)*t.block), b == t.blocks-1
		g.packB(s, panel, k0, k1, n, min(g.n, n+t.nr))
		for p := range t.panels {
			g.tile(s, p, n, t.words(k1-k0), g.panel(p, b), panel, t.nr, b > 0, g.upAfter(last, n))
		}
	}
}

// tile multiplies panel number p of A by the panel b of B that begins with column n; k counts words. up is given with
// the last b: the panel of the second factor of a low rank.
func (g *gemm) tile(s *scratch, p, n, k int, a, b []float32, bs int, later bool, up []float32) {
	t := &g.tiling
	i0 := p * t.height
	rows, cols := min(t.height, g.m-i0), min(t.nr, g.n-n)
	height := t.roundUp(rows)
	if g.cTrans || rows < height || cols < t.nr {
		t.multiply(s, height, k, a, b, bs, s.edge, t.nr, false)
		apart := t.numbers == fours.numbers // so that no sum depends on where tiles end
		if up != nil && !apart {
			g.addUp(p, rows, up, s.edge, t.nr, true)
		}
		g.storeEdge(s.edge, i0, n, rows, cols, later)
		if up != nil && apart {
			g.addUp(p, rows, up, s.edge, t.nr, false)
			g.storeEdge(s.edge, i0, n, rows, cols, true)
		}
		return
	}
	c := g.c[i0*g.ldc+n:]
	if !later && g.beta != 0 && g.beta != 1 {
		for i := range rows {
			Scale(g.beta, c[i*g.ldc:i*g.ldc+cols])
		}
	}
	t.multiply(s, rows, k, a, b, bs, c, g.ldc, later || g.beta != 0)
	if up != nil {
		g.addUp(p, rows, up, c, g.ldc, true)
	}
}

// storeEdge stores a tile that is not whole in C.
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
