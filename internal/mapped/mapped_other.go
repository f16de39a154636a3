//go:build !unix && !windows

package mapped

import (
	"io"
	"os"
)

// mmap reads the file: this system has no maps.
func mmap(f *os.File, size int) ([]byte, error) {
	data := make([]byte, size)
	_, err := io.ReadFull(f, data)
	return data, err
}

func munmap([]byte) error { return nil }

func discard([]byte) {}
