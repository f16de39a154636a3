package atomicfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// exchange gives each of two paths what the other had, in one step, where the system can. Tests take it away.
var exchange = systemExchange

// Dir is a directory that is filled beside the place where it shall be, and gets its name at Commit.
type Dir struct {
	t        *temporary
	path     string // the final name, symbolic links followed
	replaces bool   // there is a directory of that name, with:
	mode     fs.FileMode
	part     func(name string) bool
	done     bool
}

// CreateDir begins a directory that shall appear at path, whole. Of a directory that is there already, the entries
// for which part is true are parts of what is replaced and go away; the others stay. One without entries is replaced
// by any.
func CreateDir(path string, part func(name string) bool) (*Dir, error) {
	d := &Dir{path: filepath.Clean(path), part: part}
	info, err := os.Stat(d.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := checkDangling(path); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, fmt.Errorf("create %s: it exists and is not a directory", path)
	default:
		d.replaces, d.mode = true, info.Mode().Perm()
		if d.path, err = filepath.EvalSymlinks(d.path); err == nil {
			d.path, err = filepath.Abs(d.path) // "." has no name of its own
		}
		if err != nil {
			return nil, err
		}
	}
	return d, d.begin()
}

// begin makes the directory that is filled.
func (d *Dir) begin() error {
	parent, base := filepath.Dir(d.path), filepath.Base(d.path)
	if err := settle(parent, base); err != nil {
		return err
	}
	t, err := newTemporary(parent, base, 0o600)
	if err != nil {
		return fmt.Errorf("create %s: %w", d.path, err)
	}
	d.t = t
	if err := os.Mkdir(d.Path(), 0o777); err != nil {
		d.Abort()
		return err
	}
	return nil
}

// Path is where the directory is filled.
func (d *Dir) Path() string { return dirOf(d.t.path) }

// Abort removes what has been written. After Commit it does nothing.
func (d *Dir) Abort() {
	if d.done || d.t == nil {
		return
	}
	d.done = true
	d.t.discard()
}

// Commit gives the directory its name. On Linux and macOS it is exchanged with the one that it replaces in one step.
// Elsewhere, and on file systems that cannot do so, the old one is renamed before; a process killed in between leaves
// a note by which the next one finishes the change. After an error the old directory is still there.
func (d *Dir) Commit() error {
	defer d.Abort()
	if err := Check(); err != nil {
		return err
	}
	if d.replaces {
		if err := d.keepOthers(); err != nil {
			return fmt.Errorf("replace %s: %w", d.path, err)
		}
		if err := os.Chmod(d.Path(), d.mode); err != nil {
			return err
		}
	}
	if err := syncDir(d.Path()); err != nil {
		return err
	}
	live.Lock()
	defer live.Unlock()
	if live.ended {
		return errEnded
	}
	if err := d.rename(); err != nil {
		return err
	}
	d.done = true
	delete(live.files, d.t)
	err := syncDir(filepath.Dir(d.path))
	d.t.remove() // with the old directory
	return err
}

// rename puts the directory into its place.
func (d *Dir) rename() error {
	if !d.replaces {
		// Of two that make the same directory one would replace the other's without a word.
		if _, err := os.Lstat(d.path); err == nil {
			return fmt.Errorf("%s: has been made by another program in the meantime", d.path)
		}
		return os.Rename(d.Path(), d.path)
	}
	step()
	if exchange(d.Path(), d.path) == nil {
		return nil
	}
	j := &journal{dir: filepath.Dir(d.path), Replace: filepath.Base(d.path)}
	if err := j.write(d.t.f); err != nil {
		return fmt.Errorf("write %s: %w", d.t.path, err)
	}
	if err := replaceDir(d.Path(), d.path, oldOf(d.t.path)); err != nil {
		if _, gone := os.Lstat(d.path); gone != nil {
			err = errors.Join(err, os.Rename(oldOf(d.t.path), d.path))
		}
		return err
	}
	return nil
}

// keepOthers takes over what else is in the directory that is replaced.
func (d *Dir) keepOthers() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		if _, temporary := baseOf(name); temporary || d.part(name) {
			continue
		}
		to := filepath.Join(d.Path(), name)
		if _, err := os.Lstat(to); err == nil {
			continue
		}
		if err := takeOver(filepath.Join(d.path, name), to, entry); err != nil {
			return err
		}
	}
	return nil
}

// takeOver makes a second name, or where that cannot be a copy, of a file, a symbolic link, or a directory with all
// that is in it.
func takeOver(from, to string, entry fs.DirEntry) error {
	switch {
	case entry.Type()&fs.ModeSymlink != 0:
		link, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(link, to)
	case entry.IsDir():
		return takeOverDir(from, to, entry)
	case !entry.Type().IsRegular():
		return fmt.Errorf("%s is neither a file nor a directory: move it away first", from)
	}
	if os.Link(from, to) == nil {
		return nil
	}
	return copyFile(from, to, entry)
}

func takeOverDir(from, to string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := takeOver(filepath.Join(from, e.Name()), filepath.Join(to, e.Name()), e); err != nil {
			return err
		}
	}
	return os.Chmod(to, info.Mode().Perm())
}

func copyFile(from, to string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Sync(), dst.Close())
}

// WriteDir makes the directory at path hold what fill writes into the directory that it is given; see [CreateDir]. If
// fill fails, path stays as it was.
func WriteDir(path string, part func(name string) bool, fill func(dir string) error) error {
	d, err := CreateDir(path, part)
	if err != nil {
		return err
	}
	defer d.Abort()
	if err := fill(d.Path()); err != nil {
		return err
	}
	return d.Commit()
}
