package tohf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/peftconv/peftconv/internal/atomicfile"
)

// checkDir refuses a directory that exists and is not empty, unless the model in it may be replaced.
func checkDir(dir string, replace bool) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) > 0 && !replace:
		return fmt.Errorf("%s: the directory exists and holds %s: give another name, or --force to replace the model in it",
			dir, entries[0].Name())
	}
	return nil
}

// createIn writes a file of a directory.
func createIn(dir, name string, data []byte) error {
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return atomicfile.WriteBytes(path, data)
}
