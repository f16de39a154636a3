// Package testdata finds the large reference files that tests compare with. They live beside the checkout,
// not in it; a test that needs one skips where they are absent.
package testdata

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// SharedDir is where the reference files are: $PEFTCONV_SHARED, or ../shared/data beside the checkout.
func SharedDir() string {
	if dir := os.Getenv("PEFTCONV_SHARED"); dir != "" {
		return dir
	}
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(file), "..", "..")
	return filepath.Join(root, "..", "shared", "data")
}

// Shared is the path of a reference file or directory, named by its path below SharedDir. The test is
// skipped when it is not there.
func Shared(t testing.TB, name string) string {
	t.Helper()
	path := filepath.Join(SharedDir(), filepath.FromSlash(name))
	if _, err := os.Stat(path); err != nil {
		t.Skipf("reference data %s is not here (set PEFTCONV_SHARED to its folder): %v", name, err)
	}
	return path
}
