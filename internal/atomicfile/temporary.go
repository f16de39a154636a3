package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/peftconv/peftconv/internal/filelock"
)

// temporary is a hidden file, locked as long as it is open. What belongs to it is beside it: see dirOf and oldOf.
type temporary struct {
	f    *os.File
	path string
}

// Names of temporary files: "." + base + "." + number + suffix. Base is that of the file that is written.
const (
	suffix    = ".peftconv-tmp"
	dirSuffix = "-dir" // a directory that is written has this at the end of its temporary file's name
	oldSuffix = "-old" // the directory that it replaces, where two cannot be exchanged
	baseBytes = 200    // of the base that are used; names have at most 255 on most systems
)

// live are the temporary files of this process. Its lock is held while files get their final names.
var live struct {
	sync.Mutex
	ended bool // by AbortAll
	files map[*temporary]bool
}

var errEnded = errors.New("the program is ending")

// Check is called before files or directories get their names, and its error keeps them from it. A program sets it
// when it starts, to what says that the files which it reads are still the same.
var Check = func() error { return nil }

// AbortAll removes all temporary files of the process. After it no file is created or committed: it is for a program
// that is about to end without waiting for what it does.
func AbortAll() {
	live.Lock()
	defer live.Unlock()
	live.ended = true
	for t := range live.files {
		t.remove()
	}
	live.files = nil
}

// newTemporary makes a temporary file in dir for a file called base.
func newTemporary(dir, base string, mode fs.FileMode) (*temporary, error) {
	for tries := 0; ; tries++ {
		path := filepath.Join(dir, "."+shortened(base)+"."+strconv.FormatUint(uint64(rand.Uint32()), 36)+suffix)
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
		if errors.Is(err, fs.ErrExist) && tries < 100 {
			continue
		}
		if err != nil {
			return nil, err
		}
		_, _ = filelock.Try(f) // where there are no locks nothing is taken for left behind either
		// Before it was locked another process may have taken it for a file left behind.
		if t := (&temporary{f, path}); isAt(f, path) {
			return t, t.register()
		}
		f.Close()
		if tries == 100 {
			return nil, fmt.Errorf("%s: was removed as soon as it was made", path)
		}
	}
}

// register enters a temporary file into live.
func (t *temporary) register() error {
	live.Lock()
	defer live.Unlock()
	if live.ended {
		t.remove()
		return errEnded
	}
	if live.files == nil {
		live.files = map[*temporary]bool{}
	}
	live.files[t] = true
	return nil
}

// release removes it from live: it is renamed, or removed.
func (t *temporary) release() {
	live.Lock()
	defer live.Unlock()
	delete(live.files, t)
}

// remove removes the file and what belongs to it.
func (t *temporary) remove() {
	step()
	os.RemoveAll(dirOf(t.path))
	os.RemoveAll(oldOf(t.path))
	t.f.Close()
	step()
	os.Remove(t.path)
}

// discard is remove for a file that is in live.
func (t *temporary) discard() {
	t.remove()
	t.release()
}

func dirOf(temporary string) string { return temporary + dirSuffix }
func oldOf(temporary string) string { return temporary + oldSuffix }

// shortened is a base as it is used in names of temporary files.
func shortened(base string) string { return base[:min(len(base), baseBytes)] }

// baseOf is the shortened base in the name of a temporary file.
func baseOf(name string) (string, bool) {
	name, isTemporary := strings.CutSuffix(name, suffix)
	name, hidden := strings.CutPrefix(name, ".")
	dot := strings.LastIndexByte(name, '.')
	if !isTemporary || !hidden || dot < 0 {
		return "", false
	}
	return name[:dot], true
}

// isAt says whether path is the open file.
func isAt(f *os.File, path string) bool {
	a, errA := f.Stat()
	b, errB := os.Lstat(path)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// ours says whether a temporary file is one of this process.
func ours(path string) bool {
	live.Lock()
	defer live.Unlock()
	for t := range live.files {
		if t.path == path {
			return true
		}
	}
	return false
}

// A BusyError says that another process is writing the same file.
type BusyError struct{ Path, Temporary string }

// Error implements error.
func (e *BusyError) Error() string {
	return fmt.Sprintf("%s: another process is writing it (%s): wait for it, or choose another name", e.Path, e.Temporary)
}

// settle removes what processes that are gone have left in a directory, and finishes changes of several files that
// they were about to make. It is an error if another process that lives is writing a file called base.
func settle(dir, base string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // a directory that may not be listed
	}
	var left []*temporary
	defer func() {
		for _, t := range left {
			t.remove()
		}
	}()
	for _, entry := range entries {
		of, ok := baseOf(entry.Name())
		path := filepath.Join(dir, entry.Name())
		if !ok || !entry.Type().IsRegular() || ours(path) {
			continue
		}
		t, busy := abandoned(path)
		if busy && base != "" && of == shortened(base) {
			return &BusyError{filepath.Join(dir, base), entry.Name()}
		}
		if t == nil {
			continue
		}
		left = append(left, t)
		if j := readJournal(t.f, dir); j != nil {
			if err := j.replay(t.path); err != nil {
				left = left[:len(left)-1] // for another time
				t.f.Close()
				return fmt.Errorf("finish what was interrupted (%s): %w", path, err)
			}
		}
	}
	return nil
}

// abandoned takes over a temporary file whose process is gone. Where it is not, busy is true.
func abandoned(path string) (t *temporary, busy bool) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, false
	}
	got, err := filelock.Try(f)
	if got && isAt(f, path) && owned(f) {
		return &temporary{f, path}, false
	}
	f.Close()
	return nil, !got && err == nil
}

// Settle finishes what an interrupted [CommitAll] or [Dir.Commit] has left to do in a directory, and removes what else
// processes that are gone have left there. A reader of files that belong together calls it before it opens them.
func Settle(dir string) error { return settle(dir, "") }

// CheckDir is the error of a directory in which no file can be created.
func CheckDir(dir string) error {
	t, err := newTemporary(dir, "probe", 0o600)
	if err != nil {
		return err
	}
	t.discard()
	return nil
}

// Scratch makes a file in a directory that is gone when it is closed or the process ends; "" is the system's directory
// for temporary files.
func Scratch(dir, base string) (*ScratchFile, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	_ = settle(dir, "")
	t, err := newTemporary(dir, base, 0o600)
	if err != nil {
		return nil, err
	}
	if os.Remove(t.path) == nil { // some systems keep open files; there Close removes it
		t.release()
	}
	return &ScratchFile{File: t.f, t: t}, nil
}

// ScratchFile is a temporary file.
type ScratchFile struct {
	*os.File
	t *temporary
}

// Close closes and removes the file.
func (s *ScratchFile) Close() error {
	err := s.File.Close()
	s.t.discard()
	return err
}

// ScratchDir makes a directory in another, which the function it returns removes with all that is in it, as does the
// next process if this one is killed; "" is the system's directory for temporary files.
func ScratchDir(parent, base string) (dir string, remove func(), err error) {
	if parent == "" {
		parent = os.TempDir()
	}
	_ = settle(parent, "")
	t, err := newTemporary(parent, base, 0o600)
	if err != nil {
		return "", nil, err
	}
	if err := os.Mkdir(dirOf(t.path), 0o700); err != nil {
		t.discard()
		return "", nil, err
	}
	return dirOf(t.path), t.discard, nil
}
