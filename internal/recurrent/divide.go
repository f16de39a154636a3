package recurrent

import (
	"sync"

	"github.com/peftconv/peftconv/kernels"
)

// task is work in numbered parts that do not depend on each other.
type task interface{ part(i int, s *scratch) }

// loop is a task in progress on all threads; loops are reused, so that running a task allocates nothing.
type loop struct {
	task task
	run  func(i int) // part, bound once
}

func (l *loop) part(i int) {
	s := scratches.get()
	s.used = 0
	l.task.part(i, s)
	scratches.put(s)
}

// inlineWork is the number of multiply-adds below which threads are not worth it.
const inlineWork = 1 << 17

// divide does parts 0 to n-1 of a task of that many multiply-adds.
func divide(n, work int, t task) {
	l := loops.get()
	if l.run == nil {
		l.run = l.part
	}
	l.task = t
	if work >= inlineWork {
		kernels.Parallel(n, l.run)
	} else {
		for i := range n {
			l.run(i)
		}
	}
	l.task = nil
	loops.put(l)
}

// scratch is the memory of one part, which later parts reuse.
type scratch struct {
	floats []float32
	used   int
	decay  decay
}

// take gives n floats of undefined content.
func (s *scratch) take(n int) []float32 {
	size := (n + 15) &^ 15
	if s.used+size > len(s.floats) {
		s.floats, s.used = make([]float32, max(size, 2*len(s.floats))), 0
	}
	x := s.floats[s.used : s.used+n : s.used+n]
	s.used += size
	return x
}

var (
	loops     freeList[loop]
	scratches freeList[scratch]
)

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
