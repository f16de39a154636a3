//go:build unix

package testdata

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Pipe makes a named pipe.
func Pipe(t testing.TB, path string) {
	t.Helper()
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Skipf("%s cannot be made a pipe: %v", path, err)
	}
}
