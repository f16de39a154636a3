package kernels

// Attention with operands rounded to bfloat16: words hold pairs of neighbours along the sum, as in panels of products
// with weights. Only register tiles of panelLanes columns have them, and only words that lie one by one are packed
// here. Scores, probabilities and all sums are float32.

// pairUnit is what pairs along a sum are packed in multiples of.
const pairUnit = 2 * rowLanes

// pairsPay says whether vectors of bfloat16 are multiplied faster than those of float32; tests change it. On processors
// with tiles they are not, and the products of attention are not those of tiles.
var pairsPay = func() bool { return AutoPrecision() == BF16 && !hasTiles() }

// Rounded is the precision to which the operands of the products are rounded on this machine: BF16 or F32.
func (s *AttentionShape) Rounded() Precision {
	if s.Precision != F32 && wordsTogether == 1 && tileShape().nr == panelLanes && s.Dim%pairUnit == 0 &&
		s.valueDim()%pairUnit == 0 && HasBF16() && pairsPay() {
		return BF16
	}
	return F32
}

// twoOf is the pair of two bfloat16 whose sum is nearly x.
func twoOf(x float32) float32 {
	high := bfloat16(uint32(toBF16(x)))
	return pairOf(x-high, high)
}

// packColumnPairs is packColumns of a panel that has keys.
func (a *attention) packColumnPairs(dst, x []float32, p keyPanel, dim int) {
	ld := a.Keys * dim
	src := x[(p.row*a.Keys+p.head)*dim:]
	for r := (p.n - 1) / rowLanes * rowLanes; r >= 0; r -= rowLanes {
		transposeBF16(dim/2, dst[r:], a.nr, src[r*ld:], ld, p.n-r)
	}
}

// rowPairsAt is a panel of byRow of all padded keys from number key on, as pairs.
func (a *attention) rowPairsAt(head, dim, key int) []float32 {
	return a.byRow[((head*a.dims+dim)*a.panels*a.nr+key)/2*a.nr:]
}

// packRowPairs is packRows.
func (a *attention) packRowPairs(x []float32, p keyPanel) {
	var padded [panelLanes * panelLanes]float32
	for d := range a.dims {
		dst := a.rowPairsAt(p.head, d, p.number*a.nr)
		at, ld := (p.row*a.Keys+p.head)*a.across+d*a.nr, a.Keys*a.across
		if p.n == a.nr {
			interleaveBF16(a.nr/2, dst, x[at:], ld)
			continue
		}
		clear(padded[:])
		for j := range p.n {
			copy(padded[j*a.nr:(j+1)*a.nr], x[at+j*ld:])
		}
		interleaveBF16(a.nr/2, dst, padded[:], a.nr)
	}
}

// packQueryPairs is packQueries.
func (a *attention) packQueryPairs(w *attentionScratch, dst *[]float32, x []float32, b *queryBlock, dim, depth int,
	scale float32) {
	size := a.panelLen(depth)
	grow(dst, ceilDiv(b.rows, a.mr)*size)
	plain := grow(&w.plain, b.rows*dim)
	for r := range b.rows {
		copy(plain[r*dim:], a.row(x, b.from+r, b.head, dim))
	}
	if scale != 1 {
		Scale(scale, plain)
	}
	for p := range ceilDiv(b.rows, a.mr) {
		n, height := a.panelRows(p, b.rows)
		transposeBF16(dim/2, (*dst)[p*size:][:size], height, plain[p*a.mr*dim:], dim, n)
	}
}

// packElementPairs is packElements; queries are padded with zeros.
func (a *attention) packElementPairs(w *attentionScratch, dst *[]float32, x []float32, b *queryBlock, dim int,
	scale float32) {
	size := a.panelLen(a.height)
	grow(dst, ceilDiv(dim, a.mr)*size)
	padded := ceilDiv(b.rows, pairUnit) * pairUnit
	ld := padded + rowLanes
	plain := grow(&w.plain, dim*ld+packSlack)
	packTransposed(plain, ld, x[(b.from*a.Queries+b.head)*dim:], a.Queries*dim, dim, b.rows)
	for e := range dim {
		clear(plain[e*ld+b.rows : e*ld+padded])
	}
	if scale != 1 {
		Scale(scale, plain[:dim*ld])
	}
	for e := range ceilDiv(dim, a.mr) {
		n, height := a.panelRows(e, dim)
		transposeBF16(padded/2, (*dst)[e*size:][:size], height, plain[e*a.mr*ld:], ld, n)
	}
}

// addRowPairs is addRows of panel p of the block, for keys from to to-1 of those from number j on.
func (a *attention) addRowPairs(w *attentionScratch, scores []float32, b *queryBlock, p, j, from, to int) {
	ld := a.dims * a.nr
	rows, height := a.panelRows(p, b.rows)
	words := ceilDiv(to-from, pairUnit) * rowLanes
	transposeBF16(words, w.packed, height, scores[p*a.mr*scoreLD+from:], scoreLD, rows)
	for d := range a.dims {
		keys := a.rowPairsAt(b.keyHead, d, b.padded+j+from)
		tileBF16(height, words, w.packed, keys, w.sum[p*a.mr*ld+d*a.nr:], ld, true)
	}
}

// addColumnPairs is addColumns of one panel of keys, for pairs from to end-1 of queries. Those of a pair are in one
// panel of queries, so that where one has scores here those of the other are cleared.
func (a *attention) addColumnPairs(w *attentionScratch, gradient, elements, scores []float32, from, end, dim, ld int) {
	size, words := a.panelLen(a.height), end-from
	columns := grow(&w.columns, words*a.nr)
	interleaveBF16(words, columns, scores[2*from*scoreLD:], scoreLD)
	for e := range ceilDiv(dim, a.mr) {
		_, height := a.panelRows(e, dim)
		tileBF16(height, words, elements[e*size+from*height:], columns, gradient[e*a.mr*ld:], ld, true)
	}
}
