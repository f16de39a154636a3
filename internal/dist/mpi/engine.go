//go:build mpi

package mpi

/*
#include "engine.h"
*/
import "C"

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/peftconv/peftconv/internal/dist"
)

func init() { dist.Engine(Library(), func() (dist.World, error) { return join() }) }

// Library names the MPI library.
func Library() string {
	var text [C.MPI_MAX_LIBRARY_VERSION_STRING]C.char
	var n C.int
	C.MPI_Get_library_version(&text[0], &n)
	line, _, _ := strings.Cut(C.GoStringN(&text[0], n), ",")
	first, _, _ := strings.Cut(line, "\n")
	return strings.Join(strings.Fields(first), " ")
}

// engine is the World. One goroutine, on a thread of its own, makes all calls of MPI: it begins what the others ask
// for, tests what was begun, and sends and expects signs of life. None of its calls waits for another rank.
type engine struct {
	comm        // of the world
	control     C.MPI_Comm
	names       []string
	threads     int
	commands    chan func()
	wake        *C.int
	requests    []C.MPI_Request // under way
	operations  []*operation    // of each
	life        life
	interrupted chan struct{} // closed when another rank was
	saved       chan struct{} // closed when rank 0 has left after an interruption
	leaving     atomic.Bool
	abortOnce   sync.Once
}

// operation is what was begun.
type operation struct {
	pins  runtime.Pinner
	sizes *C.int         // freed at the end
	copy  unsafe.Pointer // likewise
	ended chan struct{}
	err   error
}

