package tokenizer

import "math"

// symbol is a stretch of a word during merging; symbols form a list through prev and next (-1 at its ends).
type symbol struct {
	id         int32 // token, or none
	prev, next int32
	start, end int32 // bytes of the word; end == start once it is merged into its left neighbour
}

// bigram is two neighbours that may merge.
type bigram struct {
	rank        int32
	left, right int32 // indices of symbols
	id          int32 // what they make
	size        int32 // bytes of both together: whether they are still what they were
}

// pairer is the result of merging two neighbouring stretches of a word, and its rank: the smallest rank merges first.
type pairer interface {
	pair(word []byte, left, right *symbol) (rank, id int32, ok bool)
}

// merger merges symbols, smallest rank first and of equal ranks the leftmost. It keeps its memory between words.
type merger struct {
	symbols []symbol
	heap    []bigram

	lattice      lattice // of unigram
	spelled, key []byte  // of wordPiece
}

// maxWord is the most bytes of one word: positions are int32.
const maxWord = math.MaxInt32

// add appends a symbol, the next bytes up to end.
func (m *merger) add(id int32, end int) {
	n := int32(len(m.symbols))
	start := int32(0)
	if n > 0 {
		m.symbols[n-1].next = n
		start = m.symbols[n-1].end
	}
	m.symbols = append(m.symbols, symbol{id: id, prev: n - 1, next: -1, start: start, end: int32(end)})
}

// run merges until no pair is left. What remains is the list that begins at symbol 0.
func (m *merger) run(word []byte, p pairer) {
	m.heap = m.heap[:0]
	for i := 1; i < len(m.symbols); i++ {
		m.try(word, p, int32(i-1), int32(i))
	}
	for len(m.heap) > 0 {
		b := m.pop()
		left, right := &m.symbols[b.left], &m.symbols[b.right]
		if left.end == left.start || right.end == right.start || left.end-left.start+right.end-right.start != b.size {
			continue
		}
		left.id, left.end, left.next = b.id, right.end, right.next
		right.end = right.start
		if right.next >= 0 {
			m.symbols[right.next].prev = b.left
		}
		if left.prev >= 0 {
			m.try(word, p, left.prev, b.left)
		}
		if left.next >= 0 {
			m.try(word, p, b.left, left.next)
		}
	}
}

func (m *merger) try(word []byte, p pairer, left, right int32) {
	l, r := &m.symbols[left], &m.symbols[right]
	if rank, id, ok := p.pair(word, l, r); ok {
		m.push(bigram{rank, left, right, id, r.end - l.start})
	}
}

func (b *bigram) before(c *bigram) bool {
	return b.rank < c.rank || b.rank == c.rank && b.left < c.left
}

// push and pop are a binary heap; container/heap would cost an allocation and two indirect calls each.
func (m *merger) push(b bigram) {
	h := append(m.heap, b)
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !b.before(&h[up]) {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = b
	m.heap = h
}

func (m *merger) pop() bigram {
	h := m.heap
	top, last := h[0], h[len(h)-1]
	h = h[:len(h)-1]
	i := 0
	for {
		down := 2*i + 1
		if down >= len(h) {
			break
		}
		if down+1 < len(h) && h[down+1].before(&h[down]) {
			down++
		}
		if !h[down].before(&last) {
			break
		}
		h[i] = h[down]
		i = down
	}
	if len(h) > 0 {
		h[i] = last
	}
	m.heap = h
	return top
}
