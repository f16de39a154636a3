//go:build unix

package atomicfile

import (
	"syscall"
	"testing"
)

func setUmask(t *testing.T, mask int) bool {
	before := syscall.Umask(mask)
	t.Cleanup(func() { syscall.Umask(before) })
	return true
}
