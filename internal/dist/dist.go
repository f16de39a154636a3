// Package dist joins the processes of a run that several share: their ranks, and what they send to each other. Without
// a launcher such as mpirun a process is alone, and is rank 0 of 1.
package dist

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Comm joins the processes of a run, as a communicator of MPI does (MPI 4.0, chapter 7). All ranks begin the same
// operations of a Comm in the same order. Buffers belong to an operation until its Request has ended.
type Comm interface {
	Rank() int // of this process, from 0
	Size() int // how many processes there are
	// AllToAll sends the parts of send, of the given numbers of bytes, to the ranks in order, and puts what they send to
	// this one into the parts of recv.
	AllToAll(send []byte, sendSizes []int, recv []byte, recvSizes []int) Request
	// AllGather sends a part to every rank, and puts the parts of all ranks, this one's too, into recv.
	AllGather(send []byte, recv []byte, recvSizes []int) Request
	// Broadcast overwrites data with that of rank 0.
	Broadcast(data []byte) Request
	// Barrier ends when all ranks have begun it.
	Barrier() Request
	// Dup is another Comm of the same ranks, whose operations do not mix with those of this one. All ranks call it.
	Dup() (Comm, error)
}

// Request is an operation that was begun.
type Request interface {
	// Wait waits for its end, or until ctx is cancelled.
	Wait(ctx context.Context) error
}

// World is the Comm of all processes of a run, with what concerns their life.
type World interface {
	Comm
	// Names are the host names of the ranks.
	Names() []string
	// Threads is the number of processors that are this process's: its share of those that it may use, where other ranks
	// on the machine may use the same ones. 0: all.
	Threads() int
	// Interrupt has all ranks stop what they do.
	Interrupt()
	// Interrupted is closed when another rank was interrupted.
	Interrupted() <-chan struct{}
	// Leave ends this process's part with an exit status: with 0 after all ranks have called it, and otherwise with
	// that of all ranks. After an interruption (status 130) that is once rank 0 has called it.
	Leave(status int)
}

// Single is a process that is alone.
type Single struct{}

// Rank is 0.
func (Single) Rank() int { return 0 }

// Size is 1.
func (Single) Size() int { return 1 }

// AllToAll copies.
func (Single) AllToAll(send []byte, _ []int, recv []byte, _ []int) Request {
	copy(recv, send)
	return done{}
}

// AllGather copies.
func (Single) AllGather(send []byte, recv []byte, _ []int) Request {
	copy(recv, send)
	return done{}
}

// Broadcast does nothing.
func (Single) Broadcast([]byte) Request { return done{} }

// Barrier does nothing.
func (Single) Barrier() Request { return done{} }

// Dup is the same.
func (Single) Dup() (Comm, error) { return Single{}, nil }

// Names is the one name, empty.
func (Single) Names() []string { return []string{""} }

// Threads is 0: all.
func (Single) Threads() int { return 0 }

// Interrupt does nothing.
func (Single) Interrupt() {}

// Interrupted is never closed.
func (Single) Interrupted() <-chan struct{} { return nil }

// Leave does nothing.
func (Single) Leave(int) {}

// done is a Request that has ended.
type done struct{}

func (done) Wait(context.Context) error { return nil }

var (
	mu      sync.Mutex
	world   World                 = Single{}
	engine  func() (World, error) // that is built in; nil: none
	library string                // of it
)

// Engine builds an engine in, of a library: join makes the World of a process that a launcher has started.
func Engine(name string, join func() (World, error)) { engine, library = join, name }

// Now is the World of this process: Single, unless Join has made another.
func Now() World {
	mu.Lock()
	defer mu.Unlock()
	return world
}

// ErrNoEngine is the error of a process that is one of several and has no engine to reach the others by.
var ErrNoEngine = errors.New("this build of peftconv has no MPI")

// Join makes the World of this process. One that no launcher has started is alone. An error is ErrNoEngine, or the
// engine's.
func Join() (World, error) {
	mu.Lock()
	defer mu.Unlock()
	l := Launched()
	if world.Size() > 1 || l.Launcher == "" {
		return world, nil
	}
	if engine == nil {
		if l.Size < 2 {
			return world, nil
		}
		return nil, fmt.Errorf("%s started this process as rank %d of %d, but %w: build one with "+
			"\"go build -tags mpi ./cmd/peftconv\" (docs/cluster.md)", l.Launcher, l.Rank, l.Size, ErrNoEngine)
	}
	w, err := engine()
	if err != nil {
		return nil, err
	}
	if l.Size != 0 && l.Size != w.Size() {
		return nil, fmt.Errorf("%s started this process as rank %d of %d, but by its MPI library (%s) it is one of %d: the "+
			"launcher has to be of the same MPI (docs/cluster.md)", l.Launcher, l.Rank, l.Size, library, w.Size())
	}
	world = w
	return w, nil
}
