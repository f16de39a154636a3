// Package freelist keeps used memory for reuse. Unlike a sync.Pool it keeps it across garbage collections.
package freelist

import "sync"

// List is an empty list at first. Goroutines may share it.
type List[T any] struct {
	mu   sync.Mutex
	free []*T
}

// Get is a used T as it was put, or a new one.
func (l *List[T]) Get() *T {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.free); n > 0 {
		t := l.free[n-1]
		l.free = l.free[:n-1]
		return t
	}
	return new(T)
}

// Put gives t, which the caller uses no more, to a later Get.
func (l *List[T]) Put(t *T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, t)
}
