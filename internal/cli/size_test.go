package cli

import (
	"os"
	"path/filepath"
	"testing"
)

func TestParseSize(t *testing.T) {
	for text, n := range map[string]int64{
		"1": 1, "500": 500, "2G": 2e9, "2g": 2e9, "2GB": 2e9, "1.5M": 1_500_000,
		"2GiB": 2 << 30, "3 KiB": 3072, "10k": 10_000, "1T": 1e12, "7B": 7, "1e3": 1000,
	} {
		if got, err := parseSize(text); err != nil || got != n {
			t.Errorf("parseSize(%q) = %d, %v, expected %d", text, got, err, n)
		}
	}
	for _, text := range []string{"", "G", "-1", "1X", "1GG", "1GM", "1iG", "NaN", "Inf", "1e30", "0", "0.5", "1 2"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("parseSize(%q) = %d", text, got)
		}
	}
}

// TestPathSize adds the files of a directory up.
func TestPathSize(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a[b]")
	if err := os.MkdirAll(filepath.Join(dir, "inner"), 0o777); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"a": 3, "b": 4} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]int64{dir: 7, filepath.Join(dir, "a"): 3, filepath.Join(dir, "none"): 0} {
		if got := PathSize(path); got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
}