// Wait implements dist.Request.
func (o *operation) Wait(ctx context.Context) error {
	select {
	case <-o.ended:
		return o.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// comm is a communicator.
type comm struct {
	*engine
	handle     C.MPI_Comm
	rank, size int
}

func (c comm) Rank() int { return c.rank }
func (c comm) Size() int { return c.size }

// join starts MPI.
func join() (*engine, error) {
	if os.Getenv("GOTRACEBACK") == "" {
		debug.SetTraceback("none") // where a transport of the library aborts the process because another one has died
	}
	e := &engine{
		commands: make(chan func(), 64), wake: (*C.int)(C.calloc(1, C.sizeof_int)),
		interrupted: make(chan struct{}), saved: make(chan struct{}),
	}
	e.comm.engine = e
	started := make(chan error)
	go e.run(started)
	if err := <-started; err != nil {
		return nil, err
	}
	return e, e.meet()
}

// failure is the error of a call of MPI, or nil.
func failure(call string, rc C.int) error {
	if rc == C.MPI_SUCCESS {
		return nil
	}
	var text [C.MPI_MAX_ERROR_STRING]C.char
	var n C.int
	C.MPI_Error_string(rc, &text[0], &n)
	return fmt.Errorf("%s: %s", call, C.GoStringN(&text[0], n))
}

// The times of the engine's pauses. While something is under way it tests often, and does not sleep at first.
const (
	busyMicros = 50
	mostMicros = 2000
	idle       = 10 * time.Millisecond
)

// run makes all calls of MPI until the process ends.
func (e *engine) run(started chan<- error) {
	runtime.LockOSThread()
	err := failure("MPI_Init_thread", C.begin(&e.control))
	var rank, size C.int
	if err == nil {
		C.MPI_Comm_rank(C.world(), &rank)
		C.MPI_Comm_size(C.world(), &size)
	}
	e.comm = comm{e, C.world(), int(rank), int(size)}
	e.life.begin(e)
	started <- err
	for err == nil {
		select {
		case command := <-e.commands:
			command()
			continue
		default:
		}
		if e.test(); len(e.requests) > 0 {
			e.life.tend()
			continue
		}
		select {
		case command := <-e.commands:
			command()
		case <-time.After(idle):
		}
		e.life.tend()
	}
}

// do has the engine do something, and does not wait for it.
func (e *engine) do(command func()) {
	e.commands <- command
	C.set_wake(e.wake)
}

// test ends what has ended.
func (e *engine) test() {
	n := len(e.requests)
	if n == 0 {
		return
	}
	ended := make([]C.int, n)
	var count C.int
	rc := C.progress(C.int(n), &e.requests[0], &ended[0], &count, e.wake, busyMicros, mostMicros)
	if err := failure("waiting for other ranks", rc); err != nil {
		e.fail(err.Error())
		return
	}
	for _, i := range ended[:count] {
		e.operations[i].end(nil)
		e.operations[i] = nil
	}
	if count == 0 {
		return
	}
	left := 0
	for i, o := range e.operations {
		if o != nil {
			e.requests[left], e.operations[left] = e.requests[i], o
			left++
		}
	}
	clear(e.operations[left:])
	e.requests, e.operations = e.requests[:left], e.operations[:left]
}

// end gives back what an operation has, and ends it.
func (o *operation) end(err error) {
	o.err = err
	o.pins.Unpin()
	C.free(unsafe.Pointer(o.sizes))
	C.free(o.copy)
	close(o.ended)
}

// begin has the engine begin an operation over some memory.
func (e *engine) begin(name string, call func(o *operation, req *C.MPI_Request) C.int, memory ...[]byte) dist.Request {
	o := &operation{ended: make(chan struct{})}
	for _, m := range memory {
		if len(m) > 0 {
			o.pins.Pin(&m[0])
		}
	}
	e.do(func() {
		req := C.no_request()
		if err := failure(name, call(o, &req)); err != nil {
			o.end(err)
			return
		}
		e.requests, e.operations = append(e.requests, req), append(e.operations, o)
	})
	return o
}

// pointer is where memory begins.
func pointer(m []byte) unsafe.Pointer {
	if len(m) == 0 {
		return nil
	}
	return unsafe.Pointer(&m[0])
}

// counts are sizes as MPI takes them: they have to fit into 31 bits, with their sum.
func counts(sizes []int) ([]C.int, error) {
	all, sum := make([]C.int, len(sizes)), 0
	for i, n := range sizes {
		all[i] = C.int(n)
		sum += n
	}
	if sum > math.MaxInt32 {
		return nil, fmt.Errorf("%d bytes at once, at most %d are possible", sum, math.MaxInt32)
	}
	return all, nil
}

// refused is a request that could not begin.
func refused(err error) dist.Request {
	o := &operation{ended: make(chan struct{}), err: err}
	close(o.ended)
	return o
}

// AllToAll implements dist.Comm by MPI_Ialltoallv.
func (c comm) AllToAll(send []byte, sendSizes []int, recv []byte, recvSizes []int) dist.Request {
	out, err := counts(sendSizes)
	if err != nil {
		return refused(err)
	}
	in, err := counts(recvSizes)
	if err != nil {
		return refused(err)
	}
	return c.begin("MPI_Ialltoallv", func(o *operation, req *C.MPI_Request) C.int {
		o.sizes = C.sizes_of(C.int(c.size), &out[0], &in[0])
		return C.all_to_all(c.handle, C.int(c.size), pointer(send), pointer(recv), o.sizes, req)
	}, send, recv)
}

// AllGather implements dist.Comm by MPI_Iallgatherv.
func (c comm) AllGather(send []byte, recv []byte, recvSizes []int) dist.Request {
	in, err := counts(recvSizes)
	if err != nil {
		return refused(err)
	}
	return c.begin("MPI_Iallgatherv", func(o *operation, req *C.MPI_Request) C.int {
		o.sizes = C.sizes_of(C.int(c.size), nil, &in[0])
		return C.all_gather(c.handle, C.int(c.size), C.int(len(send)), pointer(send), pointer(recv), o.sizes, req)
	}, send, recv)
}

// Broadcast implements dist.Comm by MPI_Ibcast.
func (c comm) Broadcast(data []byte) dist.Request {
	if len(data) > math.MaxInt32 {
		return refused(fmt.Errorf("%d bytes at once, at most %d are possible", len(data), math.MaxInt32))
	}
	return c.begin("MPI_Ibcast", func(_ *operation, req *C.MPI_Request) C.int {
		return C.broadcast(c.handle, pointer(data), C.int(len(data)), req)
	}, data)
}

// Barrier implements dist.Comm by MPI_Ibarrier.
func (c comm) Barrier() dist.Request {
	return c.begin("MPI_Ibarrier", func(_ *operation, req *C.MPI_Request) C.int { return C.MPI_Ibarrier(c.handle, req) })
}

// Dup implements dist.Comm by MPI_Comm_dup, the one call that waits for the other ranks.
func (c comm) Dup() (dist.Comm, error) {
	if err := c.Barrier().Wait(context.Background()); err != nil {
		return nil, err
	}
	other := comm{c.engine, c.handle, c.rank, c.size}
	made := make(chan error)
	c.do(func() { made <- failure("MPI_Comm_dup", C.MPI_Comm_dup(c.handle, &other.handle)) })
	return other, <-made
}

// Names implements dist.World.
func (e *engine) Names() []string { return e.names }

// Threads implements dist.World.
func (e *engine) Threads() int { return e.threads }

// meet tells the ranks about each other.
func (e *engine) meet() error {
	me := describe()
	texts, err := dist.Texts(context.Background(), e.comm, me)
	if err != nil {
		return err
	}
	e.names, e.threads = share(texts, e.rank)
	return nil
}

// fail ends all ranks for a reason, which is printed.
func (e *engine) fail(reason string) {
	if e.leaving.Load() {
		reason = ""
	}
	if reason != "" {
		fmt.Fprintf(os.Stderr, "peftconv: %s: %s; all ranks end\n", e.name(e.rank), reason)
	}
	e.abort(1)
}

// name names a rank.
func (e *engine) name(rank int) string {
	if rank < len(e.names) {
		return fmt.Sprintf("rank %d of %d on %s", rank, e.size, e.names[rank])
	}
	return fmt.Sprintf("rank %d of %d", rank, e.size)
}

// abort ends all processes of the run. The engine calls it.
func (e *engine) abort(status int) {
	e.abortOnce.Do(func() {
		time.Sleep(forwarding)
		time.AfterFunc(5*time.Second, func() { os.Exit(status) }) // where the launcher cannot be reached
		C.MPI_Abort(C.world(), C.int(status))
		os.Exit(status)
	})
}

// Leave implements dist.World.
func (e *engine) Leave(status int) {
	e.leaving.Store(true)
	switch {
	case status == 0:
		if err := e.Barrier().Wait(context.Background()); err == nil {
			over := make(chan struct{})
			time.Sleep(settling)
			e.do(func() {
				time.Sleep(settling)
				C.MPI_Finalize()
				close(over)
				select {} // MPI must not be called any more
			})
			select {
			case <-over:
			case <-time.After(patience):
				fmt.Fprintf(os.Stderr, "peftconv: %s: MPI_Finalize has not ended in %v; the rank ends without it\n",
					e.name(e.rank), patience)
			}
			return
		}
	case status == interrupted && e.rank == 0:
		e.do(func() { e.life.tell(tagSaved) })
		time.Sleep(100 * time.Millisecond)
	case status == interrupted:
		select {
		case <-e.saved:
			time.Sleep(time.Second) // rank 0 ends all
		case <-time.After(time.Minute):
		}
	}
	e.do(func() { e.abort(status) })
	time.Sleep(10 * time.Second)
}

// settling is the pause that a rank makes twice before MPI_Finalize, first still answering the others, then not. In
// MPICH before 4.2 over UCX, MPI_Finalize wants an answer of each other rank and then answers none itself: a rank that
// has answered before its own call would wait in vain. When the first rank calls it, none answers before its own call.
const settling = 50 * time.Millisecond

// forwarding is the time that launchers have to pass on what was printed, before they end all.
const forwarding = 300 * time.Millisecond

// interrupted is the exit status of a process that was.
const interrupted = 130
