package mapped

import (
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

const testBytes = 1 << 20

// opened is a map of a file of testBytes.
func opened(t *testing.T) *File {
	t.Helper()
	m, err := Open(write(t, make([]byte, testBytes)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// reads are ways to touch the bytes of a map.
var reads = map[string]func(b []byte) error{
	"byte": func(b []byte) error {
		if b[len(b)-1] != 0 {
			return errors.New("not zero")
		}
		return nil
	},
	"copy": func(b []byte) error { copy(make([]byte, len(b)), b); return nil },
	"hash": func(b []byte) error { sha256.Sum256(b); return nil },
	"string": func(b []byte) error {
		if strings.Contains(string(b), "x") {
			return errors.New("an x")
		}
		return nil
	},
	"write": func(b []byte) error {
		f, err := os.CreateTemp("", "")
		if err != nil {
			return err
		}
		defer os.Remove(f.Name())
		defer f.Close()
		_, err = f.Write(b)
		return err
	},
}

func guarded(read func([]byte) error, b []byte) (err error) {
	defer Guard(&err)()
	return read(b)
}

// TestGuardAfterClose closes the map on the panic's way to the guard.
func TestGuardAfterClose(t *testing.T) {
	m := opened(t)
	if err := unreadable(m.Bytes()[testBytes/2:]); err != nil {
		t.Skip(err)
	}
	err := guarded(func(b []byte) error {
		defer m.Close()
		return reads["byte"](b)
	}, m.Bytes())
	var fault *FaultError
	if !errors.As(err, &fault) || fault.Path != m.path || fault.Offset != testBytes-1 {
		t.Errorf("%v", err)
	}
}

func TestGuardOfAShorterFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("windows does not shorten mapped files")
	}
	for name, read := range reads {
		t.Run(name, func(t *testing.T) {
			m := opened(t)
			if err := guarded(read, m.Bytes()); err != nil {
				t.Fatalf("before: %v", err)
			}
			if err := os.Truncate(m.path, testBytes/2); err != nil {
				t.Fatal(err)
			}
			var fault *FaultError
			err := guarded(read, m.Bytes())
			if !errors.As(err, &fault) {
				t.Fatalf("expected a fault, got %v", err)
			}
			if fault.Path != m.path || fault.Size != testBytes || fault.Now != testBytes/2 ||
				fault.Offset >= 0 && fault.Offset < testBytes/2 || !strings.Contains(err.Error(), "became shorter while") {
				t.Errorf("the error is %+v: %v", fault, fault)
			}
			if err := Changed(); !errors.As(err, &fault) {
				t.Errorf("Changed says %v", err)
			}
		})
	}
}

// TestGuardOfAnUnreadablePage takes the permission from a page in place of a disk that fails.
func TestGuardOfAnUnreadablePage(t *testing.T) {
	for name, read := range reads {
		t.Run(name, func(t *testing.T) {
			m := opened(t)
			if err := unreadable(m.Bytes()[testBytes/2:]); err != nil {
				t.Skip(err)
			}
			var fault *FaultError
			err := guarded(read, m.Bytes())
			if !errors.As(err, &fault) || fault.Path != m.path || !strings.Contains(err.Error(), "could not read this part") {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestGuardLeavesOtherPanics(t *testing.T) {
	defer func() {
		if r := recover(); r != "another" {
			t.Errorf("recovered %v", r)
		}
	}()
	_ = guarded(func([]byte) error { panic("another") }, nil)
	t.Error("the panic is gone")
}

func TestGuardPassesErrors(t *testing.T) {
	if err := guarded(func([]byte) error { return os.ErrClosed }, nil); err != os.ErrClosed {
		t.Errorf("%v", err)
	}
}

func TestChanged(t *testing.T) {
	open.change = nil // of other tests
	m := opened(t)
	if err := Changed(); err != nil {
		t.Fatalf("before: %v", err)
	}
	next := filepath.Join(t.TempDir(), "next")
	if err := os.WriteFile(next, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Rename(next, m.path) == nil {
		if err := Changed(); err != nil {
			t.Errorf("after another file took its name: %v", err)
		}
	}
	m = opened(t)
	f, err := os.OpenFile(m.path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{1}, 7); err != nil {
		t.Fatal(err)
	}
	// Times of change have a grain; a test is faster than that.
	if err := os.Chtimes(m.path, time.Time{}, time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	var changed *ChangedError
	if err := Changed(); !errors.As(err, &changed) || changed.Path != m.path {
		t.Errorf("after a write: %v", err)
	}
	m.Close()
	if err := Changed(); err != nil {
		t.Errorf("after Close: %v", err)
	}
	if err := EverChanged(); !errors.As(err, &changed) || changed.Path != m.path {
		t.Errorf("what was seen at Close: %v", err)
	}
}

func TestGuardLeavesNilPointers(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a nil pointer became an error of the disk")
		}
	}()
	var x *[2]float64
	_ = guarded(func([]byte) error { x[1] = 1; return nil }, nil)
}
