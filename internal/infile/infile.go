// Package infile opens files that are read. What is not a regular file is refused where one is meant: a pipe would wait
// for ever, a device may have no end. What is read whole has a limit, so that a wrong file does not take all memory.
package infile

import (
	"fmt"
	"io"
	"io/fs"
	"os"
)

// The most bytes that files of a kind may have that are read whole. Each is many times what is seen of its kind.
const (
	Config    = 16 << 20  // configurations, chat templates, model cards
	Index     = 256 << 20 // indexes of shards, tokenizers
	Text      = 64 << 20  // prompts and lists of words
	Pointer   = 64 << 10  // a path, a commit
	Table     = 8 << 30   // importance matrices, states of a runtime
	Unlimited = 1<<63 - 1
)

// Open opens a regular file, through symbolic links. Anything else, such as a directory or a pipe, is an error that
// says what it is.
func Open(path string) (*os.File, error) {
	// Without waiting: opening a pipe that nobody writes to would stop here. For a regular file it changes nothing.
	f, err := os.OpenFile(path, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = Regular(path, info)
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
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, tooLarge(path, fmt.Sprintf("has %d bytes", info.Size()), limit)
	}
	return ReadFrom(f, path, limit)
}

// ReadStream is Read for what may be a pipe or a device too, such as a prompt: it waits for the writer.
func ReadStream(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadFrom(f, path, limit)
}

// ReadFrom is all that r has, at most limit bytes. Name is what errors call it.
func ReadFrom(r io.Reader, name string, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, min(limit, Unlimited-1)+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(data)) > limit {
		return nil, tooLarge(name, "has more bytes", limit)
	}
	return data, nil
}

func tooLarge(name, has string, limit int64) error {
	return fmt.Errorf("read %s: %s, and at most %d are read of a file of this kind: is it the right file?", name, has,
		limit)
}
