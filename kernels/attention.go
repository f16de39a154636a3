package kernels

import (
	"math"

	"github.com/peftconv/peftconv/internal/freelist"
)

// Attention works block by block (Dao et al. 2022, "FlashAttention"): some queries of a head against some keys at a
// time, so scores exist for one block only. Keys and values are packed once for all queries. Blocks of keys that no
// query of a block sees are skipped. The register tiles are those of the matrix product.

// AttentionShape describes the rows of queries, keys and values, and how products become probabilities. Where a field
// is zero, what it is for is left out.
type AttentionShape struct {
	Bounds   []int32 // sequence s is rows Bounds[s] to Bounds[s+1]-1
	Queries  int     // heads of queries, a multiple of Keys
	Keys     int     // heads of keys and values: query head h reads number h/(Queries/Keys)
	Dim      int     // elements of a head of queries and keys
	ValueDim int     // elements of a head of values and results; 0: Dim
	Scale    float32 // of the products

	Window int       // keys that a query sees, itself the last of them; 0: all of its sequence up to itself
	Cap    float32   // a scaled product s becomes Cap·tanh(s/Cap) (Gemma 2, "logit soft-capping")
	Slopes []float32 // (Queries) times the distance of a key is taken off its score (Press et al. 2022, "ALiBi")
	Sinks  []float32 // (Queries) scores of a key without value, which every query sees (gpt-oss, "attention sinks")

	// Precision says whether the operands of the products may be rounded: with BF16 or Int8 to bfloat16, where this
	// processor multiplies it faster than float32 and heads are multiples of 32 wide. Sums stay float32.
	Precision Precision
}

// valueDim is the elements of a head of values.
func (s *AttentionShape) valueDim() int {
	if s.ValueDim > 0 {
		return s.ValueDim
	}
	return s.Dim
}

// check panics where slices do not fit the shape, for this many rows of queries and of keys.
func (s *AttentionShape) check(rows, keys int, q, y, k, v [2][]float32) {
	switch {
	case s.Keys <= 0 || s.Queries%s.Keys != 0:
		panic("kernels: Attention of heads that do not divide")
	case s.Window < 0 || s.Window > allKeys || s.Cap < 0 || s.ValueDim < 0:
		panic("kernels: Attention of a window, cap or size that is none")
	case s.Sinks != nil && len(s.Sinks) != s.Queries || s.Slopes != nil && len(s.Slopes) != s.Queries:
		panic("kernels: Attention of sinks or slopes that are not one a head")
	case tooShort(q, rows*s.Queries*s.Dim) || tooShort(y, rows*s.Queries*s.valueDim()):
		panic("kernels: Attention of too few query rows")
	case tooShort(k, keys*s.Keys*s.Dim) || tooShort(v, keys*s.Keys*s.valueDim()):
		panic("kernels: Attention of too few key rows")
	}
}

// tooShort says whether a slice that is there has less than n elements.
func tooShort(x [2][]float32, n int) bool {
	return x[0] != nil && len(x[0]) < n || x[1] != nil && len(x[1]) < n
}

// rows is T, the rows of all sequences.
func (s *AttentionShape) rows() int {
	if len(s.Bounds) == 0 {
		return 0
	}
	return int(s.Bounds[len(s.Bounds)-1])
}

// Attention is causal attention inside each sequence, for every head: of row i of q (T, Queries·Dim), with the rows j
// of k (T, Keys·Dim) and v (T, Keys·ValueDim) that its sequence has from its start to i,
//
//	s[j] = Cap·tanh(Scale·dot(q[i], k[j])/Cap) - Slope·(i-j), for i-j < Window
//	p[j] = exp(s[j] - logSum[i])
//	y[i] = sum of p[j]·v[j]
//
// logSum (T, Queries) is such that the p[j] and exp(Sink - logSum[i]) add up to 1.
func Attention(y, logSum, q, k, v []float32, shape AttentionShape) {
	rows := shape.rows()
	shape.check(rows, rows, [2][]float32{q}, [2][]float32{y}, [2][]float32{k}, [2][]float32{v})
	a := attentions.Get()
	a.AttentionShape, a.y, a.logSum, a.q, a.k, a.v = shape, y, logSum, q, k, v
	a.runForward()
	a.end()
}

