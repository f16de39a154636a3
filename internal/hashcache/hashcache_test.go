package hashcache

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/peftconv/peftconv/internal/mapped"
)

// hashes counts how often a hash is computed.
type hashes struct {
	t    *testing.T
	made int
}

// of is the hash of a file, which is opened anew.
func (h *hashes) of(path string) {
	h.t.Helper()
	m, err := mapped.Open(path)
	if err != nil {
		h.t.Fatal(err)
	}
	defer m.Close()
	want := strings.Repeat("0a", 32)
	sum, err := Of("test", []string{path}, func() (string, error) {
		h.made++
		return want, nil
	})
	if err != nil || sum != want {
		h.t.Errorf("hash %q, error %v", sum, err)
	}
}

// want checks how often the hash has been computed so far.
func (h *hashes) want(n int, what string) {
	h.t.Helper()
	if h.made != n {
		h.t.Errorf("%s: computed %d times, expected %d", what, h.made, n)
	}
}

// start makes a sparse file and turns the cache on, for files that changed that long ago.
func start(t *testing.T, size int64, age time.Duration) (h *hashes, path, dir string) {
	t.Helper()
	t.Setenv(Variable, "")
	path, dir = filepath.Join(t.TempDir(), "model"), filepath.Join(t.TempDir(), "new", "hashes")
	f, err := os.Create(path)
	if err == nil {
		err = f.Truncate(size)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	before := settled
	settled = age
	Use(dir)
	t.Cleanup(func() {
		Use("")
		settled = before
	})
	return &hashes{t: t}, path, dir
}

func TestRemembers(t *testing.T) {
	h, path, dir := start(t, leastBytes, 0)
	h.of(path)
	h.of(path)
	h.want(1, "the same file")
	entries, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(entries) != 1 {
		t.Fatalf("entries %q", entries)
	}
	text, err := os.ReadFile(entries[0])
	if err != nil {
		t.Fatal(err)
	}
	whole := string(text)
	for i, damaged := range []string{"", "x", whole[:len(whole)-1], whole + "\n",
		strings.Replace(whole, "model", "nodel", 1)} {
		if err := os.WriteFile(entries[0], []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		h.of(path)
		h.want(2+i, "a damaged entry")
	}
	t.Setenv(Variable, "off")
	Use(dir)
	h.of(path)
	h.want(7, "turned off")
}

// TestNoticesChanges changes a file's size, its time, and its content behind the same size and time.
func TestNoticesChanges(t *testing.T) {
	h, path, _ := start(t, leastBytes, 0)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	h.of(path)
	change := func(what string, n int, do func(f *os.File) error) {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err == nil {
			err = do(f)
			f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		h.of(path)
		h.want(n, what)
	}
	change("a longer file", 2, func(f *os.File) error { return f.Truncate(leastBytes + 1) })
	change("another time", 3, func(f *os.File) error { return os.Chtimes(path, time.Time{}, time.Now().Add(-time.Hour)) })
	if runtime.GOOS == "linux" {
		change("the size and time of before", 4, func(f *os.File) error {
			if err := f.Truncate(leastBytes); err != nil {
				return err
			}
			return os.Chtimes(path, time.Time{}, info.ModTime())
		})
	}
}

func TestDoesNotRemember(t *testing.T) {
	h, path, _ := start(t, leastBytes, time.Hour)
	h.of(path)
	h.of(path)
	h.want(2, "a file that has just changed")

	h, path, _ = start(t, leastBytes-1, 0)
	h.of(path)
	h.of(path)
	h.want(2, "a small file")

	h, path, dir := start(t, leastBytes, 0)
	if err := os.WriteFile(filepath.Dir(dir), nil, 0o600); err != nil { // a file where the directory should be
		t.Fatal(err)
	}
	h.of(path)
	h.of(path)
	h.want(2, "no directory")
}

func TestKeepsAFew(t *testing.T) {
	h, path, dir := start(t, leastBytes, 0)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range mostKept + 5 {
		name := filepath.Join(dir, strings.Repeat("x", i+1)[max(0, i-200):]+time.Duration(i).String())
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, time.Time{}, time.Unix(int64(i), 0)); err != nil {
			t.Fatal(err)
		}
	}
	h.of(path)
	h.of(path)
	h.want(1, "after the oldest are gone")
	if entries, _ := os.ReadDir(dir); len(entries) != mostKept {
		t.Errorf("%d entries are kept, expected %d", len(entries), mostKept)
	}
}
