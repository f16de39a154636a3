package kernels

// Attention works block by block (Dao et al. 2022, "FlashAttention"): some queries of a head against some keys at a
// time, so scores exist for one block only. Keys and values are packed once for all queries. Blocks of keys that no
// query of a block sees are skipped. The register tiles are those of the matrix product.

// AttentionShape describes the rows of queries, keys and values.
type AttentionShape struct {
	Bounds  []int32 // sequence s is rows Bounds[s] to Bounds[s+1]-1
	Queries int     // heads of queries, a multiple of Keys
	Keys    int     // heads of keys and values: query head h reads number h/(Queries/Keys)
	Dim     int     // values of a head
	Scale   float32 // of the scores
}

// check panics where slices do not fit the shape.
func (s *AttentionShape) check(queries, keys []([]float32)) {
	rows := s.rows()
	if s.Keys <= 0 || s.Queries%s.Keys != 0 {
		panic("kernels: Attention of heads that do not divide")
	}
	for _, x := range queries {
		if x != nil && len(x) < rows*s.Queries*s.Dim {
			panic("kernels: Attention of too few query rows")
		}
	}
	for _, x := range keys {
		if x != nil && len(x) < rows*s.Keys*s.Dim {
			panic("kernels: Attention of too few key rows")
		}
	}
}

// rows is T, the rows of all sequences.
func (s *AttentionShape) rows() int {
	if len(s.Bounds) == 0 {
		return 0
	}
	return int(s.Bounds[len(s.Bounds)-1])
}

// Attention is causal attention inside each sequence, for every head: of row i of q (T, Queries·Dim), with the rows j
// of k and v (T, Keys·Dim) that its sequence has from its start to i,
//
//	p[j] = exp(Scale·dot(q[i], k[j]) - logSum[i])
//	y[i] = sum of p[j]·v[j]
//
// logSum (T, Queries) is such that the p[j] add up to 1.
func Attention(y, logSum, q, k, v []float32, shape AttentionShape) {
	shape.check([][]float32{y, q}, [][]float32{k, v})
	a := attentions.get()
	a.AttentionShape, a.y, a.logSum, a.q, a.k, a.v = shape, y, logSum, q, k, v
	a.begin()
	Parallel(a.Keys*a.panels, a.packForward)
	Parallel(a.blocks*a.Queries, a.forward)
	a.end()
}

// AttentionBackward adds to dq, dk and dv the gradients of Attention, of which y and logSum are the results and dy is
// the gradient of y. Any of dq, dk and dv may be nil where it is not wanted.
func AttentionBackward(dq, dk, dv, dy, y, logSum, q, k, v []float32, shape AttentionShape) {
	shape.check([][]float32{dq, dy, y, q}, [][]float32{dk, dv, k, v})
	a := attentions.get()
	a.AttentionShape, a.y, a.logSum, a.q, a.k, a.v = shape, y, logSum, q, k, v
	a.dq, a.dk, a.dv, a.dy = dq, dk, dv, dy
	a.begin()
	Parallel(a.Keys*a.panels, a.packBackward)
	if a.Queries > a.Keys {
		grow(&a.partK, a.rows()*a.Queries*a.Dim)
		grow(&a.partV, a.rows()*a.Queries*a.Dim)
	}
	Parallel((len(a.Bounds)-1)*a.Queries, a.backward)
	if a.Queries > a.Keys {
		Parallel(ceilDiv(a.rows(), reduceRows), a.reduce)
	}
	a.end()
}

// attention is one call in progress.
type attention struct {
	AttentionShape
	y, logSum, q, k, v []float32
	dq, dk, dv, dy     []float32
	shape                    // of the register tile
	height             int   // queries of a block
	unit               int   // sequences are padded to a multiple of this many keys
	padded             []int // start of each sequence among the padded keys, and their number
	before             []int // blocks of queries before each sequence, and their number
	panels             int   // of nr padded keys
	blocks             int   // of queries
	dims               int   // panels of nr values of a head

	keysT   []float32 // (Keys, panels, Dim, nr): keys as columns
	valuesT []float32 // (Keys, panels, Dim+1, nr): values as columns, and below them ones
	byRow   []float32 // (Keys, dims, padded keys, nr): values as rows; in the backward pass keys
	partK   []float32 // (T, Queries·Dim): each query head's part of dk, where heads share keys
	partV   []float32

	packForward, forward, packBackward, backward, reduce func(i int) // the methods, bound once
}

var attentions freeList[attention]

const (
	queryRows  = 112      // about the queries of a block: eight register tiles of the widest tier
	keyBlock   = 256      // the keys of a block
	scoreLD    = 256 + 16 // elements from one row of scores to the next
	reduceRows = 32
)

