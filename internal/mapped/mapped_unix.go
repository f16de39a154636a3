//go:build unix

package mapped

import (
	"os"

	"golang.org/x/sys/unix"
)

func mmap(f *os.File, size int) ([]byte, error) {
	return unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
}

func munmap(data []byte) error { return unix.Munmap(data) }

// discard drops pages of a shared, never written map: nothing can be lost by it.
func discard(b []byte) { _ = unix.Madvise(b, unix.MADV_DONTNEED) }
