package kernels

// How panels are packed: those of A before the tasks begin, those of B by the task that multiplies them.

// panelSizes are the elements of a packed panel of A and of B of so many k, with the scales behind the words.
func (t *tiling) panelSizes(k int) (a, b int) {
	if t.form == floats {
		return k*t.height + packSlack, k * t.nr
	}
	depth := t.padded(k) / t.numbers
	return depth*t.height + packSlack + rowLanes, depth*t.nr + 2*panelLanes
}

// scalesA is where the factors of the rows of a panel of A are, where it has any.
func (t *tiling) scalesA(panel []float32) []float32 {
	if t.form != fours {
		return nil
	}
	return panel[t.panelLen-rowLanes : t.panelLen]
}

// scalesB is where the factors of the columns of a panel of B are, and what their sums begin with.
func (t *tiling) scalesB(panel []float32) (scale []float32, start *[panelLanes]int32) {
	if t.form != fours {
		return nil, nil
	}
	end := panel[t.stepB-2*panelLanes : t.stepB]
	return end[:panelLanes], integers(end[panelLanes:])
}

// multiply brings the product of a panel of A and one of B, k words deep, into rows of C.
func (t *tiling) multiply(rows, k int, a, b []float32, bs int, c []float32, ldc int, add bool) {
	switch t.form {
	case pairs:
		tileBF16(rows, k, a, b, c, ldc, add)
	case fours:
		scale, start := t.scalesB(b)
		tileInt8(rows, k, a, b, c, ldc, add, t.scalesA(a), (*[panelLanes]float32)(scale), start)
	default:
		tile(rows, k, a, b, bs, c, ldc, add)
	}
}

// packA packs n rows of A, which begin with src, of so many k.
func (g *gemm) packA(dst, src []float32, k, n int) {
	t := &g.tiling
	width := t.roundUp(n)
	if g.precision == F32 {
		pack(dst, width, src, g.a.cs, g.a.rs, k, n)
		if g.alpha != 1 {
			Scale(g.alpha, dst[:k*width])
		}
		return
	}
	ld := g.a.rs
	if t.form == floats || t.padded(k) != k {
		s := scratches.get()
		defer scratches.put(s)
		src, ld = copyRows(grow(&s.tile, n*(t.padded(k)+16)), src, ld, k, t.padded(k), n), t.padded(k)+16
	}
	g.packRows(dst, width, src, ld, k, n, t.scalesA(dst), true)
}

// copyRows copies n rows of k numbers with zeros behind, padded in all, and 16 of any value between them.
func copyRows(dst, src []float32, ld, k, padded, n int) []float32 {
	for i := range n {
		row := dst[i*(padded+16):]
		copy(row[:k], src[i*ld:i*ld+k])
		clear(row[k:padded])
	}
	return dst
}

// packRows packs n rows that are contiguous in k and padded in the product's precision. For bytes, the factors of the rows
// are stored as scale. Rows of rounded floats are rounded where they are.
func (g *gemm) packRows(dst []float32, width int, src []float32, ld, k, n int, scale []float32, unsigned bool) {
	f := g.tiling.form
	words := f.padded(k) / f.numbers
	switch {
	case f == pairs:
		for r := (n - 1) / rowLanes * rowLanes; r >= 0; r -= rowLanes {
			transposeBF16(words, dst[r:], width, src[r*ld:], ld, n-r)
		}
		return
	case f == fours:
		packBytes(dst, width, src, ld, words, n, scale, unsigned)
		return
	case g.precision != F32:
		for i := range n {
			g.precision.round(src[i*ld : i*ld+k])
		}
	}
	packTransposed(dst, width, src, ld, k, n)
}

// packBytes packs n rows as bytes and stores their factors.
func packBytes(dst []float32, width int, src []float32, ld, words, n int, scale []float32, unsigned bool) {
	var magnitude, inverse [rowLanes]float32
	for r := (n - 1) / rowLanes * rowLanes; r >= 0; r -= rowLanes {
		rowMagnitudes(4*words, &magnitude, src[r*ld:], ld, n-r)
		byteScales(scale[r:], inverse[:], magnitude[:])
		transposeBytes(words, dst[r:], width, src[r*ld:], ld, n-r, &inverse, unsigned)
	}
}

// panelsB are panels of B side by side: panel number j begins at data[j*step], with rows ld apart.
type panelsB struct {
	data     []float32
	ld, step int
	nr       int
}

