package autograd

import "unsafe"

// chunkFloats is the least size of an arena chunk: 4 MiB. Later chunks are an eighth of all before, so that most hold
// many tensors, and batches of other lengths find room in the same ones. Those that are too small for a tensor are
// passed over: together they are no more than eight times as large as it.
const chunkFloats = 1 << 20

// alignFloats keeps every allocation on a 64-byte line relative to its chunk.
const alignFloats = 16

// arena allocates float32 slices from large chunks, as a stack: everything after a position is freed at once.
type arena struct {
	chunks [][]float32
	at     position
	total  int // floats of all chunks
	last   int // of these, the most that were ever in use of the last one
}

// position is the next free place of an arena.
type position struct{ chunk, offset int }

// alloc returns n floats of undefined content.
func (a *arena) alloc(n int) []float32 {
	size := (n + alignFloats - 1) &^ (alignFloats - 1)
	for {
		if a.at.chunk == len(a.chunks) {
			n := max(size, chunkFloats, a.total/8)
			a.total, a.last = a.total+n, 0
			a.chunks = append(a.chunks, make([]float32, n)) // pages that are not used take no memory
		}
		chunk := a.chunks[a.at.chunk]
		if from := a.at.offset; from+size <= len(chunk) {
			a.at.offset += size
			if a.at.chunk == len(a.chunks)-1 {
				a.last = max(a.last, a.at.offset)
			}
			return chunk[from : from+n : from+n]
		}
		a.at = position{chunk: a.at.chunk + 1}
	}
}

// ints is alloc of integers.
func (a *arena) ints(n int) []int32 {
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(a.alloc(n)))), n)
}

func (a *arena) reset() { a.at = position{} }

// bytes is the memory of all chunks, but for the end of the last one that was never used.
func (a *arena) bytes() int64 {
	if len(a.chunks) == 0 {
		return 0
	}
	return 4 * int64(a.total-len(a.chunks[len(a.chunks)-1])+a.last)
}

// slab allocates zeroed values of one type; setting n back frees them for reuse.
type slab[T any] struct {
	items []*T
	n     int
}

func (s *slab[T]) next() *T {
	if s.n == len(s.items) {
		s.items = append(s.items, new(T))
	}
	item := s.items[s.n]
	s.n++
	var zero T
	*item = zero
	return item
}
