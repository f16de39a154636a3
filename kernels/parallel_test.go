package kernels

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peftconv/peftconv/internal/alloctest"
)

// setThreads sets the number of threads for one test.
func setThreads(t testing.TB, n int) {
	old := int(workers.threads.Load())
	SetThreads(n)
	t.Cleanup(func() { SetThreads(old) })
}

func TestParallelCallsEachIndexOnce(t *testing.T) {
	for _, threads := range []int{1, 2, 3, 8} {
		setThreads(t, threads)
		for _, n := range []int{-1, 0, 1, 2, 7, 1000} {
			calls := make([]atomic.Int32, max(n, 0))
			for range 50 {
				Parallel(n, func(i int) { calls[i].Add(1) })
			}
			for i := range calls {
				if c := calls[i].Load(); c != 50 {
					t.Fatalf("%d threads, n = %d: f(%d) was called %d times in 50", threads, n, i, c)
				}
			}
		}
	}
}

func TestParallelNested(t *testing.T) {
	setThreads(t, 4)
	var calls atomic.Int32
	Parallel(10, func(int) {
		last := -1
		Parallel(10, func(i int) {
			if i != last+1 {
				t.Errorf("a nested call went from index %d to %d", last, i)
			}
			last = i
			calls.Add(1)
		})
	})
	if calls.Load() != 100 {
		t.Fatalf("%d calls, want 100", calls.Load())
	}
}

func TestParallelFromManyGoroutines(t *testing.T) {
	setThreads(t, 3)
	var calls atomic.Int32
	done := make(chan bool)
	for range 8 {
		go func() {
			for range 100 {
				Parallel(5, func(int) { calls.Add(1) })
			}
			done <- true
		}()
	}
	for range 8 {
		<-done
	}
	if calls.Load() != 8*100*5 {
		t.Fatalf("%d calls, want %d", calls.Load(), 8*100*5)
	}
}

func TestParallelPanicReachesCaller(t *testing.T) {
	setThreads(t, 4)
	for round := range 100 {
		func() {
			defer func() {
				if got := recover(); got != "f failed" {
					t.Fatalf("round %d: recovered %v", round, got)
				}
			}()
			Parallel(100, func(i int) {
				if i == round {
					panic("f failed")
				}
			})
		}()
	}
	TestParallelCallsEachIndexOnce(t)
}

func TestParallelGoexit(t *testing.T) {
	setThreads(t, 4)
	done := make(chan bool)
	for range 20 {
		go func() {
			defer func() { done <- true }()
			Parallel(100, func(i int) {
				if i == 50 {
					runtime.Goexit()
				}
			})
		}()
		<-done
	}
	TestParallelCallsEachIndexOnce(t)
}

func TestParallelAllocates(t *testing.T) {
	setThreads(t, 3)
	var sum atomic.Int64
	f := func(i int) { sum.Add(int64(i)) }
	if n := alloctest.Steady(100, func() { Parallel(50, f) }); n != 0 {
		t.Errorf("Parallel allocates %v times", n)
	}
}

func BenchmarkParallel(b *testing.B) {
	for b.Loop() {
		Parallel(Threads(), func(int) {})
	}
}

// TestRest does nothing for a while, and everything after it.
func TestRest(t *testing.T) {
	setThreads(t, 2)
	var done atomic.Int64
	start := time.Now()
	over := Rest()
	finished := make(chan struct{})
	go func() {
		Parallel(8, func(int) { done.Add(1) })
		close(finished)
	}()
	time.Sleep(100 * time.Millisecond)
	if n := done.Load(); n > 0 && time.Since(start) < longestRest*time.Millisecond {
		t.Errorf("%d pieces of work are done in a rest", n)
	}
	over()
	<-finished
	if n := done.Load(); n != 8 {
		t.Errorf("%d pieces of work are done after it, want 8", n)
	}
}
