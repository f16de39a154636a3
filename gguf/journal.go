package gguf

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/peftconv/peftconv/internal/filelock"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/internal/mapped"
)

// EditJournal is the name of the file in which package edit saves what it is about to change in place in the file at
// path: beside the file itself, whatever links lead to it. While it is there the file may be inconsistent.
func EditJournal(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return path + ".edit-journal"
}

// An InterruptedError says that an in-place edit of a file was interrupted: the file may be inconsistent until
// edit.Recover has finished the edit.
type InterruptedError struct{ Path string }

// Error implements error.
func (e *InterruptedError) Error() string {
	return fmt.Sprintf("%s: an edit of this file was interrupted and has to be finished first (%s)", e.Path,
		EditJournal(e.Path))
}

// EditWait is how long is waited for another process that is editing a file. An edit in place takes milliseconds.
const EditWait = 10 * time.Second

// AwaitEdit waits until no other process is editing a file in place. An edit that was interrupted is an
// InterruptedError.
func AwaitEdit(path string) error {
	journal := EditJournal(path)
	if _, err := os.Lstat(journal); err != nil {
		return nil
	}
	f, err := infile.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(context.Background(), EditWait)
	defer cancel()
	_, _ = filelock.Wait(ctx, f) // the edit holds the lock; without locks there is only the journal
	if _, err := os.Lstat(journal); err != nil {
		return nil
	}
	return &InterruptedError{path}
}

// openMap maps a file that no other process is editing.
func openMap(path string) (*mapped.File, error) {
	m, err := mapped.Open(path)
	if err != nil {
		return nil, err
	}
	// An edit that begins after this is noticed by the file's time of change.
	if _, err := os.Lstat(EditJournal(path)); err != nil {
		return m, nil
	}
	m.Close()
	if err := AwaitEdit(path); err != nil {
		return nil, err
	}
	return mapped.Open(path)
}
