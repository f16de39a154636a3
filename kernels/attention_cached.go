package kernels

import (
	"math"

	"github.com/peftconv/peftconv/internal/freelist"
)

// Cached are keys or values of one sequence that are kept: Floats (positions, heads·dim), or Rows that give them.
type Cached struct {
	Floats []float32
	Rows   CachedRows
}

// CachedRows are keys or values that are stored in another form than float32.
type CachedRows interface {
	// Rows sets dst (n, dim) to those of a head, of positions from to from+n-1. It may be called from several goroutines
	// at once.
	Rows(dst []float32, head, from, n int)
}

// CachedAttention is Attention of the last n rows of one sequence alone, over keys and values that are kept: q (n,
// Queries·Dim) and y (n, Queries·ValueDim) are of its rows past to past+n-1, keys (at least past+n, Keys·Dim) and
// values (at least past+n, Keys·ValueDim) of all of them. The shape's Bounds are not read.
func CachedAttention(y, q []float32, keys, values Cached, past, n int, shape AttentionShape) {
	shape.check(n, past+n, [2][]float32{q}, [2][]float32{y}, [2][]float32{keys.Floats}, [2][]float32{values.Floats})
	if n == 0 {
		return
	}
	skip := 0
	if shape.Window > 0 { // keys that no query sees are left out
		skip = max(past+1-shape.Window, 0)
		past -= skip
	}
	c := cachedAttentions.Get()
	c.AttentionShape, c.y, c.q, c.past, c.n = shape, y, q, past, n
	c.keys.set(keys, skip, shape.Keys, shape.Dim)
	c.values.set(values, skip, shape.Keys, shape.valueDim())
	if n > fewRows {
		packedAttention(y, q, c.keys.whole(past+n), c.values.whole(past+n), past, n, shape)
	} else {
		c.run()
	}
	c.AttentionShape, c.y, c.q = AttentionShape{}, nil, nil
	c.keys.drop()
	c.values.drop()
	cachedAttentions.Put(c)
}

// cachedSide is the keys or the values of a cachedAttention, without those that are skipped.
type cachedSide struct {
	Cached
	skip, heads, dim int
	all              []float32 // for whole

	part func(i int) // whole's task, bound once
	n    int         // its positions
}

func (s *cachedSide) set(c Cached, skip, heads, dim int) {
	s.skip, s.heads, s.dim = skip, heads, dim
	s.Cached = c
	if c.Rows == nil {
		s.Floats = c.Floats[skip*heads*dim:]
	}
}

func (s *cachedSide) drop() { s.Cached = Cached{} }

// chunk is n rows of a head, ld apart; memory is grown for them where they are not there as float32.
func (s *cachedSide) chunk(memory *[]float32, head, from, n int) (rows []float32, ld int) {
	if s.Rows == nil {
		return s.Floats[(from*s.heads+head)*s.dim:], s.heads * s.dim
	}
	rows = grow(memory, n*s.dim)
	s.Rows.Rows(rows, head, s.skip+from, n)
	return rows, s.dim
}

// whole is the first n positions of all heads as float32.
func (s *cachedSide) whole(n int) []float32 {
	if s.Rows == nil {
		return s.Floats
	}
	grow(&s.all, n*s.heads*s.dim)
	if s.part == nil {
		s.part = s.copyPart
	}
	s.n = n
	share(s.heads*n*s.dim, s.heads*ceilDiv(n, chunkKeys), s.part)
	return s.all
}

// copyPart is a chunk of positions of a head of whole.
func (s *cachedSide) copyPart(i int) {
	head, from := i%s.heads, i/s.heads*chunkKeys
	n := min(chunkKeys, s.n-from)
	w := scratches.Get()
	defer scratches.Put(w)
	rows, _ := s.chunk(&w.tile, head, from, n)
	for j := range n {
		copy(s.all[((from+j)*s.heads+head)*s.dim:][:s.dim], rows[j*s.dim:])
	}
}

// fewRows is the number of rows up to which packing the keys and values takes longer than it saves.
const fewRows = 16

// packedAttention is CachedAttention by blocks of queries and keys, as in Attention.
func packedAttention(y, q, keys, values []float32, past, n int, shape AttentionShape) {
	a := attentions.Get()
	a.AttentionShape, a.y, a.q, a.k, a.v, a.past = shape, y, q, keys, values, past
	a.bounds = [2]int32{0, int32(past + n)}
	a.Bounds = a.bounds[:]
	a.runForward()
	a.end()
}

