package filelock

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestOneHasTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	a, b := open(t, path), open(t, path)
	if got, err := Try(a); !got {
		t.Skipf("no locks here: %v", err)
	}
	if got, err := Try(b); got || err != nil {
		t.Fatalf("a second lock: %v, %v", got, err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if got, err := Wait(soon, b); got || err != nil {
		t.Errorf("at the deadline: %v, %v", got, err)
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := Wait(cancelled, b); got || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, %v", got, err)
	}
	time.AfterFunc(30*time.Millisecond, func() { a.Close() })
	if got, err := Wait(t.Context(), b); !got {
		t.Errorf("after the first file was closed: %v, %v", got, err)
	}
	if got, err := Try(open(t, path)); got || err != nil {
		t.Errorf("a third lock: %v, %v", got, err)
	}
}
