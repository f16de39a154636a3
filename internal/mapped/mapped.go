package mapped

import (
	"fmt"
	"math"
	"os"
	"sync"
	"unsafe"
)

// File is a read-only map of a whole file.
type File struct {
	mu   sync.Mutex
	data []byte
	mapd bool // data is a map, which Close has to end
}

// Open maps the file at path. The file is closed again: the map lives on without it. A path that names something other
// than a regular file (a directory, a pipe) is refused, because it cannot be mapped whole.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: is a %s, expected a file", path, kind(info.Mode()))
	}
	m, err := newFile(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("map %s (%d bytes): %w", path, info.Size(), err)
	}
	return m, nil
}

func newFile(f *os.File, size int64) (*File, error) {
	if size == 0 {
		return &File{}, nil // no system maps nothing
	}
	if size > math.MaxInt {
		return nil, fmt.Errorf("larger than this machine's address space")
	}
	data, err := mmap(f, int(size))
	if err != nil {
		return nil, err
	}
	return &File{data: data, mapd: true}, nil
}

// kind names the kind of a file that is not regular.
func kind(m os.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&os.ModeNamedPipe != 0:
		return "pipe"
	case m&os.ModeSocket != 0:
		return "socket"
	}
	return "device"
}

// Bytes is the file's content. It must not be written to, nor used after Close.
func (f *File) Bytes() []byte { return f.data }

// Close unmaps the file. A second Close does nothing.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	data, mapd := f.data, f.mapd
	f.data, f.mapd = nil, false
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
