package quantize

import (
	"context"
	"runtime/debug"
	"sync"
)

// pipeline runs work on several goroutines and returns the results in order, with only a few in progress at a time.
// Each worker has its own S, memory to work in.
type pipeline[S any] struct {
	threads int
	scratch func() S
}

// slot is a piece of work on its way through the pipeline.
type slot[T any] struct {
	item   T
	buffer []byte // memory for the result, used again and again
	result []byte
	err    error
	failed any // what the work panicked with
	ready  chan struct{}
}

// run calls work for every item, on several goroutines, and emit for every result, in the order of the items, on the
// caller's. work gets a buffer that it may grow and return as its result. The first error stops everything, and so
// does the end of ctx; when run returns, no goroutine is left. A panic in work reaches the caller.
func run[S, T any](ctx context.Context, p pipeline[S], items func(yield func(T) bool),
	work func(s S, item T, buffer *[]byte) ([]byte, error), emit func(item T, result []byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	depth := 2*p.threads + 2
	todo, order, free := make(chan *slot[T], depth), make(chan *slot[T], depth), make(chan *slot[T], depth)
	for range depth {
		free <- &slot[T]{ready: make(chan struct{}, 1)}
	}
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel() // runs before the wait
	group.Go(func() {
		defer close(order)
		defer close(todo)
		feed(ctx, items, free, todo, order)
	})
	for range p.threads {
		group.Go(func() {
			debug.SetPanicOnFault(true) // a map whose file is gone: the caller, who gets the panic, knows what to say
			s := p.scratch()
			for slot := range todo {
				slot.do(ctx, func() ([]byte, error) { return work(s, slot.item, &slot.buffer) })
			}
		})
	}
	for slot := range order {
		<-slot.ready
		if err := slot.emit(emit); err != nil {
			return err
		}
		free <- slot
	}
	return ctx.Err()
}

// feed hands out the items as slots become free.
func feed[T any](ctx context.Context, items func(yield func(T) bool), free, todo, order chan *slot[T]) {
	for item := range items {
		select {
		case <-ctx.Done():
			return
		case slot := <-free:
			slot.item = item
			todo <- slot // there is room for all slots in both
			order <- slot
		}
	}
}

// do does the work of a slot.
func (s *slot[T]) do(ctx context.Context, work func() ([]byte, error)) {
	defer func() {
		s.failed = recover()
		s.ready <- struct{}{}
	}()
	if s.err = ctx.Err(); s.err == nil {
		s.result, s.err = work()
	}
}

func (s *slot[T]) emit(emit func(T, []byte) error) error {
	if s.failed != nil {
		panic(s.failed)
	}
	if s.err != nil {
		return s.err
	}
	return emit(s.item, s.result)
}
