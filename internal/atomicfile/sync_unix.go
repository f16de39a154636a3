//go:build unix

package atomicfile

import (
	"errors"
	"os"
	"syscall"
)

// syncDir makes a rename durable. File systems that cannot do so for directories return EINVAL or ENOTSUP.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return nil // a directory that may be written but not read: the renaming has happened all the same
	}
	defer dir.Close()
	err = dir.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}
