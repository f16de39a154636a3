package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/atomicfile"
)

// FileSize is the size of a file in bytes, 0 where there is none.
func FileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// PathSize is the size of a file, or of the files of a directory, in bytes; 0 of what is not there.
func PathSize(path string) (total int64) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return 0
	case !info.IsDir():
		return info.Size()
	}
	entries, _ := os.ReadDir(path)
	for _, e := range entries {
		if !e.IsDir() {
			total += FileSize(filepath.Join(path, e.Name()))
		}
	}
	return total
}

// Exists says whether there is a file or directory at path.
func Exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Output is what a verb writes: what is there already is replaced only with --force.
type Output struct{ Force bool }

// AddForce adds the flag.
func (o *Output) AddForce(fs *pflag.FlagSet) {
	fs.BoolVar(&o.Force, "force", false, "replace what is there already under the name of the output")
}

// CheckOutput refuses, before any work is done, an output that could not be written or that would replace an input, or
// without --force anything at all.
func (o *Output) CheckOutput(flag, path string, inputs ...string) error {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return fmt.Errorf("%s: %s is a directory, expected a file name", flag, path)
	}
	return o.CheckPlace(flag, path, inputs...)
}

// CheckPlace is CheckOutput for files and directories alike. An empty directory may be filled without --force.
func (o *Output) CheckPlace(flag, path string, inputs ...string) error {
	for _, input := range inputs {
		if sameFile(path, input) {
			return fmt.Errorf("%s: %s is an input of this command, which is never overwritten: choose another name", flag, path)
		}
	}
	if !o.Force && taken(path) {
		return fmt.Errorf("%s: %s is there already: choose another name, or --force to replace it", flag, path)
	}
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return fmt.Errorf("%s: the directory %s does not exist", flag, dir)
	}
	if err := atomicfile.CheckDir(dir); err != nil {
		return fmt.Errorf("%s: the directory %s cannot be written: %w", flag, dir, err)
	}
	return nil
}

// taken says whether something would be lost by writing to path: a file, or a directory with files.
func taken(path string) bool {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return false
	case info.IsDir():
		files, err := os.ReadDir(path)
		return err != nil || len(files) > 0
	}
	return info.Mode().IsRegular()
}

func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}
