//go:build mpi

package mpi

/*
#include "engine.h"
*/
import "C"

import (
	"fmt"
	"os"
	"strconv"
	"time"
	"unsafe"
)

// Messages on the communicator for control.
const (
	tagAlive       = iota + 1 // to the next rank, again and again
	tagInterrupted            // to all, once
	tagSaved                  // of rank 0, to all, once
)

const (
	// beat is the time from one sign of life to the next.
	beat = time.Second
	// patience is how long a rank may give none: PEFTCONV_HEARTBEAT in seconds, or this.
	patience = 15 * time.Second
	// gap is how long this process may have stood still itself before it expects too much of others.
	gap = 5 * time.Second
)

// life is what the engine knows of the life of other ranks. Each sends signs to the next, so each is watched by one.
type life struct {
	*engine
	patience     time.Duration
	sent, looked time.Time // the last sign of life, and the last look
	heard        time.Time // when the rank before gave its last
	told         [3]bool   // by tag: what was said to all
	stopped      bool      // another rank was interrupted
	waiting      *operation
}

func (l *life) begin(e *engine) {
	now := time.Now()
	l.engine, l.patience = e, patience
	l.heard, l.looked = now, now
	if s, err := strconv.ParseFloat(os.Getenv("PEFTCONV_HEARTBEAT"), 64); err == nil && s > 0 {
		l.patience = time.Duration(s * float64(time.Second))
	}
}

// tend sends a sign of life where one is due, and takes those of others.
func (l *life) tend() {
	now := time.Now()
	if now.Sub(l.looked) < idle/2 {
		return
	}
	if now.Sub(l.looked) > gap { // this process was stopped, or the machine slept
		l.heard = now
	}
	l.looked = now
	for l.take(now) {
	}
	if now.Sub(l.sent) >= beat && !l.under() {
		l.sent = now
		l.waiting = l.post((l.rank+1)%l.size, tagAlive)
	}
	if before := (l.rank + l.size - 1) % l.size; l.size > 1 && now.Sub(l.heard) > l.patience {
		l.fail(fmt.Sprintf("%s has given no sign of life for %.0f s", l.name(before), now.Sub(l.heard).Seconds()))
	}
}

// under says whether the last sign of life is still on its way.
func (l *life) under() bool {
	if l.waiting == nil {
		return false
	}
	select {
	case <-l.waiting.ended:
		return false
	default:
		return true
	}
}

// post begins to send a message.
func (l *life) post(to, tag int) *operation {
	o := &operation{ended: make(chan struct{})}
	req := C.no_request()
	var nothing C.char
	rc := C.post(l.control, C.int(to), C.int(tag), unsafe.Pointer(&nothing), 0, &o.copy, &req)
	if err := failure("MPI_Isend to "+l.name(to), rc); err != nil {
		o.end(err)
		l.fail(err.Error())
		return o
	}
	l.requests, l.operations = append(l.requests, req), append(l.operations, o)
	return o
}

// take takes a message, if one is there.
func (l *life) take(now time.Time) bool {
	var from, tag, size C.int
	var data [8]byte
	rc := C.take(l.control, &from, &tag, unsafe.Pointer(&data[0]), C.int(len(data)), &size)
	if err := failure("MPI_Iprobe", rc); err != nil {
		l.fail(err.Error())
		return false
	}
	switch {
	case from < 0:
		return false
	case tag == tagAlive:
		l.heard = now
	case tag == tagInterrupted && !l.stopped:
		l.stopped = true
		close(l.interrupted)
	case tag == tagSaved:
		close(l.saved)
	}
	return true
}

// tell says something to all other ranks, once.
func (l *life) tell(tag int) {
	if l.told[tag-1] {
		return
	}
	l.told[tag-1] = true
	for r := range l.size {
		if r != l.rank {
			l.post(r, tag)
		}
	}
}

// Interrupt implements dist.World.
func (e *engine) Interrupt() { e.do(func() { e.life.tell(tagInterrupted) }) }

// Interrupted implements dist.World.
func (e *engine) Interrupted() <-chan struct{} { return e.interrupted }
