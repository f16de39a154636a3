//go:build unix

package atomicfile

import (
	"os"
	"syscall"
)

// owned says whether a file is the user's own: what others have left is not removed, and not followed.
func owned(f *os.File) bool {
	info, err := f.Stat()
	if err != nil {
		return false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
