// Package filelock takes advisory locks on open files. A lock ends with the process that holds it, however that ends,
// and says nothing to programs that do not ask for it.
package filelock

import (
	"context"
	"os"
	"time"
)

// Try takes the lock of a file for this open file alone, until it is closed. It returns false where another open file,
// of this process or another, has it. On a system or file system without locks it is an error.
func Try(f *os.File) (bool, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return false, err
	}
	var got bool
	var failed error
	err = conn.Control(func(fd uintptr) { got, failed = try(fd) })
	if err != nil {
		return false, err
	}
	return got, failed
}

// IsCurrent says whether path names the open file still: whoever had its lock may have put another in its place.
func IsCurrent(f *os.File, path string) bool {
	opened, errOpened := f.Stat()
	named, errNamed := os.Stat(path)
	return errOpened == nil && errNamed == nil && os.SameFile(opened, named)
}

// pollEvery is how often a lock is asked for that another holds.
const pollEvery = 20 * time.Millisecond

// Wait takes the lock as soon as it is free. It returns false, and no error, when the context's deadline comes first.
func Wait(ctx context.Context, f *os.File) (bool, error) {
	for {
		got, err := Try(f)
		if got || err != nil {
			return got, err
		}
		select {
		case <-ctx.Done():
			if ctx.Err() == context.DeadlineExceeded {
				return false, nil
			}
			return false, ctx.Err()
		case <-time.After(pollEvery):
		}
	}
}
