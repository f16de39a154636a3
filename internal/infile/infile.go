// Package infile opens files that are read. What is not a regular file is refused where one is meant: a pipe would wait
// for ever, a device may have no end. What is read whole has a limit, so that a wrong file does not take all memory.
package infile

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/term"
)

// The most bytes that files of a kind may have that are read whole. Each is many times what is seen of its kind.
const (
	Config    = 16 << 20  // configurations, chat templates, model cards
	Index     = 256 << 20 // indexes of shards, tokenizers
	Text      = 64 << 20  // prompts and lists of words
	Pointer   = 64 << 10  // a path, a commit
	Held      = 1 << 30   // standard input that is read again
	Table     = 8 << 30   // importance matrices, states of a runtime
	Unlimited = 1<<63 - 1
)

// Open opens a regular file, through symbolic links. Anything else, such as a directory or a pipe, is an error that
// says what it is.
func Open(path string) (*os.File, error) { return open(path, path, os.O_RDONLY) }

// OpenWith is Open with flags of os.OpenFile, such as those to write to a file that is there.
func OpenWith(path string, flag int) (*os.File, error) { return open(path, path, flag) }

// open is OpenWith; name is what errors call the file.
func open(path, name string, flag int) (*os.File, error) {
	// Without waiting: opening a pipe that nobody writes to would stop here. For a regular file it changes nothing.
	f, err := os.OpenFile(path, flag|nonblock, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = Regular(name, info)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Regular is the error of a file that is not a regular one, nil of one that is.
func Regular(path string, info fs.FileInfo) error {
	if info.Mode().IsRegular() {
		return nil
	}
	return fmt.Errorf("open %s: is a %s, expected a regular file", path, Kind(info.Mode()))
}

// Kind names the kind of a file that is not regular.
func Kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&fs.ModeNamedPipe != 0:
		return "pipe"
	case m&fs.ModeSocket != 0:
		return "socket"
	}
	return "device"
}

// Read is the content of a regular file of at most limit bytes.
func Read(path string, limit int64) ([]byte, error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readFile(f, path, limit)
}

// readFile is Read of a file that is open.
func readFile(f fs.File, name string, limit int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, tooLarge(name, fmt.Sprintf("has %d bytes", info.Size()), limit)
	}
	// At once, where the size is true: to grow would take twice the memory. The file may grow while it is read.
	data := bytes.NewBuffer(make([]byte, 0, info.Size()+bytes.MinRead))
	return readAll(data, f, name, limit)
}

// OpenStream opens what may be a pipe or a terminal too, such as the data and the prompts that a command line names: it
// waits for the writer. Directories and other devices are refused.
func OpenStream(path string) (*os.File, error) {
	info, err := os.Stat(path) // first: some devices do something when they are opened
	if err == nil {
		err = stream(path, info)
	}
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if info, err = f.Stat(); err == nil {
		err = stream(path, info)
	}
	if err == nil && info.Mode()&fs.ModeCharDevice != 0 && !term.IsTerminal(int(f.Fd())) {
		err = notStream(path, info)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// stream is the error of what is neither a regular file nor a pipe nor, perhaps, a terminal.
func stream(path string, info fs.FileInfo) error {
	if info.Mode().IsRegular() || info.Mode()&(fs.ModeNamedPipe|fs.ModeCharDevice) != 0 {
		return nil
	}
	return notStream(path, info)
}

func notStream(path string, info fs.FileInfo) error {
	return fmt.Errorf("open %s: is a %s, expected a regular file or a pipe", path, Kind(info.Mode()))
}

// ReadStream is Read for what OpenStream opens.
func ReadStream(path string, limit int64) ([]byte, error) {
	f, err := OpenStream(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadFrom(f, path, limit)
}

// ReadFrom is all that r has, at most limit bytes. Name is what errors call it.
func ReadFrom(r io.Reader, name string, limit int64) ([]byte, error) {
	return readAll(&bytes.Buffer{}, r, name, limit)
}

func readAll(into *bytes.Buffer, r io.Reader, name string, limit int64) ([]byte, error) {
	if _, err := into.ReadFrom(io.LimitReader(r, min(limit, Unlimited-1)+1)); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(into.Len()) > limit {
		return nil, tooLarge(name, "has more bytes", limit)
	}
	return into.Bytes(), nil
}

func tooLarge(name, has string, limit int64) error {
	return fmt.Errorf("read %s: %s, and at most %d are read of a file of this kind: is it the right file?", name, has,
		limit)
}