// begin lays everything out.
func (a *attention) begin() {
	if a.forward == nil {
		a.packForward, a.forward = a.packForwardPanel, a.forwardBlock
		a.packBackward, a.backward, a.reduce = a.packBackwardPanel, a.backwardHead, a.reduceHeads
	}
	a.shape = tileShape()
	a.height = max(queryRows/a.mr, 1) * a.mr
	a.unit = max(a.nr, blockLen)
	a.dims = ceilDiv(a.Dim, a.nr)
	a.padded, a.before = append(a.padded[:0], 0), append(a.before[:0], 0)
	a.blocks, a.panels = 0, 0
	for s := range len(a.Bounds) - 1 {
		n := int(a.Bounds[s+1] - a.Bounds[s])
		a.blocks += ceilDiv(n, a.height)
		a.panels += ceilDiv(n, a.unit) * (a.unit / a.nr)
		a.padded, a.before = append(a.padded, a.panels*a.nr), append(a.before, a.blocks)
	}
	grow(&a.keysT, a.Keys*a.panels*a.nr*a.Dim)
	grow(&a.byRow, a.Keys*a.dims*a.panels*a.nr*a.nr)
	if a.dy != nil {
		grow(&a.valuesT, a.Keys*a.panels*a.nr*(a.Dim+1))
	}
}

// end drops the references to the caller's memory.
func (a *attention) end() {
	a.AttentionShape = AttentionShape{}
	a.y, a.logSum, a.q, a.k, a.v, a.dq, a.dk, a.dv, a.dy = nil, nil, nil, nil, nil, nil, nil, nil, nil
	attentions.put(a)
}

// keyPanel is one panel of keys of one head.
type keyPanel struct {
	head, number int
	row, n       int // its first row, and its number of rows; the rest of it is padding
}

// keyPanel is panel number i of all heads.
func (a *attention) keyPanel(i int) keyPanel {
	p := keyPanel{head: i / a.panels, number: i % a.panels}
	s := find(a.padded, p.number*a.nr)
	p.row = int(a.Bounds[s]) + p.number*a.nr - a.padded[s]
	p.n = min(max(int(a.Bounds[s+1])-p.row, 0), a.nr)
	return p
}

