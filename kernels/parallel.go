package kernels

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// pool hands the indexes of one Parallel call at a time to goroutines that outlive the call.
type pool struct {
	threads atomic.Int64 // as SetThreads said; 0 = GOMAXPROCS

	owner sync.Mutex // held by the call that has the workers; whoever finds it taken runs inline

	f    func(i int)
	n    int64
	next atomic.Int64 // the next index to hand out

	mu      sync.Mutex // guards all below
	idle    sync.Cond  // signalled when active falls to 0
	open    bool       // the current call still takes helpers
	seats   int        // helpers it may still take
	active  int        // helpers inside it
	workers int        // goroutines that exist
	failed  bool       // a helper panicked, with:
	failure any

	wake chan struct{}
}

const maxWorkers = 1024

var workers = func() *pool {
	p := &pool{wake: make(chan struct{}, maxWorkers)}
	p.idle.L = &p.mu
	return p
}()

// SetThreads sets how many threads the kernels use, from now on; 0 means runtime.GOMAXPROCS(0).
func SetThreads(n int) {
	workers.threads.Store(int64(min(max(n, 0), maxWorkers)))
}

// Threads is how many threads the kernels use.
func Threads() int {
	if n := workers.threads.Load(); n > 0 {
		return int(n)
	}
	return min(runtime.GOMAXPROCS(0), maxWorkers)
}

// Parallel calls f(0), f(1) … f(n-1), in any order and on up to Threads goroutines, and returns when all
// are done. A call from inside f, or while another goroutine is in Parallel, runs f in order on the
// goroutine it came from. A panic in f reaches the caller; indexes not yet begun are then left out.
func Parallel(n int, f func(i int)) {
	helpers := min(Threads(), n) - 1
	if helpers <= 0 || !workers.owner.TryLock() {
		for i := range n {
			f(i)
		}
		return
	}
	defer workers.owner.Unlock()
	workers.run(n, f, helpers)
}

// run shares f with up to helpers workers.
func (p *pool) run(n int, f func(i int), helpers int) {
	p.f, p.n = f, int64(n)
	p.next.Store(0)
	p.admit(helpers)
	defer p.finish()
	p.work()
}

// work calls f until no index is left. When f does not return, nobody takes another index.
func (p *pool) work() {
	done := false
	defer func() {
		if !done {
			p.next.Store(p.n)
		}
	}()
	for i := p.next.Add(1) - 1; i < p.n; i = p.next.Add(1) - 1 {
		p.f(int(i))
	}
	done = true
}

// admit opens the call to helpers and wakes that many.
func (p *pool) admit(helpers int) {
	p.mu.Lock()
	p.open, p.seats = true, helpers
	for ; p.workers < helpers; p.workers++ {
		go p.worker()
	}
	p.mu.Unlock()
	for range helpers {
		select {
		case p.wake <- struct{}{}:
		default: // enough wakes are under way already
		}
	}
}

// finish closes the call, waits for the helpers that came, and passes on what they panicked with.
func (p *pool) finish() {
	p.mu.Lock()
	p.open = false
	for p.active > 0 {
		p.idle.Wait()
	}
	failed, failure := p.failed, p.failure
	p.failed, p.failure, p.f = false, nil, nil
	p.mu.Unlock()
	if failed {
		panic(failure)
	}
}

// worker is one goroutine of the pool: it waits to be woken and joins the call then open, if any.
func (p *pool) worker() {
	defer func() { // only when f called runtime.Goexit
		p.mu.Lock()
		p.workers--
		p.mu.Unlock()
	}()
	for range p.wake {
		if p.join() {
			p.help()
		}
	}
}

func (p *pool) join() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.open || p.seats == 0 {
		return false
	}
	p.seats--
	p.active++
	return true
}

func (p *pool) help() {
	returned := false
	defer func() {
		failure := recover()
		p.mu.Lock()
		if !returned && !p.failed && failure != nil {
			p.failed, p.failure = true, failure
		}
		p.active--
		if p.active == 0 {
			p.idle.Signal()
		}
		p.mu.Unlock()
	}()
	p.work()
	returned = true
}
