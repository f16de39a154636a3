package mapped

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOpen(t *testing.T) {
	page := os.Getpagesize()
	for _, size := range []int{0, 1, page - 1, page, page + 1, 5*page + 7} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(i * 31)
		}
		f, err := Open(write(t, want))
		if err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		if !bytes.Equal(f.Bytes(), want) {
			t.Errorf("size %d: the map differs from the file", size)
		}
		for i := 0; i < 2; i++ {
			if err := f.Close(); err != nil {
				t.Errorf("size %d: close %d: %v", size, i+1, err)
			}
		}
		if f.Bytes() != nil {
			t.Errorf("size %d: bytes after Close", size)
		}
	}
}

func TestDiscardKeepsTheBytes(t *testing.T) {
	page := os.Getpagesize()
	want := bytes.Repeat([]byte("0123456789abcdef"), page) // 16 pages
	f, err := Open(write(t, want))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, r := range [][2]int{{0, 0}, {0, 1}, {1, page}, {0, page}, {1, 2*page + 1}, {page - 1, 3 * page},
		{0, len(want)}} {
		Discard(f.Bytes()[r[0]:r[1]])
		if !bytes.Equal(f.Bytes(), want) {
			t.Fatalf("bytes changed by Discard of %v", r)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "absent")); !os.IsNotExist(err) {
		t.Errorf("absent file: %v", err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("directory: %v", err)
	}
}

func TestReplacedWhileMapped(t *testing.T) {
	path := write(t, []byte("old content"))
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	next := write(t, []byte("new"))
	if err := os.Rename(next, path); err != nil {
		t.Skipf("this system does not replace mapped files: %v", err)
	}
	if string(f.Bytes()) != "old content" {
		t.Errorf("the map shows %q", f.Bytes())
	}
}
