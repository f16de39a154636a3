package kernels

import "sync"

// scratch is the memory of one task, which later tasks reuse.
type scratch struct {
	tile []float32 // a tile of weights
	b    []float32 // packed panels of B
	edge []float32 // a register tile that does not lie within C
}

// freeList keeps used memory for reuse.
type freeList[T any] struct {
	mu   sync.Mutex
	free []*T
}

// get is a used T, or a new one.
func (l *freeList[T]) get() *T {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.free); n > 0 {
		t := l.free[n-1]
		l.free = l.free[:n-1]
		return t
	}
	return new(T)
}

func (l *freeList[T]) put(t *T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, t)
}

var scratches freeList[scratch]

// minScratch is the least number of elements allocated: memory of this size is aligned to pages.
const minScratch = 1 << 13

// grow makes the slice n elements long; they have any value.
func grow(s *[]float32, n int) []float32 {
	if cap(*s) < n {
		*s = make([]float32, max(n+n/4, minScratch))
	}
	*s = (*s)[:n]
	return *s
}
