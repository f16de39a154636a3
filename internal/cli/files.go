package cli

import (
	"fmt"
	"os"
	"path/filepath"
)

// FileSize is the size of a file in bytes, 0 where there is none.
func FileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// Exists says whether there is a file or directory at path.
func Exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// CheckOutput refuses, before any work is done, an output that could not be written or that would replace an input.
func CheckOutput(flag, path string, inputs ...string) error {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return fmt.Errorf("%s: %s is a directory, expected a file name", flag, path)
	}
	return CheckPlace(flag, path, inputs...)
}

// CheckPlace is CheckOutput for files and directories alike.
func CheckPlace(flag, path string, inputs ...string) error {
	for _, input := range inputs {
		if sameFile(path, input) {
			return fmt.Errorf("%s: %s is an input of this command, which is never overwritten: choose another name", flag, path)
		}
	}
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return fmt.Errorf("%s: the directory %s does not exist", flag, dir)
	}
	probe, err := os.CreateTemp(dir, ".peftconv-*")
	if err != nil {
		return fmt.Errorf("%s: the directory %s cannot be written: %w", flag, dir, err)
	}
	probe.Close()
	return os.Remove(probe.Name())
}

func sameFile(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}
