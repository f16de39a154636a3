package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/dist"
)

// patience is how long a verb may take to end by itself after an interruption.
const patience = 700 * time.Millisecond

// ending ends the process where it is to end before its verb does. The first signal cancels the context of the verb,
// which most verbs notice at once. One that has not ended when patience is over, or at a second signal, is ended from
// outside: what it has asked for by BeforeEnd is done, temporary files are removed, and the process exits. A third
// signal does not even wait for what is being saved.
type ending struct {
	signals chan os.Signal
	begun   sync.Once

	mu    sync.Mutex // held for ever once the process is ended from outside
	errs  *output
	name  string // of the program and the verb
	saves []*func()
}

// Main runs the program as the process's own, over its arguments and streams, and returns the exit status.
func (p *Program) Main() int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	e := &ending{signals: make(chan os.Signal, 3)}
	// Somebody who listens to SIGPIPE gets an error in its place, and can clean up.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signal.Notify(e.signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-e.signals
		cancel()
		e.begin(ExitInterrupted)
	}()
	status := p.Run(ctx, os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, ending: e})
	e.mu.Lock() // unless the process is being ended
	dist.Now().Leave(status)
	return status
}

// report says where the end of the process is reported, and by which name.
func (e *ending) report(errs *output, name string) {
	if e != nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.errs, e.name = errs, name
	}
}

// begin gives the verb time to end by itself, and ends the process with a status where it has not.
func (e *ending) begin(status int) {
	if e != nil {
		e.begun.Do(func() {
			runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0)) // so that what saves need not wait for what computes
			go e.end(status)
		})
	}
}

// end ends the process.
func (e *ending) end(status int) {
	select {
	case <-e.signals:
	case <-time.After(patience):
	}
	saved := make(chan struct{})
	go func() {
		e.save()
		close(saved)
	}()
	select {
	case <-saved:
	case <-e.signals:
	}
	e.mu.Lock()
	atomicfile.AbortAll()
	if status == ExitInterrupted {
		e.errs.last(fmt.Sprintf("%s: interrupted\n", e.name))
	}
	os.Exit(status)
}

// save does what is asked for by BeforeEnd, the latest first.
func (e *ending) save() {
	e.mu.Lock()
	saves := slices.Clone(e.saves)
	e.mu.Unlock()
	for _, f := range slices.Backward(saves) {
		(*f)()
	}
}

// BeforeEnd has f called, and waited for, where an interruption ends the process before the verb has ended. f is called
// while the verb goes on. The function that it gives says that f is not needed any more.
func (s Streams) BeforeEnd(f func()) (done func()) {
	e := s.ending
	if e == nil {
		return func() {}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.saves = append(e.saves, &f)
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.saves = slices.DeleteFunc(e.saves, func(g *func()) bool { return g == &f })
	}
}

// last writes the last line of the process; what other goroutines write after it waits. A stream that blocks is left
// alone.
func (o *output) last(line string) {
	if o == nil {
		return
	}
	for range 10 {
		if o.mu.TryLock() {
			if o.file != nil {
				line = "\n" + line // below a bar
			}
			o.write([]byte(line))
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}
