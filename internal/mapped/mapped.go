package mapped

import (
	"fmt"
	"math"
	"os"
	"sync"
	"time"
	"unsafe"

	"github.com/peftconv/peftconv/internal/infile"
)

// File is a read-only map of a whole file.
type File struct {
	path string
	f    *os.File // says what becomes of the file, also after its name is another's
	size int64    // of the file when it was opened
	time time.Time

	mu   sync.Mutex
	data []byte
	mapd bool // data is a map, which Close has to end
}

// Open maps the file at path. A path that names something other than a regular file (a directory, a pipe) is refused,
// because it cannot be mapped whole.
func Open(path string) (*File, error) {
	f, err := infile.Open(path)
	if err != nil {
		return nil, err
	}
	m := &File{path: path, f: f}
	if err := m.open(); err != nil {
		f.Close()
		return nil, fmt.Errorf("map %s (%d bytes): %w", path, m.size, err)
	}
	enter(m)
	return m, nil
}

func (m *File) open() error {
	info, err := m.f.Stat()
	if err != nil {
		return err
	}
	m.size, m.time = info.Size(), info.ModTime()
	switch {
	case m.size == 0:
		return nil // no system maps nothing
	case m.size > math.MaxInt:
		return fmt.Errorf("larger than this machine's address space")
	}
	m.data, err = mmap(m.f, int(m.size))
	m.mapd = err == nil
	return err
}

// Bytes is the file's content. It must not be written to, nor used after Close.
func (m *File) Bytes() []byte { return m.data }

// Close unmaps the file. A second Close does nothing.
func (m *File) Close() error {
	leave(m)
	m.mu.Lock()
	defer m.mu.Unlock()
	data, mapd := m.data, m.mapd
	m.data, m.mapd = nil, false
	m.f.Close()
	if !mapd {
		return nil
	}
	return munmap(data)
}

// Discard tells the system that the pages wholly inside b, a part of Bytes, will not be needed soon, so that a program
// that reads a large file once does not appear to hold all of it. The bytes stay valid: touching them again reads them
// again. It is a hint, and does nothing on systems without such a call.
func Discard(b []byte) {
	page := uintptr(os.Getpagesize())
	start := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	skip := -start & (page - 1) // bytes before the first page boundary
	if uintptr(len(b)) < skip+page {
		return
	}
	whole := (uintptr(len(b)) - skip) &^ (page - 1)
	discard(b[skip : skip+whole])
}

// Release is [Discard] for bytes that may be of no open map; it does nothing to those.
func Release(b []byte) {
	if len(b) == 0 {
		return
	}
	start := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	_ = each(func(m *File) error {
		if at := start - m.start(); m.mapd && at < uintptr(len(m.data)) && uintptr(len(b)) <= uintptr(len(m.data))-at {
			Discard(b)
		}
		return nil
	})
}