// find is the index of the last start that is not above i, among the sequences that are not empty.
func find(starts []int, i int) int {
	low, high := 0, len(starts)-1
	for high-low > 1 {
		if middle := (low + high) / 2; starts[middle] <= i {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}

func (a *attention) packForwardPanel(i int) {
	p := a.keyPanel(i)
	a.packColumns(a.keysT, a.k, p, a.Dim)
	a.packRows(a.v, p)
}

func (a *attention) packBackwardPanel(i int) {
	p := a.keyPanel(i)
	a.packColumns(a.keysT, a.k, p, a.Dim)
	a.packColumns(a.valuesT, a.v, p, a.Dim+1)
	ones := a.columns(a.valuesT, p.head, p.number, a.Dim+1)[a.Dim*a.nr:]
	for i := range ones[:a.nr] {
		ones[i] = 1
	}
	a.packRows(a.k, p)
}

// columns is a panel of keys or values as columns, depth rows of them.
func (a *attention) columns(packed []float32, head, number, depth int) []float32 {
	at := (head*a.panels + number) * depth * a.nr
	return packed[at : at+depth*a.nr]
}

func (a *attention) packColumns(packed, x []float32, p keyPanel, depth int) {
	dst := a.columns(packed, p.head, p.number, depth)
	if p.n < a.nr {
		clear(dst)
	}
	if p.n > 0 {
		packTransposed(dst, a.nr, x[(p.row*a.Keys+p.head)*a.Dim:], a.Keys*a.Dim, a.Dim, p.n)
	}
}

// rowsAt is a panel of values of all padded keys from number key on.
func (a *attention) rowsAt(head, dim, key int) []float32 {
	return a.byRow[((head*a.dims+dim)*a.panels*a.nr+key)*a.nr:]
}

func (a *attention) packRows(x []float32, p keyPanel) {
	for d := range a.dims {
		dst := a.rowsAt(p.head, d, p.number*a.nr)[:a.nr*a.nr]
		from := d * a.nr
		width := min(a.nr, a.Dim-from)
		if p.n < a.nr || width < a.nr {
			clear(dst)
		}
		for j := range p.n {
			at := ((p.row+j)*a.Keys+p.head)*a.Dim + from
			copy(dst[j*a.nr:], x[at:at+width])
		}
	}
}

// queryBlock is a block of queries of a head.
type queryBlock struct {
	head, keyHead int
	first         int // row of its sequence's first key
	from, rows    int // its first row, and its number of rows
	padded        int // index of that key among the padded ones
}

// seen is the number of keys, from number j of the sequence on, that query r of the block sees.
func (b *queryBlock) seen(r, j int) int { return b.from + r + 1 - b.first - j }

// block is block number i of all heads, the longest of a sequence first.
func (a *attention) block(i int) queryBlock {
	s := find(a.before, i/a.Queries)
	number := a.before[s+1] - 1 - i/a.Queries
	return a.blockOf(s, i%a.Queries, number)
}

func (a *attention) blockOf(s, head, number int) queryBlock {
	first, end := int(a.Bounds[s]), int(a.Bounds[s+1])
	from := first + number*a.height
	return queryBlock{
		head: head, keyHead: head / (a.Queries / a.Keys), first: first, from: from,
		rows: min(a.height, end-from), padded: a.padded[s],
	}
}

// row is a query head's part of row i of a matrix like q.
func (a *attention) row(x []float32, i, head int) []float32 {
	at := (i*a.Queries + head) * a.Dim
	return x[at : at+a.Dim : at+a.Dim]
}

// attentionScratch is the memory of one task.
type attentionScratch struct {
	q, dy           []float32 // packed panels of queries: (Dim, mr), (Dim+1, mr)
	qT, dyT         []float32 // packed panels of values of a head: (queries, mr)
	scores, dscores []float32 // (queries, keys)
	packed          []float32 // a packed panel of scores: (keys, mr)
	sum             []float32 // (queries, dims·nr): sums over keys
	top, total      []float32 // (queries) of the softmax
	keysT, valuesT  []float32 // (Dim, keys): gradients
	gradient        []float32 // (keys, Dim)
}

var attentionScratches freeList[attentionScratch]

// panelRows is the number of rows of panel p of a block of rows, and the height of its register tile.
func (a *attention) panelRows(p, rows int) (n, height int) {
	n = min(a.mr, rows-p*a.mr)
	return n, a.roundUp(n)
}

// panelLen is the distance of packed panels of this depth.
func (a *attention) panelLen(depth int) int { return depth*a.mr + packSlack }

// packQueries packs a head's rows of a block into panels for products over its values.
func (a *attention) packQueries(dst *[]float32, x []float32, b *queryBlock, depth int, scale float32) {
	size := a.panelLen(depth)
	grow(dst, ceilDiv(b.rows, a.mr)*size)
	for p := range ceilDiv(b.rows, a.mr) {
		n, height := a.panelRows(p, b.rows)
		panel := (*dst)[p*size:][:size]
		packTransposed(panel, height, x[((b.from+p*a.mr)*a.Queries+b.head)*a.Dim:], a.Queries*a.Dim, a.Dim, n)
		if scale != 1 {
			Scale(scale, panel[:a.Dim*height])
		}
	}
}

// multiplyColumns sets scores to the products of packed queries with the columns of keys j to j+n-1 of the sequence,
// where at least one query of a panel sees one key of a panel.
func (a *attention) multiplyColumns(scores, queries, columns []float32, b *queryBlock, j, n, depth int) {
	size := a.panelLen(depth)
	for c := 0; c < n; c += a.nr {
		keys := a.columns(columns, b.keyHead, (b.padded+j+c)/a.nr, depth)
		for p := range ceilDiv(b.rows, a.mr) {
			rows, height := a.panelRows(p, b.rows)
			if b.seen(p*a.mr+rows-1, j+c) > 0 {
				tile(height, depth, queries[p*size:], keys, a.nr, scores[p*a.mr*scoreLD+c:], scoreLD, false)
			}
		}
	}
}

// addRows adds to w.sum the products of scores with the rows of keys j to j+n-1 of the sequence.
func (a *attention) addRows(w *attentionScratch, scores []float32, b *queryBlock, j, n int) {
	ld := a.dims * a.nr
	for p := range ceilDiv(b.rows, a.mr) {
		rows, height := a.panelRows(p, b.rows)
		depth := min(n, b.seen(p*a.mr+rows-1, j))
		if depth <= 0 {
			continue
		}
		depth = round16(depth)
		grow(&w.packed, a.panelLen(keyBlock))
		packTransposed(w.packed, height, scores[p*a.mr*scoreLD:], scoreLD, depth, rows)
		for d := range a.dims {
			tile(height, depth, w.packed, a.rowsAt(b.keyHead, d, b.padded+j), a.nr, w.sum[p*a.mr*ld+d*a.nr:], ld, true)
		}
	}
}

// clearUnseen clears the scores of a row beyond the seen ones, as far as products read them.
func (a *attention) clearUnseen(row []float32, r, seen, n int, b *queryBlock, j int) {
	last := min(b.rows, (r/a.mr+1)*a.mr) - 1 // of the row's panel
	end := min(ceilDiv(min(n, b.seen(last, j)), a.unit)*a.unit, scoreLD)
	if seen < end {
		clear(row[seen:end])
	}
}
