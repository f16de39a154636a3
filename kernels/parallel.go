package kernels

import (
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// pool hands the indexes of one Parallel call at a time to goroutines that outlive the call. Waking a sleeping thread
// takes longer than many a call, so idle threads spin for a while before they sleep.
type pool struct {
	threads atomic.Int64 // as SetThreads said; 0 = GOMAXPROCS

	owner   sync.Mutex // held by the call that has the workers; a call that finds it taken runs inline
	workers int        // goroutines that exist, guarded by owner

	f func(i int)
	n int64

	_        [64]byte
	next     atomic.Int64 // the next index to hand out
	_        [64]byte
	state    atomic.Uint64 // helpers inside the call, and free seats: see join
	_        [64]byte
	sleepers atomic.Int64 // workers that wait for wake
	resting  atomic.Int64 // calls of Rest that are not over
	waiting  atomic.Bool  // the owner waits for left

	mu      sync.Mutex // guards:
	failed  bool       // a helper panicked, with:
	failure any

	wake chan struct{} // wakes a worker
	left chan struct{} // wakes the owner
}

const (
	maxWorkers = 1024
	oneInside  = 1 << 32 // in pool.state; the lower half is the free seats
	// patience is how often a worker or an owner spins before it sleeps: about a fifth of a millisecond.
	patience = 200_000
	// longestRest is how many milliseconds a worker rests before each index.
	longestRest = 500
)

var workers = &pool{wake: make(chan struct{}, maxWorkers), left: make(chan struct{}, 1)}

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

// Rest has Parallel do next to nothing until the function that it gives is called, so that something else that is
// urgent has the processors. It is not meant for what calls Parallel itself.
func Rest() (over func()) {
	workers.resting.Add(1)
	return func() { workers.resting.Add(-1) }
}

// Parallel calls f(0), f(1) … f(n-1), which begin in this order, on up to Threads goroutines, and returns when all
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

// work calls f until no index is left. If f does not return, nobody takes another index.
func (p *pool) work() {
	done := false
	defer func() {
		if !done {
			p.next.Store(p.n)
		}
	}()
	for i := p.next.Add(1) - 1; i < p.n; i = p.next.Add(1) - 1 {
		for range longestRest {
			if p.resting.Load() == 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		p.f(int(i))
	}
	done = true
}

// admit opens the call to helpers and wakes as many as it needs.
func (p *pool) admit(helpers int) {
	p.state.Store(uint64(helpers))
	for ; p.workers < helpers; p.workers++ {
		go p.worker()
	}
	for range min(int(p.sleepers.Load()), helpers) {
		select {
		case p.wake <- struct{}{}:
		default: // enough wakes are pending
		}
	}
}

// finish closes the call, waits for its helpers, and passes on their panic.
func (p *pool) finish() {
	p.state.And(^uint64(oneInside - 1))
	p.waitEmpty()
	p.f = nil
	p.mu.Lock()
	failed, failure := p.failed, p.failure
	p.failed, p.failure = false, nil
	p.mu.Unlock()
	if failed {
		panic(failure)
	}
}

// waitEmpty waits until no helper is inside the call.
func (p *pool) waitEmpty() {
	for range p.patience() {
		if p.state.Load() == 0 {
			return
		}
	}
	p.waiting.Swap(true) // not Store: emulators let the Load below overtake one, and then nobody wakes the owner
	for p.state.Load() != 0 {
		<-p.left
	}
	p.waiting.Store(false)
}

// patience is how often to spin before sleeping: never where threads outnumber processors, since spinning keeps others
// from running.
func (p *pool) patience() int {
	if Threads() > runtime.GOMAXPROCS(0) {
		return 0
	}
	return patience
}

// worker is one goroutine of the pool: it joins calls as they open.
func (p *pool) worker() {
	defer func() { go p.worker() }() // only when f called runtime.Goexit
	debug.SetPanicOnFault(true)      // a map whose file is gone: the caller, who gets the panic, knows what to say
	for {
		p.await()
		if p.join() {
			p.help()
		}
	}
}

// await returns when a call is probably open.
func (p *pool) await() {
	for range p.patience() {
		if p.open() {
			return
		}
	}
	p.sleepers.Add(1)
	if !p.open() {
		<-p.wake
	}
	p.sleepers.Add(-1)
}

// open says whether there is a call with a free seat.
func (p *pool) open() bool { return p.state.Load()&(oneInside-1) != 0 }

// join takes a seat, if there is one.
func (p *pool) join() bool {
	for {
		s := p.state.Load()
		if s&(oneInside-1) == 0 {
			return false
		}
		if p.state.CompareAndSwap(s, s-1+oneInside) {
			return true
		}
	}
}

// help does its share of the open call, and leaves it.
func (p *pool) help() {
	returned := false
	defer func() {
		failure := recover()
		if !returned && failure != nil {
			p.mu.Lock()
			p.failed, p.failure = true, failure
			p.mu.Unlock()
		}
		p.state.Add(^uint64(oneInside - 1))
		if p.waiting.Load() {
			select {
			case p.left <- struct{}{}:
			default: // the owner will look anyway
			}
		}
	}()
	p.work()
	returned = true
}
