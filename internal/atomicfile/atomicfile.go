// Package atomicfile writes files that appear under their name whole or not at all.
package atomicfile

import (
	"io"
	"os"
)

// File is written aside and renamed by Commit.
type File struct{ f *os.File }

// Create begins a file.
func Create(path string) (*File, error)                  { return nil, nil }
func (f *File) Write(p []byte) (int, error)              { return f.f.Write(p) }
func (f *File) WriteAt(p []byte, off int64) (int, error) { return f.f.WriteAt(p, off) }
func (f *File) Seek(off int64, whence int) (int64, error) {
	return f.f.Seek(off, whence)
}

// Name is the final path.
func (f *File) Name() string { return "" }

// Commit makes the file appear.
func (f *File) Commit() error { return nil }

// Abort drops the file unless it is committed.
func (f *File) Abort() {}

// Write creates path from what fill writes.
func Write(path string, fill func(io.Writer) error) error { return nil }
