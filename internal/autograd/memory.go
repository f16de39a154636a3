package autograd

import "unsafe"

// chunkFloats is the least size of an arena chunk: 4 MiB.
const chunkFloats = 1 << 20

// alignFloats keeps every allocation on a 64-byte line relative to its chunk.
const alignFloats = 16

// arena allocates float32 slices from large chunks, as a stack: everything after a position is freed at once.
type arena struct {
	chunks [][]float32
	at     position
}

// position is the next free place of an arena.
type position struct{ chunk, offset int }

// alloc returns n floats of undefined content.
func (a *arena) alloc(n int) []float32 {
	size := (n + alignFloats - 1) &^ (alignFloats - 1)
	for {
		if a.at.chunk == len(a.chunks) {
			a.chunks = append(a.chunks, make([]float32, max(size, chunkFloats)))
		}
		chunk := a.chunks[a.at.chunk]
		if from := a.at.offset; from+size <= len(chunk) {
			a.at.offset += size
			return chunk[from : from+n : from+n]
		}
		a.skip(size)
	}
}

// ints is alloc of integers.
func (a *arena) ints(n int) []int32 {
	return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(a.alloc(n)))), n)
}

// skip moves on to the next chunk; an untouched chunk that is too small for size is replaced by one that is not.
func (a *arena) skip(size int) {
	if a.at.offset == 0 {
		a.chunks[a.at.chunk] = make([]float32, size)
		return
	}
	a.at = position{chunk: a.at.chunk + 1}
}

func (a *arena) reset() { a.at = position{} }

func (a *arena) bytes() (n int64) {
	for _, c := range a.chunks {
		n += int64(len(c)) * 4
	}
	return n
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