// at is the panel that begins with column n.
func (x panelsB) at(n int) []float32 { return x.data[n/x.nr*x.step:] }

// after is the panel that begins with column n if it is time for it and there is one.
func (x panelsB) after(time bool, n int) []float32 {
	if !time || x.data == nil {
		return nil
	}
	return x.at(n)
}

// direct says whether B can be read where it lies: its rows are contiguous and used by one panel only.
func (g *gemm) direct() bool {
	return g.w == nil && g.b.cs == 1 && g.tiling.panels == 1
}

// bring makes panels of B's rows k0 to k1 and columns n0 to n1.
func (g *gemm) bring(s *scratch, k0, k1, n0, n1 int) panelsB {
	nr, step := g.tiling.nr, g.tiling.stepB
	if g.direct() && (n1-n0)%nr == 0 {
		return panelsB{g.b.from(k0, n0), g.b.rs, nr, nr}
	}
	x := panelsB{grow(&s.b, ceilDiv(n1-n0, nr)*step+packSlack), nr, step, nr}
	if g.w != nil && !g.wTrans {
		return g.bringColumns(s, x, k0, k1, n0, n1)
	}
	for n := n0; n < n1; n += nr {
		g.packB(s, x.at(n-n0), k0, k1, n, min(n1, n+nr))
	}
	return x
}

// packB packs one panel of B that is contiguous in k.
func (g *gemm) packB(s *scratch, dst []float32, k0, k1, n0, n1 int) {
	t := &g.tiling
	if g.w == nil {
		pack(dst, t.nr, g.b.from(k0, n0), g.b.rs, g.b.cs, k1-k0, n1-n0)
		return
	}
	tile := grow(&s.tile, (n1-n0)*tileLD)
	scale, start := t.scalesB(dst)
	for k := k0; k < k1; k += tileCols {
		depth := min(k1-k, tileCols)
		g.w.Tile(tile, tileLD, n0, n1, k, k+depth)
		for padded, i := t.padded(depth), 0; padded > depth && i < n1-n0; i++ {
			clear(tile[i*tileLD+depth : i*tileLD+padded])
		}
		g.packRows(dst[(k-k0)/t.numbers*t.nr:], t.nr, tile, tileLD, depth, n1-n0, scale, false)
	}
	if t.form == fours {
		columnSums(t.words(k1-k0), start, dst)
	}
}

const (
	columnRows = 64 // rows of weights that are unpacked at a time
	fewPanels  = 4  // panels of A for which it does not pay to pack B
)

// bringColumns makes panels of B = W, some rows after the others.
func (g *gemm) bringColumns(s *scratch, x panelsB, k0, k1, n0, n1 int) panelsB {
	t := &g.tiling
	ld, rows := ceilDiv(n1-n0, tileCols)*tileCols+16, columnRows
	if g.precision == F32 && t.tall < fewPanels || g.precision == Int8 {
		rows = t.block
	}
	for k := k0; k < k1; k += rows {
		depth := min(k1-k, rows)
		padded := t.words(depth) * t.numbers
		tile := grow(&s.tile, padded*ld)
		g.w.Tile(tile, ld, k, k+depth, n0, n1)
		if g.precision == F32 && t.tall < fewPanels {
			return panelsB{tile, ld, t.nr, t.nr}
		}
		clear(tile[depth*ld:])
		for n := n0; n < n1; n += t.nr {
			g.packColumns(x.at(n-n0), (k-k0)/t.numbers, tile[n-n0:], ld, padded, min(n1-n, t.nr))
		}
	}
	return x
}

// packColumns packs k rows of n columns from word number first of a panel on.
func (g *gemm) packColumns(panel []float32, first int, src []float32, ld, k, n int) {
	t := &g.tiling
	dst := panel[first*t.nr:]
	switch t.form {
	case pairs:
		interleaveBF16(k/2, dst, src, ld)
	case fours:
		var magnitude, inverse [panelLanes]float32
		scale, start := t.scalesB(panel)
		columnMagnitudes(k, &magnitude, src, ld)
		byteScales(scale, inverse[:], magnitude[:])
		interleaveInt8(k/4, dst, src, ld, &inverse)
		columnSums(k/4, start, panel)
	default:
		g.precision.roundColumns(src, ld, k, n)
		copyPanel(k, dst, src, ld)
	}
}
