package tohf

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/peftconv/peftconv/internal/atomicfile"
)

// stage is a directory that is being written beside the place where it shall be.
type stage struct {
	path string // where it is
	dir  string // where it shall be
	done bool
}

// newStage begins a directory. One that exists and is not empty is refused, unless it may be replaced.
func newStage(dir string, replace bool) (*stage, error) {
	dir = filepath.Clean(dir)
	switch info, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, fmt.Errorf("%s: is a file, expected a directory or a new name", dir)
	default:
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		if len(entries) > 0 && !replace {
			return nil, fmt.Errorf("%s: the directory exists and holds %s: give another name, or --force to replace it", dir,
				entries[0].Name())
		}
		if target, err := filepath.EvalSymlinks(dir); err == nil {
			dir = target
		}
	}
	path, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+".*.tmp")
	if err != nil {
		return nil, err
	}
	return &stage{path: path, dir: dir}, os.Chmod(path, 0o755)
}

// create writes a file.
func (s *stage) create(name string, data []byte) error {
	path := filepath.Join(s.path, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// commit gives the directory its name. What was there is removed when the new one is in its place.
func (s *stage) commit() error {
	old := s.path + ".old"
	err := os.Rename(s.dir, old)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	existed := err == nil
	if err := os.Rename(s.path, s.dir); err != nil {
		if existed {
			return errors.Join(err, os.Rename(old, s.dir))
		}
		return err
	}
	s.done = true
	if existed {
		return os.RemoveAll(old)
	}
	return nil
}

// abort removes what has been written. After commit it does nothing.
func (s *stage) abort() {
	if !s.done {
		os.RemoveAll(s.path)
	}
}
