package kernels

// How panels are packed: those of A before the tasks begin, those of B by the task that multiplies them.

// panelSizes are the elements of a packed panel of A and of B for this many k, with the scales behind the words.
func (t *tiling) panelSizes(k int) (a, b int) {
	if t.numbers == 1 {
		return k*t.height + packSlack, k * t.nr
	}
	depth := t.padded(k) / t.numbers
	return depth*t.height + packSlack + factorRoom, depth*t.nr + 2*panelLanes
}

// scalesA is where the factors of the rows of a panel of A are, where it has any.
func (t *tiling) scalesA(panel []float32) []float32 {
	if t.numbers != fours.numbers {
		return nil
	}
	return panel[t.panelLen-factorRoom : t.panelLen]
}

// scalesB is where the factors of the columns of a panel of B are, and the start values of its sums.
func (t *tiling) scalesB(panel []float32) (scale []float32, start *[panelLanes]int32) {
	if t.numbers != fours.numbers {
		return nil, nil
	}
	end := panel[t.stepB-2*panelLanes : t.stepB]
	return end[:panelLanes], integers(end[panelLanes:])
}

// multiply computes the product of a panel of A and one of B, k words deep, into rows of C.
func (t *tiling) multiply(s *scratch, rows, k int, a, b []float32, bs int, c []float32, ldc int, add bool) {
	switch {
	case t.tiles:
		t.multiplyTiles(s, 1, k, a, b, c, ldc, add)
	case t.numbers == pairs.numbers:
		tileBF16(rows, k, a, b, c, ldc, add)
	case t.numbers == fours.numbers:
		scale, start := t.scalesB(b)
		tileInt8(rows, k, a, b, c, ldc, add, t.scalesA(a), (*[panelLanes]float32)(scale), start)
	default:
		tile(rows, k, a, b, bs, c, ldc, add)
	}
}

// packA packs n rows of A, which begin with src, for this many k.
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
	if t.numbers == 1 || t.padded(k) != k || g.a.cs != 1 {
		s := scratches.Get()
		defer scratches.Put(s)
		padded := t.padded(k)
		rows := grow(&s.tile, (n+packSlack)*(padded+packSlack))
		if g.a.cs != 1 {
			src = turnRows(rows, src, g.a.cs, k, padded, n)
		} else {
			src = copyRows(rows, src, ld, k, padded, n)
		}
		ld = padded + packSlack
	}
	if t.tiles {
		t.packTileRows(dst, src, ld, t.words(k), n, t.scalesA(dst))
		return
	}
	g.packRows(dst, width, src, ld, k, n, t.scalesA(dst), true)
}

// mostByteColumns is the most columns that packByteColumns packs.
const mostByteColumns = 480

// packByteColumns packs panels p0 to p1-1 of an A that is contiguous in its rows as bytes, block by block of k. The
// largest magnitudes of all of them are found together, because that reads longer pieces of memory.
func (g *gemm) packByteColumns(p0, p1 int) {
	t := &g.tiling
	var magnitudes, scale, inverse [mostByteColumns + 2*rowLanes]float32
	i0 := p0 * t.height
	n := min(p1*t.height, g.m) - i0
	for b := range t.blocks {
		k0 := b * t.block
		k := min(t.block, g.k-k0)
		src, ld := g.a.from(i0, k0), g.a.cs
		wide := round16(n)
		if k%4 != 0 || (k-1)*ld+wide+rowLanes > len(src) {
			for p := p0; p < p1; p++ {
				i := p * t.height
				g.packA(g.panel(p, b), g.a.from(i, k0), k, min(t.height, g.m-i))
			}
			continue
		}
		columnMagnitudes(k, magnitudes[:wide], src, ld)
		byteScales(scale[:wide], inverse[:wide], magnitudes[:wide])
		for p := p0; p < p1; p++ {
			at, dst := (p-p0)*t.height, g.panel(p, b)
			copy(t.scalesA(dst)[:rowLanes], scale[at:])
			interleaveUint8(k/4, dst, t.roundUp(min(t.height, n-at)), src[at:], ld, inverse[at:])
		}
	}
}

// copyRows copies n rows of k numbers with zeros behind, padded in all, and packSlack of any value between them.
func copyRows(dst, src []float32, ld, k, padded, n int) []float32 {
	for i := range n {
		row := dst[i*(padded+packSlack):]
		copy(row[:k], src[i*ld:i*ld+k])
		clear(row[k:padded])
	}
	return dst
}

// turnRows is copyRows of n columns of k numbers, which are ld apart. dst has room for packSlack more of them.
func turnRows(dst, src []float32, ld, k, padded, n int) []float32 {
	wide := n
	if round := (n + 15) &^ 15; (k-1)*ld+round <= len(src) { // whole vectors: columns beyond n are not used
		wide = round
	}
	packTransposed(dst, padded+packSlack, src, ld, wide, k)
	for i := range n {
		row := dst[i*(padded+packSlack):]
		clear(row[k:padded])
	}
	return dst
}

