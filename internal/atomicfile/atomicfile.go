package atomicfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// File is a temporary file that gets its name at Commit. It is an io.Writer, io.WriterAt, io.ReaderAt and io.Seeker.
type File struct {
	*file
	path   string      // the final name, symbolic links followed
	mode   fs.FileMode // permissions of the final file
	direct bool        // path is a device or a pipe: written to as it is
	sealed bool        // on the disk and closed
	done   bool        // committed or aborted
}

// file hides *os.File's other methods, Close above all: a File ends in Commit or Abort.
type file struct {
	f       *os.File
	pending int64 // bytes written since the last hint to the system
}

// writeAhead is the number of bytes after which the system is asked to start writing to the disk, so that the disk
// works while the next bytes are computed, not all at the end.
const writeAhead = 32 << 20

// Write implements io.Writer.
func (f *file) Write(p []byte) (int, error) {
	n, err := f.f.Write(p)
	f.wrote(int64(n))
	return n, err
}

// wrote counts bytes that have been written one after another.
func (f *file) wrote(n int64) {
	if f.pending += n; f.pending >= writeAhead {
		beginSync(f.f)
		f.pending = 0
	}
}

// WriteAt implements io.WriterAt.
func (f *file) WriteAt(p []byte, off int64) (int, error) { return f.f.WriteAt(p, off) }

// ReadAt implements io.ReaderAt, over what has been written so far.
func (f *file) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }

// ReadFrom implements io.ReaderFrom: where the system can copy from another file by itself, the bytes do not pass
// through this process.
func (f *file) ReadFrom(r io.Reader) (int64, error) {
	n, err := f.f.ReadFrom(r)
	f.wrote(n)
	return n, err
}

// Seek implements io.Seeker.
func (f *file) Seek(off int64, whence int) (int64, error) { return f.f.Seek(off, whence) }

// Create begins a file that shall appear at path. An existing file keeps its permissions and stays untouched until
// Commit; a new one gets 0644. A symbolic link stays, and what it points to is replaced. A device or a pipe, such as
// /dev/stdout, cannot be replaced and is written to directly.
func Create(path string) (*File, error) {
	target, mode, direct, err := target(path)
	if err != nil {
		return nil, err
	}
	var f *os.File
	if direct {
		f, err = os.OpenFile(target, os.O_WRONLY, 0)
	} else {
		f, err = os.CreateTemp(filepath.Dir(target), "."+filepath.Base(target)+".*.tmp")
	}
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	return &File{file: &file{f: f}, path: target, mode: mode, direct: direct}, nil
}

// target finds the file that path names, its permissions, and whether it has to be written in place.
func target(path string) (name string, mode fs.FileMode, direct bool, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return path, 0o644, false, nil
	case err != nil:
		return "", 0, false, err
	case info.IsDir():
		return "", 0, false, fmt.Errorf("create %s: is a directory, expected a file or a new name", path)
	case !info.Mode().IsRegular():
		return path, 0, true, nil
	}
	name, err = filepath.EvalSymlinks(path)
	return name, info.Mode().Perm(), false, err
}

// Name is the path under which the file appears at Commit.
func (f *File) Name() string { return f.path }

// CloneFrom makes the file, to which nothing has been written, a clone of another one on the same file system: the
// same bytes, sharing disk blocks until one of the two is written to. It takes no time and no space, whatever the
// size. Few file systems can do it; on the others, and on all but Linux, it is an error and the file stays as it is.
func (f *File) CloneFrom(src *os.File) error {
	if f.direct {
		return errors.ErrUnsupported
	}
	return clone(f.f, src)
}

// Seal flushes the file to the disk and closes it, so that only Commit's rename is left. Of many files that must
// appear together, all can be sealed before the first is committed.
func (f *File) Seal() error {
	if f.done || f.sealed || f.direct {
		return nil
	}
	if err := f.flush(); err != nil {
		f.Abort()
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	f.sealed = true
	return nil
}

// Commit flushes the file to the disk and renames it, replacing an existing file. After an error the temporary file is
// gone and the old file, if there was one, still there.
func (f *File) Commit() error {
	if f.done {
		return fmt.Errorf("commit %s: already committed or aborted", f.path)
	}
	if f.direct {
		f.done = true
		return f.f.Close()
	}
	defer f.Abort()
	if err := f.Seal(); err != nil {
		return err
	}
	if err := os.Rename(f.f.Name(), f.path); err != nil {
		return err
	}
	f.done = true
	return syncDir(filepath.Dir(f.path))
}

// flush writes content and permissions to the disk and closes the file.
func (f *File) flush() error {
	if err := f.f.Chmod(f.mode); err != nil {
		return err
	}
	if err := f.f.Sync(); err != nil {
		return err
	}
	return f.f.Close()
}

// Abort closes the file and removes it. After Commit it does nothing.
func (f *File) Abort() {
	if f.done {
		return
	}
	f.done = true
	f.f.Close()
	if !f.direct {
		os.Remove(f.f.Name())
	}
}

// Write makes the file at path hold what fill writes, buffered. If fill fails, path stays as it was.
func Write(path string, fill func(io.Writer) error) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	defer f.Abort()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := fill(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return f.Commit()
}
