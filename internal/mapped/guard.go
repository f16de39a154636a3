package mapped

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
	"slices"
	"sync"
	"syscall"
	"unsafe"
)

// open are the maps of this process, which faults and changes are looked up in.
var open struct {
	sync.Mutex
	files  map[*File]bool
	closed []closedMap // the last ones: a panic closes maps on its way to the Guard
	change error       // that was seen when a map was closed
}

// closedMap is what is left to say of a map.
type closedMap struct {
	start, size uintptr
	fault       FaultError
}

// closedMaps is how many closed maps are remembered; a model has fewer files.
const closedMaps = 1024

func enter(m *File) {
	open.Lock()
	defer open.Unlock()
	if open.files == nil {
		open.files = map[*File]bool{}
	}
	open.files[m] = true
}

// leave forgets a map that is about to be closed.
func leave(m *File) {
	open.Lock()
	defer open.Unlock()
	if !open.files[m] {
		return
	}
	delete(open.files, m)
	if open.change == nil {
		open.change = m.Changed()
	}
	if len(open.closed) == closedMaps {
		open.closed = open.closed[1:]
	}
	if m.mapd {
		open.closed = append(open.closed, closedMap{m.start(), uintptr(len(m.data)), *m.fault(0)})
	}
}

// start is the address of the first byte.
func (m *File) start() uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(m.data))) }

// each calls f for the open maps until it returns an error.
func each(f func(m *File) error) error {
	open.Lock()
	defer open.Unlock()
	for m := range open.files {
		if err := f(m); err != nil {
			return err
		}
	}
	return nil
}

// A FaultError says that a part of a mapped file could not be read.
type FaultError struct {
	Path   string
	Offset int64 // in the file, of the byte that was read; -1 where that is not known
	Size   int64 // of the file when it was opened
	Now    int64 // of the file now
}

// Error implements error.
func (e *FaultError) Error() string {
	at := ""
	if e.Offset >= 0 {
		at = fmt.Sprintf(" at byte %d", e.Offset)
	}
	if e.Now < e.Size {
		return fmt.Sprintf("%s%s: the file became shorter while it was read: it had %d bytes, now it has %d", e.Path, at,
			e.Size, e.Now)
	}
	return fmt.Sprintf("%s%s: the system could not read this part of the file (%d bytes): the disk or the network that "+
		"it is on may be failing", e.Path, at, e.Size)
}

// Guard makes errors of faults in maps: the function that it returns, deferred, puts a [FaultError] into err. It
// works for what the calling goroutine does, and for the kernels, whose threads hand their faults to the goroutine
// that called them; other goroutines need a Guard of their own. Other panics go on.
//
//	defer mapped.Guard(&err)()
func Guard(err *error) (deferred func()) {
	before := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(before)
		if r := recover(); r != nil {
			fault := faultOf(r)
			if fault == nil {
				panic(r)
			}
			*err = fault
		}
		// The system's copying does not fault, it returns an error that knows no file.
		if *err != nil && errors.Is(*err, syscall.EFAULT) {
			if fault := shortened(); fault != nil {
				*err = fault
			}
		}
	}
}

// addressed is what the runtime's error of a fault has, by the documentation of debug.SetPanicOnFault.
type addressed interface{ Addr() uintptr }

// faultOf is the fault that a panic was about, or nil.
func faultOf(r any) error {
	fault, ok := r.(addressed)
	if !ok {
		return nil
	}
	addr := fault.Addr()
	err := each(func(m *File) error {
		if m.mapd && addr-m.start() < uintptr(len(m.data)) {
			return m.fault(int64(addr - m.start()))
		}
		return nil
	})
	if err != nil {
		return err
	}
	open.Lock()
	defer open.Unlock()
	for _, m := range slices.Backward(open.closed) {
		if addr-m.start < m.size {
			m.fault.Offset = int64(addr - m.start)
			return &m.fault
		}
	}
	return nil
}

// fault is the error of reading at an offset.
func (m *File) fault(offset int64) *FaultError {
	e := &FaultError{Path: m.path, Offset: offset, Size: m.size, Now: m.size}
	if info, err := m.f.Stat(); err == nil {
		e.Now = info.Size()
	}
	return e
}

// shortened is the error of a map whose file is shorter than it was, or else of the only one.
func shortened() error {
	var only *File
	n := 0
	err := each(func(m *File) error {
		only, n = m, n+1
		if info, err := m.f.Stat(); err == nil && info.Size() < m.size {
			return m.fault(-1)
		}
		return nil
	})
	if err == nil && n == 1 {
		return only.fault(-1)
	}
	if err == nil {
		open.Lock()
		defer open.Unlock()
		var fault *FaultError
		if errors.As(open.change, &fault) {
			return fault
		}
	}
	return err
}

// A ChangedError says that another program has written to a mapped file since it was opened.
type ChangedError struct{ Path string }

// Error implements error.
func (e *ChangedError) Error() string {
	return fmt.Sprintf("%s: was changed by another program while it was read, so that the result may be wrong: "+
		"run the command again", e.Path)
}

// Info is what the system says of the file that was mapped as path, even if another one has that name now; nil where
// there is no such map.
func Info(path string) (info fs.FileInfo) {
	_ = each(func(m *File) error {
		if m.path == path {
			info, _ = m.f.Stat()
		}
		return nil
	})
	return info
}

// Changed is a [ChangedError] if one of the open maps' files is not as it was when it was opened, by its size and
// time of change. A file that has been replaced by another of its name is unchanged: the map has the old one.
func Changed() error { return each((*File).Changed) }

// EverChanged is Changed also of all maps that the process has closed, up to the time when they were: for a program
// that does one thing and ends.
func EverChanged() error {
	open.Lock()
	err := open.change
	open.Unlock()
	if err != nil {
		return err
	}
	return Changed()
}

// Changed is [Changed] of one map.
func (m *File) Changed() error {
	info, err := m.f.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", m.path, err)
	case info.Size() < m.size:
		return m.fault(-1)
	case info.Size() != m.size || !info.ModTime().Equal(m.time):
		return &ChangedError{m.path}
	}
	return nil
}
