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

// awaitEdit waits until no other process is editing a file in place. An edit that was interrupted is an
// InterruptedError.
func awaitEdit(path string) error {
	ctx, cancel := context.WithTimeout(context.Background(), EditWait)
	defer cancel()
	for EditPending(path) {
		f, err := infile.Open(path)
		if err != nil {
			return err
		}
		_, _ = filelock.Wait(ctx, f) // the edit has it; without locks there is only the journal
		interrupted := EditPending(path)
		current := filelock.IsCurrent(f, path)
		f.Close()
		if !current {
			continue // another file took its place, and has locks of its own
		}
		if interrupted {
			return &InterruptedError{path}
		}
	}
	return nil
}

// EditPending says whether an in-place edit of a file is being made, or was interrupted.
func EditPending(path string) bool {
	_, err := os.Lstat(EditJournal(path))
	return err == nil
}

// openTries is how often a file is opened that changes while its header is read. One that is being downloaded always
// does.
const openTries = 50

// openWhole maps a file and reads its header, in a version that no other process was editing in place meanwhile. An
// edit that begins later is noticed: see [File.Changed].
func openWhole(path string) (*mapped.File, *File, error) {
	for tries := 1; ; tries++ {
		if err := awaitEdit(path); err != nil {
			return nil, nil, err
		}
		m, err := mapped.Open(path)
		if err != nil {
			return nil, nil, err
		}
		f, err := parseMapped(m)
		changed := m.Changed()
		if tries < openTries && (changed != nil || EditPending(path)) {
			m.Close()
			continue
		}
		if err == nil {
			err = changed
		}
		if err != nil {
			m.Close()
			return nil, nil, named(err, path)
		}
		return m, f, nil
	}
}

func parseMapped(m *mapped.File) (_ *File, err error) {
	defer mapped.Guard(&err)()
	return parse(m.Bytes())
}
