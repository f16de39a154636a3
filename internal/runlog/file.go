package runlog

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/peft/train"
)

// Path is where the log of a run stands beside its adapter: x.log.jsonl beside x.safetensors.
func Path(out string) string { return strings.TrimSuffix(out, filepath.Ext(out)) + ".log.jsonl" }

// OldPath is where a log is moved to that would be replaced.
func OldPath(path string) string { return strings.TrimSuffix(path, ".jsonl") + ".old.jsonl" }

// IsLog says whether a file is the log of a run, by its first line.
func IsLog(path string) bool {
	f, err := infile.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	first, _ := bufio.NewReader(io.LimitReader(f, mostLine)).ReadBytes('\n')
	return lineOf(first).Kind == KindStart
}

// mostLine is the most bytes of a line.
const mostLine = 16 << 20

// lineOf is what all lines have; without a kind where it is no line of a log.
func lineOf(text []byte) (l Line) {
	if json.Unmarshal(text, &l) != nil {
		return Line{}
	}
	return l
}

// File is the file of a log. It is made with the first step, so that a run that does none leaves nothing.
type File struct {
	Path string
	// Move has a log that is there already moved to OldPath, not replaced.
	Move bool
	// Failed is told, once, that the file cannot be written; the run goes on without it.
	Failed func(error)

	mu      sync.Mutex // a checkpoint may be written on a goroutine of its own
	f       *os.File
	waiting []byte // before the first step
	failed  bool
}

// append writes a line at the end.
func (l *File) append(line []byte, kind string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil && kind != KindStep && kind != KindEnd {
		l.waiting = append(l.waiting, line...)
		return
	}
	l.do(func() error {
		if l.f == nil {
			if err := l.create(); err != nil {
				return err
			}
			line = append(l.waiting, line...)
			l.waiting = nil
		}
		if _, err := l.f.Write(line); err != nil {
			return err
		}
		if kind == KindCheckpoint || kind == KindEnd {
			_ = l.f.Sync() // a hint: the file may be a device
		}
		return nil
	})
}

// do does something with the file, unless that has failed before.
func (l *File) do(f func() error) {
	if l.failed {
		return
	}
	if err := f(); err != nil {
		l.failed = true
		if l.Failed != nil {
			l.Failed(fmt.Errorf("the log %s cannot be written, and the run goes on without it: %w", l.Path, err))
		}
	}
}

// create makes the file: a new one, since another run with the same path may still write into the one that is there.
func (l *File) create() error {
	if l.Move {
		if err := os.Rename(l.Path, OldPath(l.Path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	path := l.Path
	if behind, err := filepath.EvalSymlinks(path); err == nil {
		path = behind
	}
	for tries := 0; ; tries++ {
		f, err := createNew(path)
		if errors.Is(err, fs.ErrExist) && tries < 100 {
			continue // another run made it in between
		}
		l.f = f
		return err
	}
}

// createNew makes a file in place of one that may be there. A device, and a file that cannot be removed, are written
// into, at the end, so that lines stay whole.
func createNew(path string) (*os.File, error) {
	how := os.O_EXCL
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().IsRegular() {
			err = os.Remove(path)
		}
		if !info.Mode().IsRegular() || err != nil && !errors.Is(err, fs.ErrNotExist) {
			how = os.O_TRUNC
		}
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|how, 0o666)
}

// resume cuts the log back to where the run goes on, so that lines are appended, and gives what is left. Of a log that
// is not there any more that is nothing.
func (l *File) resume(s train.Start) (kept [][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.do(func() error {
		f, err := infile.Open(l.Path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		kept, err = cut(f, s)
		if err != nil || len(kept) == 0 {
			return err
		}
		err = atomicfile.WriteBytes(l.Path, append(bytes.Join(kept, []byte("\n")), '\n'))
		if err == nil {
			l.f, err = infile.OpenWith(l.Path, os.O_WRONLY|os.O_APPEND)
		}
		return err
	})
	return kept
}

// cut is the lines of a log of what was done before a run goes on.
func cut(r io.Reader, s train.Start) (kept [][]byte, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, mostLine)
	for lines.Scan() {
		line := lineOf(lines.Bytes())
		last := s.Step
		switch line.Kind {
		case "":
			continue // not whole
		case KindEvaluation:
			last = evaluatedTo(lines.Bytes(), s)
		case KindSample:
			last = sampledTo(lines.Bytes(), s)
		case KindEnd:
			continue // of a run that was shorter
		}
		if line.Step <= last {
			kept = append(kept, bytes.Clone(lines.Bytes()))
		}
	}
	return kept, lines.Err()
}

// evaluatedTo is the last step of whose evaluations such a line is kept: one that was due and is done again goes.
func evaluatedTo(text []byte, s train.Start) int {
	var e Evaluation
	if json.Unmarshal(text, &e) == nil && !e.Asked && !e.Base {
		return s.Evaluated
	}
	return s.Step
}

// sampledTo is the same for samples.
func sampledTo(text []byte, s train.Start) int {
	var sample Sample
	if json.Unmarshal(text, &sample) == nil && sample.Number >= 0 {
		return s.Sampled
	}
	return s.Step
}

// Close closes the file.
func (l *File) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	l.failed = true
	return l.f.Close()
}
