package recurrent

import (
	"github.com/peftconv/peftconv/internal/freelist"
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
	s := scratches.Get()
	s.used = 0
	l.task.part(i, s)
	scratches.Put(s)
}

// inlineWork is the number of multiply-adds below which threads are not worth it.
const inlineWork = 1 << 17

// divide does parts 0 to n-1 of a task of that many multiply-adds.
func divide(n, work int, t task) {
	l := loops.Get()
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
	loops.Put(l)
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
	loops     freelist.List[loop]
	scratches freelist.List[scratch]
)