// cachedAttention is CachedAttention of few rows. The keys are divided into chunks, and the results of chunks are put
// together at the end. All rows of all query heads that share a key head are multiplied at once.
type cachedAttention struct {
	AttentionShape
	y, q          []float32
	keys, values  cachedSide
	past, n       int
	rows          int // of a key head: number i·group+g is row i of query head g of its group
	chunk, chunks int // keys of a chunk, and their number

	queries   []float32 // (Keys, rows, Dim)
	sums      []float32 // (chunks, Keys, rows, ValueDim): of values times exponentials
	tops      []float32 // (chunks, Keys, rows): the largest scores, to which exponentials are relative
	totals    []float32 // (chunks, Keys, rows): of the exponentials
	distances distances

	attend, join func(i int) // the methods, bound once
}

var cachedAttentions freelist.List[cachedAttention]

const (
	chunkKeys   = 256     // the keys of a chunk
	chunkScores = 1 << 15 // about the most scores of one
)

func (c *cachedAttention) run() {
	if c.attend == nil {
		c.attend, c.join = c.attendChunk, c.joinChunks
	}
	keys, group, dim := c.past+c.n, c.Queries/c.Keys, c.valueDim()
	c.rows = c.n * group
	c.chunk = min(max(chunkScores/c.rows, 4*blockLen), chunkKeys) &^ (blockLen - 1)
	c.chunks = ceilDiv(keys, c.chunk)
	if c.Slopes != nil {
		c.distances.fill(keys)
	}
	grow(&c.queries, c.Keys*c.rows*c.Dim)
	for head := range c.Queries {
		for i := range c.n {
			at := (head/group*c.rows + i*group + head%group) * c.Dim
			copy(c.queries[at:at+c.Dim], c.q[(i*c.Queries+head)*c.Dim:])
		}
	}
	parts := c.Keys * c.chunks * c.rows
	grow(&c.sums, parts*dim)
	grow(&c.tops, parts)
	grow(&c.totals, parts)
	share(c.Keys*c.rows*keys*(c.Dim+dim), c.Keys*c.chunks, c.attend)
	share(parts*dim, c.Queries, c.join)
}

// attendChunk is the part of a chunk of keys in the results of the query heads of a key head.
func (c *cachedAttention) attendChunk(i int) {
	head, from := i%c.Keys, i/c.Keys*c.chunk
	keys, dim := min(c.chunk, c.past+c.n-from), c.valueDim()
	w := attentionScratches.Get()
	defer attentionScratches.Put(w)
	ld := round16(keys)
	scores := grow(&w.scores, c.rows*ld)
	s := scratches.Get()
	defer scratches.Put(s)
	k, ldk := c.keys.chunk(&s.tile, head, from, keys)
	Gemm(false, true, c.rows, keys, c.Dim, c.Scale, c.queries[head*c.rows*c.Dim:], c.Dim, k, ldk, 0, scores, ld)
	for r := range c.rows {
		c.tops[i*c.rows+r], c.totals[i*c.rows+r] = c.exponentials(scores[r*ld:(r+1)*ld], head, r, from, keys)
	}
	v, ldv := c.values.chunk(&s.tile, head, from, keys)
	Gemm(false, false, c.rows, dim, keys, 1, scores, ld, v, ldv, 0, c.sums[i*c.rows*dim:], dim)
}

// exponentials turns products of row r of a key head with keys of a chunk into exponentials relative to the largest
// score, and gives that and their sum.
func (c *cachedAttention) exponentials(row []float32, head, r, from, keys int) (top, total float32) {
	group := c.Queries / c.Keys
	query := c.past + r/group
	first, end := 0, min(query+1-from, keys)
	if c.Window > 0 {
		first = max(query+1-c.Window-from, 0)
	}
	if first >= end {
		clear(row)
		return float32(math.Inf(-1)), 0
	}
	start, stop := first&^(blockLen-1), round16(end)
	clear(row[:start])
	clear(row[stop:])
	row = row[start:stop]
	c.bend(row, nil, head*group+r%group, c.distances, query, from+start)
	hide(row, first-start, end-start)
	top = Max(row)
	return top, ExpSum(row, top)
}

// joinChunks puts the results of one query head together.
func (c *cachedAttention) joinChunks(head int) {
	group, dim := c.Queries/c.Keys, c.valueDim()
	for i := range c.n {
		part := func(chunk int) int { return (chunk*c.Keys+head/group)*c.rows + i*group + head%group }
		top, total := float32(math.Inf(-1)), float32(0)
		if c.Sinks != nil {
			top = c.Sinks[head]
		}
		for chunk := range c.chunks {
			top = max(top, c.tops[part(chunk)])
		}
		if c.Sinks != nil {
			total = expGeneric(c.Sinks[head] - top)
		}
		y := c.y[(i*c.Queries+head)*dim:][:dim]
		clear(y)
		for chunk := range c.chunks {
			p := part(chunk)
			weight := expGeneric(c.tops[p] - top)
			total += weight * c.totals[p]
			Axpy(weight, c.sums[p*dim:(p+1)*dim], y)
		}
		Scale(1/total, y)
	}
}
