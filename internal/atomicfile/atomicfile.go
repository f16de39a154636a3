package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// File is a temporary file that gets its name at Commit. It is an io.Writer, io.WriterAt, io.ReaderAt and io.Seeker.
type File struct {
	f        *os.File
	t        *temporary  // nil where direct
	path     string      // the final name, symbolic links followed
	replaces bool        // there is a file of that name, with:
	mode     fs.FileMode // permissions
	direct   bool        // path is a device or a pipe: written to as it is
	sealed   bool        // on the disk, and not to be written to
	done     bool        // committed or aborted
	pending  int64       // bytes written since the last hint to the system
}

// writeAhead is the number of bytes after which the system is asked to start writing to the disk, so that the disk
// works while the next bytes are computed, not all at the end.
const writeAhead = 32 << 20

// Write implements io.Writer.
func (f *File) Write(p []byte) (int, error) {
	if f.sealed {
		return 0, fs.ErrClosed
	}
	n, err := f.f.Write(p)
	f.wrote(int64(n))
	return n, err
}

// wrote counts bytes that have been written one after another.
func (f *File) wrote(n int64) {
	if f.pending += n; f.pending >= writeAhead {
		beginSync(f.f)
		f.pending = 0
	}
}

// WriteAt implements io.WriterAt.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	if f.sealed {
		return 0, fs.ErrClosed
	}
	return f.f.WriteAt(p, off)
}

// ReadAt implements io.ReaderAt, over what has been written so far.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }

// ReadFrom implements io.ReaderFrom: where the system can copy from another file by itself, the bytes do not pass
// through this process.
func (f *File) ReadFrom(r io.Reader) (int64, error) {
	if f.sealed {
		return 0, fs.ErrClosed
	}
	n, err := f.f.ReadFrom(r)
	f.wrote(n)
	return n, err
}

// Seek implements io.Seeker.
func (f *File) Seek(off int64, whence int) (int64, error) { return f.f.Seek(off, whence) }

// Create begins a file that shall appear at path. An existing file keeps its permissions and stays untouched until
// Commit; a new one gets those that the process gives new files (its umask). A symbolic link stays, and what it
// points to is replaced; one that points to nothing is refused. A device or a pipe, such as /dev/stdout, cannot be
// replaced and is written to directly. If another process is writing the file it is a [BusyError].
func Create(path string) (*File, error) {
	f := &File{}
	if err := f.find(path); err != nil {
		return nil, err
	}
	var err error
	if f.direct {
		f.f, err = os.OpenFile(path, os.O_WRONLY, 0)
	} else {
		err = f.begin()
	}
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", path, err)
	}
	return f, nil
}

// begin makes the temporary file.
func (f *File) begin() error {
	dir, base := filepath.Split(f.path)
	if dir == "" {
		dir = "."
	}
	if err := settle(dir, base); err != nil {
		return err
	}
	open := fs.FileMode(0o666) // and the system takes away what the umask says
	if f.replaces {
		open = 0o600 // until it is complete
	}
	t, err := newTemporary(dir, base, open)
	if err != nil {
		return err
	}
	f.t, f.f = t, t.f
	return nil
}

// find finds the file that path names.
func (f *File) find(path string) error {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := checkDangling(path); err != nil {
			return err
		}
		f.path = filepath.Clean(path)
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("create %s: is a directory, expected a file or a new name", path)
	case !info.Mode().IsRegular():
		f.path, f.direct = path, true
		return nil
	}
	f.replaces, f.mode = true, info.Mode().Perm()
	f.path, err = filepath.EvalSymlinks(path)
	return err
}

// checkDangling refuses a path at which there is nothing but a symbolic link.
func checkDangling(path string) error {
	link, err := os.Readlink(path)
	if err != nil {
		return nil
	}
	return fmt.Errorf("create %s: is a symbolic link to %s, which does not exist: remove the link, or choose another name",
		path, link)
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

// Seal flushes the file to the disk, so that only Commit's rename is left; nothing more can be written. Of many files
// that must appear together, all can be sealed before the first is committed.
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
	if err := Check(); err != nil {
		return err
	}
	if err := f.commit(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(f.path))
}

// commit is rename unless the program is ending.
func (f *File) commit() error {
	live.Lock()
	defer live.Unlock()
	if live.ended {
		return errEnded
	}
	return f.rename()
}

// rename gives a sealed file its name. The caller holds live.
func (f *File) rename() error {
	if closeFirst {
		f.f.Close()
	}
	step()
	if err := os.Rename(f.t.path, f.path); err != nil {
		return err
	}
	f.leave()
	return nil
}

// leave ends with the temporary file where it is, whatever its name now. The caller holds live.
func (f *File) leave() {
	f.done = true
	f.f.Close()
	delete(live.files, f.t)
}

// closeFirst says that this system does not rename open files.
const closeFirst = runtime.GOOS == "windows"

// flush writes content and permissions to the disk.
func (f *File) flush() error {
	if f.replaces {
		if err := f.f.Chmod(f.mode); err != nil {
			return err
		}
	}
	return f.f.Sync()
}

// Abort closes the file and removes it. After Commit it does nothing.
func (f *File) Abort() {
	if f.done {
		return
	}
	f.done = true
	if f.direct {
		f.f.Close()
		return
	}
	f.t.discard()
}

// Write makes the file at path hold what fill writes, buffered. If fill fails, path stays as it was.
func Write(path string, fill func(io.Writer) error) error { return WriteAll(Content{path, fill}) }

// WriteBytes makes the file at path hold data, as Write does.
func WriteBytes(path string, data []byte) error {
	return Write(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}
