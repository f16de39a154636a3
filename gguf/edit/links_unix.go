//go:build unix

package edit

import (
	"os"

	"golang.org/x/sys/unix"
)

// links is how many names a file has.
func links(f *os.File) (uint64, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &stat); err != nil {
		return 0, os.NewSyscallError("fstat", err)
	}
	return uint64(stat.Nlink), nil
}