// AttentionBackward adds to dq, dk and dv the gradients of Attention, of which y and logSum are the results and dy is
// the gradient of y. Any of dq, dk and dv may be nil where it is not wanted.
func AttentionBackward(dq, dk, dv, dy, y, logSum, q, k, v []float32, shape AttentionShape) {
	rows := shape.rows()
	shape.check(rows, rows, [2][]float32{q, dq}, [2][]float32{y, dy}, [2][]float32{k, dk}, [2][]float32{v, dv})
	a := attentions.Get()
	a.AttentionShape, a.y, a.logSum, a.q, a.k, a.v = shape, y, logSum, q, k, v
	a.dq, a.dk, a.dv, a.dy = dq, dk, dv, dy
	a.begin(a.Dim)
	Parallel(a.Keys*a.panels, a.packBackward)
	if a.Queries > a.Keys {
		grow(&a.partK, a.rows()*a.Queries*a.Dim)
		grow(&a.partV, a.rows()*a.Queries*a.valueDim())
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
	past               int      // keys before the first query of a sequence, where it is the only one
	bounds             [2]int32 // of that sequence
	shape                       // of the register tile
	pairs              bool     // operands are rounded to bfloat16: see attention_pairs.go
	height             int      // queries of a block
	unit               int      // sequences are padded to a multiple of this many keys
	padded             []int    // start of each sequence among the padded keys, and their number
	before             []int    // blocks of queries before each sequence, and their number
	panels             int      // of nr padded keys
	blocks             int      // of queries
	across             int      // elements of a head of byRow
	dims               int      // panels of nr of them
	distances          distances

	keysT   []float32 // (Keys, panels, Dim, nr): keys as columns
	valuesT []float32 // (Keys, panels, ValueDim+1, nr): values as columns, and below them ones
	byRow   []float32 // (Keys, dims, padded keys, nr): values as rows; in the backward pass keys
	partK   []float32 // (T, Queries·Dim): each query head's part of dk, where heads share keys
	partV   []float32 // (T, Queries·ValueDim)

	packForward, forward, packBackward, backward, reduce func(i int) // the methods, bound once
}

var attentions freelist.List[attention]

const (
	queryRows  = 112      // about the queries of a block: eight register tiles of the widest tier
	keyBlock   = 256      // the keys of a block
	scoreLD    = 256 + 16 // elements from one row of scores to the next
	reduceRows = 32
	allKeys    = 1 << 30 // a window that has all keys
)

// runForward computes y, and logSum if it is wanted.
func (a *attention) runForward() {
	a.begin(a.valueDim())
	Parallel(a.Keys*a.panels, a.packForward)
	Parallel(a.blocks*a.Queries, a.forward)
}

// begin lays everything out, for sums over keys of this many elements.
func (a *attention) begin(across int) {
	if a.forward == nil {
		a.packForward, a.forward = a.packForwardPanel, a.forwardBlock
		a.packBackward, a.backward, a.reduce = a.packBackwardPanel, a.backwardHead, a.reduceHeads
	}
	a.shape = tileShape()
	a.pairs = a.Rounded() == BF16
	a.height = max(queryRows/a.mr, 1) * a.mr
	a.unit = max(a.nr, blockLen)
	a.across, a.dims = across, ceilDiv(across, a.nr)
	a.padded, a.before = append(a.padded[:0], 0), append(a.before[:0], 0)
	a.blocks, a.panels = 0, 0
	longest := 0
	for s := range len(a.Bounds) - 1 {
		n := int(a.Bounds[s+1] - a.Bounds[s])
		longest = max(longest, n)
		a.blocks += ceilDiv(n-a.past, a.height)
		a.panels += ceilDiv(n, a.unit) * (a.unit / a.nr)
		a.padded, a.before = append(a.padded, a.panels*a.nr), append(a.before, a.blocks)
	}
	grow(&a.keysT, a.Keys*a.panels*a.nr*a.Dim)
	grow(&a.byRow, a.Keys*a.dims*a.panels*a.nr*a.nr)
	if a.dy != nil {
		grow(&a.valuesT, a.Keys*a.panels*a.nr*(a.valueDim()+1))
	}
	if a.Slopes != nil {
		a.distances.fill(longest)
	}
}

// end drops the references to the caller's memory.
func (a *attention) end() {
	a.AttentionShape = AttentionShape{}
	a.y, a.logSum, a.q, a.k, a.v, a.dq, a.dk, a.dv, a.dy = nil, nil, nil, nil, nil, nil, nil, nil, nil
	a.past = 0
	attentions.Put(a)
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
	a.packColumns(a.keysT, a.k, p, a.Dim, a.Dim)
	a.packRows(a.v, p)
}

func (a *attention) packBackwardPanel(i int) {
	p, dim := a.keyPanel(i), a.valueDim()
	a.packColumns(a.keysT, a.k, p, a.Dim, a.Dim)
	a.packColumns(a.valuesT, a.v, p, dim, dim+1)
	one, row := float32(1), dim
	if a.pairs {
		one, row = pairOf(1, 1), dim/2
	}
	ones := a.columns(a.valuesT, p.head, p.number, dim+1)[row*a.nr:]
	for i := range ones[:a.nr] {
		ones[i] = one
	}
	a.packRows(a.k, p)
}

// columns is a panel of keys or values as columns, depth rows of them.
func (a *attention) columns(packed []float32, head, number, depth int) []float32 {
	at := (head*a.panels + number) * depth * a.nr
	return packed[at : at+depth*a.nr]
}

// packColumns packs a panel of heads of dim elements, with room for depth rows.
func (a *attention) packColumns(packed, x []float32, p keyPanel, dim, depth int) {
	dst := a.columns(packed, p.head, p.number, depth)
	if p.n < a.nr {
		clear(dst)
	}
	if p.n > 0 && a.pairs {
		a.packColumnPairs(dst, x, p, dim)
	} else if p.n > 0 {
		packTransposed(dst, a.nr, x[(p.row*a.Keys+p.head)*dim:], a.Keys*dim, dim, p.n)
	}
}

// rowsAt is a panel of byRow of all padded keys from number key on.
func (a *attention) rowsAt(head, dim, key int) []float32 {
	return a.byRow[((head*a.dims+dim)*a.panels*a.nr+key)*a.nr:]
}

func (a *attention) packRows(x []float32, p keyPanel) {
	if a.pairs {
		a.packRowPairs(x, p)
		return
	}
	for d := range a.dims {
		dst := a.rowsAt(p.head, d, p.number*a.nr)[:a.nr*a.nr]
		from := d * a.nr
		width := min(a.nr, a.across-from)
		if p.n < a.nr || width < a.nr {
			clear(dst)
		}
		for j := range p.n {
			at := ((p.row+j)*a.Keys+p.head)*a.across + from
			copy(dst[j*a.nr:], x[at:at+width])
		}
	}
}

// queryBlock is a block of queries of a head.
type queryBlock struct {
	head, keyHead int
	from, rows    int // its first row, and its number of rows
	at            int // number of its first query among the keys of its sequence
	window        int // keys that a query sees
	padded        int // index of the sequence's first key among the padded ones
}

// seen is the number of keys, from number j of the sequence on, that do not come after query r of the block.
func (b *queryBlock) seen(r, j int) int { return b.at + r + 1 - j }

// unseen is the number of keys, from number j of the sequence on, that come before the window of query r.
func (b *queryBlock) unseen(r, j int) int { return max(b.seen(r, j)-b.window, 0) }

// sees is the range of those n keys, from number j of the sequence on, that query r sees.
func (b *queryBlock) sees(r, j, n int) (from, to int) {
	return min(b.unseen(r, j), n), max(min(b.seen(r, j), n), 0)
}

// firstKey is the first key that a query of the block sees, or one before it that begins a unit.
func (b *queryBlock) firstKey(unit int) int { return b.unseen(0, 0) / unit * unit }

// block is block number i of all heads, the longest of a sequence first.
func (a *attention) block(i int) queryBlock {
	s := find(a.before, i/a.Queries)
	number := a.before[s+1] - 1 - i/a.Queries
	return a.blockOf(s, i%a.Queries, number)
}

func (a *attention) blockOf(s, head, number int) queryBlock {
	first, end := int(a.Bounds[s]), int(a.Bounds[s+1])-a.past
	from := first + number*a.height
	window := a.Window
	if window == 0 {
		window = allKeys
	}
	return queryBlock{
		head: head, keyHead: head / (a.Queries / a.Keys), from: from, rows: min(a.height, end-from),
		at: from - first + a.past, window: window, padded: a.padded[s],
	}
}

// row is a query head's part of row i of a matrix like q, with dim elements a head.
func (a *attention) row(x []float32, i, head, dim int) []float32 {
	at := (i*a.Queries + head) * dim
	return x[at : at+dim : at+dim]
}

// attentionScratch is the memory of one task.
type attentionScratch struct {
	q, dy           []float32 // packed panels of queries: (Dim, mr), (ValueDim+1, mr)
	qT, dyT         []float32 // packed panels of elements of a head: (queries, mr)
	scores, dscores []float32 // (queries, keys)
	capped          []float32 // (queries, keys): scores as Cap left them
	times           []float32 // (keys): a row in between
	packed          []float32 // a packed panel of scores: (keys, mr)
	plain           []float32 // rows of a block, or their transpose, before they are rounded
	columns         []float32 // a panel of columns of scores as pairs: (queries/2, nr)
	sum             []float32 // (queries, dims·nr): sums over keys
	top, total      []float32 // (queries) of the softmax
	keysT, valuesT  []float32 // (Dim, keys), (ValueDim, keys): gradients
	gradient        []float32 // (keys, Dim) or (keys, ValueDim)
}

var attentionScratches freelist.List[attentionScratch]

// panelRows is the number of rows of panel p of a block of rows, and the height of its register tile.
func (a *attention) panelRows(p, rows int) (n, height int) {
	n = min(a.mr, rows-p*a.mr)
	return n, a.roundUp(n)
}

// panelLen is the distance of packed panels of this depth.
func (a *attention) panelLen(depth int) int { return depth*a.mr + packSlack }

// packQueries packs a head's rows of a block, of dim elements, into panels for products over depth rows.
func (a *attention) packQueries(w *attentionScratch, dst *[]float32, x []float32, b *queryBlock, dim, depth int,
	scale float32) {
	if a.pairs {
		a.packQueryPairs(w, dst, x, b, dim, depth, scale)
		return
	}
	size := a.panelLen(depth)
	grow(dst, ceilDiv(b.rows, a.mr)*size)
	for p := range ceilDiv(b.rows, a.mr) {
		n, height := a.panelRows(p, b.rows)
		panel := (*dst)[p*size:][:size]
		packTransposed(panel, height, x[((b.from+p*a.mr)*a.Queries+b.head)*dim:], a.Queries*dim, dim, n)
		if scale != 1 {
			Scale(scale, panel[:dim*height])
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
			if b.seen(p*a.mr+rows-1, j+c) <= 0 || b.unseen(p*a.mr, j+c) >= a.nr {
				continue
			}
			dst := scores[p*a.mr*scoreLD+c:]
			if a.pairs {
				tileBF16(height, (depth+1)/2, queries[p*size:], keys, dst, scoreLD, false)
			} else {
				tile(height, depth, queries[p*size:], keys, a.nr, dst, scoreLD, false)
			}
		}
	}
}

// addRows adds to w.sum the products of scores with the rows of keys j to j+n-1 of the sequence.
func (a *attention) addRows(w *attentionScratch, scores []float32, b *queryBlock, j, n int) {
	ld := a.dims * a.nr
	for p := range ceilDiv(b.rows, a.mr) {
		rows, height := a.panelRows(p, b.rows)
		from, to := a.readRange(b, p, j, n)
		if from >= to {
			continue
		}
		grow(&w.packed, a.panelLen(keyBlock))
		if a.pairs {
			a.addRowPairs(w, scores, b, p, j, from, to)
			continue
		}
		depth := round16(to - from)
		packTransposed(w.packed, height, scores[p*a.mr*scoreLD+from:], scoreLD, depth, rows)
		for d := range a.dims {
			keys := a.rowsAt(b.keyHead, d, b.padded+j+from)
			tile(height, depth, w.packed, keys, a.nr, w.sum[p*a.mr*ld+d*a.nr:], ld, true)
		}
	}
}

// readRange is the range of those n keys from number j on that a query of panel p sees, from the beginning of a unit.
func (a *attention) readRange(b *queryBlock, p, j, n int) (from, to int) {
	last := min(b.rows, (p+1)*a.mr) - 1
	return min(b.unseen(p*a.mr, j), n) / a.unit * a.unit, min(b.seen(last, j), n)
}

// clearUnseen clears the scores of a row outside of the seen ones, as far as products read them.
func (a *attention) clearUnseen(row []float32, r, from, to, n int, b *queryBlock, j int) {
	start, end := a.readRange(b, r/a.mr, j, n)
	end = min(ceilDiv(end, a.unit)*a.unit, scoreLD)
	if from >= to {
		from, to = start, start
	}
	if start < from {
		clear(row[start:from])
	}
	if to < end {
		clear(row[to:end])
	}
}

// scoresOf makes scores of the products of query r in whole blocks around the keys it sees, of those from number j on.
// Others get scores so low that their exponentials are 0. What Cap left goes into capped, where that is there.
func (a *attention) scoresOf(row, capped []float32, b *queryBlock, r, j, from, to int) []float32 {
	start := from &^ (blockLen - 1)
	row = row[start:round16(to)]
	if capped != nil {
		capped = capped[start:round16(to)]
	}
	a.bend(row, capped, b.head, a.distances, b.at+r, j+start)
	hide(row, from-start, to-start)
	return row
}

// bend makes scores of the scaled products of a query of a head with keys in order, the first of which is number key.
func (s *AttentionShape) bend(row, capped []float32, head int, d distances, query, key int) {
	if s.Cap > 0 {
		SoftCap(s.Cap, row)
		copy(capped, row)
	}
	if s.Slopes != nil {
		Axpy(s.Slopes[head], d.of(query, key, len(row)), row)
	}
}

// hide makes the scores before from and those from to on so low that their exponentials are 0.
func hide(row []float32, from, to int) {
	for i := range row[:from] {
		row[i] = float32(math.Inf(-1))
	}
	for i := to; i < len(row); i++ {
		row[i] = float32(math.Inf(-1))
	}
}

// distances are -d … -2, -1, 0, 1 …: how far keys come after a query, negative for those before it. The 0 is blockLen
// elements from the end.
type distances []float32

// fill makes them reach over a sequence of n keys, and a block further at both ends.
func (d *distances) fill(n int) {
	if len(*d) >= n+2*blockLen {
		return
	}
	*d = make([]float32, 2*n+2*blockLen)
	for i := range *d {
		(*d)[i] = float32(i - len(*d) + blockLen)
	}
}

// of is the distances of n keys in order.
func (d distances) of(query, key, n int) []float32 {
	at := len(d) - blockLen + key - query
	return d[at : at+n]
}
