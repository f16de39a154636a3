//go:build !unix

package testdata

import "testing"

// Pipe makes a named pipe, where a system has such.
func Pipe(t testing.TB, _ string) {
	t.Helper()
	t.Skip("this system has no named pipes")
}