// packRows packs n rows that are contiguous in k and padded in the product's precision. For bytes, the factors of the
// rows are stored as scale. Rows of rounded floats are rounded where they are.
func (g *gemm) packRows(dst []float32, width int, src []float32, ld, k, n int, scale []float32, unsigned bool) {
	f := g.tiling.form
	words := f.padded(k) / f.numbers
	switch {
	case f.numbers == pairs.numbers:
		for r := (n - 1) / rowLanes * rowLanes; r >= 0; r -= rowLanes {
			transposeBF16(words, dst[r*wordsTogether:], width, src[r*ld:], ld, n-r)
		}
		return
	case f.numbers == fours.numbers:
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
		transposeBytes(words, dst[r*wordsTogether:], width, src[r*ld:], ld, n-r, &inverse, unsigned)
	}
}

// panelsB are panels of B side by side: panel number j begins at data[j*step].
type panelsB struct {
	data     []float32
	step, nr int
}

// at is the panel that begins with column n.
func (x panelsB) at(n int) []float32 { return x.data[n/x.nr*x.step:] }

// direct says whether B is read in place: its rows are contiguous and used by few panels only.
func (g *gemm) direct() bool {
	return g.w == nil && g.b.cs == 1 && g.tiling.panels <= 2 && g.n%g.tiling.nr == 0
}

// packPart packs part number i of the slice with that number.
func (g *gemm) packPart(number, i int) {
	t := &g.tiling
	first, width, b0, b1 := g.sliceAt(number)
	parts := g.parts(b0, b1)
	n0 := i / parts * t.unit
	n1 := min(n0+t.unit, width)
	s := scratches.Get()
	defer scratches.Put(s)
	if g.w != nil && !g.wTrans {
		k0 := b0*t.block + i%parts*t.partLen
		g.packRowsB(s, number, n0, n1, k0, min(g.k, b1*t.block, k0+t.partLen))
		return
	}
	for b := b0; b < b1; b++ {
		panel, _ := g.panelB(number, n0/t.nr, b)
		g.packB(s, panel, b*t.block, min(g.k, (b+1)*t.block), first+n0, first+n1)
	}
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
		g.w.Tile(tile, tileLD, n0, n1, g.skip+k, g.skip+k+depth)
		for padded, i := t.padded(depth), 0; padded > depth && i < n1-n0; i++ {
			clear(tile[i*tileLD+depth : i*tileLD+padded])
		}
		g.packRows(dst[(k-k0)/t.numbers*t.nr:], t.nr, tile, tileLD, depth, n1-n0, scale, false)
	}
	if t.numbers == fours.numbers && !t.tiles {
		columnSums(t.words(k1-k0), start, dst)
	}
}

// packRowsB packs the rows k0 to k1-1 of B = W into panels, the columns n0 to n1-1 of the slice with that number; or
// dequantizes them to where they are multiplied.
func (g *gemm) packRowsB(s *scratch, number, n0, n1, k0, k1 int) {
	t := &g.tiling
	first, _, _, _ := g.sliceAt(number)
	if t.flat {
		rows, _ := g.panelB(number, n0/t.nr, k0/t.block)
		g.w.Tile(rows[k0%t.block*tileLD:], tileLD, g.skip+k0, g.skip+k1, first+n0, first+n1)
		return
	}
	depth := k1 - k0
	padded := t.words(depth) * t.numbers
	tile, ld := g.inPlace(g.skip+k0, first+n0, padded, depth, n1-n0)
	if tile == nil {
		tile, ld = grow(&s.tile, padded*tileLD), tileLD
		g.w.Tile(tile, tileLD, g.skip+k0, g.skip+k1, first+n0, first+n1)
		clear(tile[depth*tileLD:])
	}
	var magnitudes [tileCols + panelLanes]float32
	if t.numbers == fours.numbers {
		columnMagnitudes(padded, magnitudes[:ceilDiv(n1-n0, panelLanes)*panelLanes], tile, ld)
	}
	for n := n0; n < n1; n += t.nr {
		panel, _ := g.panelB(number, n/t.nr, k0/t.block)
		g.packColumns(panel, k0%t.block/t.numbers, tile[n-n0:], ld, padded, min(n1-n, t.nr), magnitudes[n-n0:])
	}
}

// inPlace is where rows of B from row k and column n on can be packed from as they lie: B is a plain matrix, and whole
// panels of it are packed without being written to. Elsewhere it is nil.
func (g *gemm) inPlace(k, n, padded, depth, cols int) (rows []float32, ld int) {
	t := &g.tiling
	d, ok := dense(g.w)
	if !ok || t.numbers == 1 || padded != depth || cols%t.nr != 0 {
		return nil, 0
	}
	return d.Data[k*d.Cols+n:], d.Cols
}

// packColumns packs k rows of n columns from word number first of a panel on. For bytes it gets the magnitudes of the
// columns.
func (g *gemm) packColumns(panel []float32, first int, src []float32, ld, k, n int, magnitudes []float32) {
	t := &g.tiling
	dst := panel[first*t.nr:]
	switch t.numbers {
	case pairs.numbers:
		interleaveBF16(k/2, dst, src, ld)
	case fours.numbers:
		var inverse [panelLanes]float32
		scale, start := t.scalesB(panel)
		byteScales(scale, inverse[:], magnitudes[:panelLanes])
		interleaveInt8(k/4, dst, src, ld, &inverse)
		if !t.tiles {
			columnSums(k/4, start, panel)
		}
	default:
		g.precision.roundColumns(src, ld, k, n)
		copyPanel(k, dst, src, ld)
	}
}
