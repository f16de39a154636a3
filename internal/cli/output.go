package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/term"
)

// output is standard output or standard error while a verb runs. It remembers the first error of writing, whatever
// whoever writes does with it. On a terminal, and on standard error, nothing that terminals obey comes through.
type output struct {
	name   string
	w      io.Writer
	file   *os.File // the terminal that it is, or nil
	safe   bool     // characters that terminals obey are escaped
	short  bool     // words that are very long are cut
	reader *reader

	mu   sync.Mutex
	part []byte // of a character that is not whole yet
	err  error
}

// reader is whoever reads the streams of a run. Once a pipe is closed nothing is written to any of them.
type reader struct {
	left atomic.Bool
	stop func() // called when the reader leaves
}

func newOutput(name string, w io.Writer, r *reader) *output {
	o := &output{name: name, w: w, reader: r}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		o.file, o.safe = f, true
	}
	return o
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.short {
		b = []byte(Shorten(string(b)))
	}
	text := b
	if o.safe {
		text, o.part = escaped(append(o.part, b...))
	}
	return len(b), o.write(text)
}

// write writes a text as it is.
func (o *output) write(text []byte) error {
	switch {
	case o.err != nil || len(text) == 0:
		return o.err
	case o.reader.left.Load():
		return io.ErrClosedPipe
	}
	if _, err := o.w.Write(text); err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		o.err = fmt.Errorf("write %s: %w", o.name, err)
		if isClosedPipe(err) {
			o.reader.left.Store(true)
			o.reader.stop()
		}
	}
	return o.err
}

// finish writes what is left and gives the first error of all writing.
func (o *output) finish() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.part) > 0 {
		text, rest := escaped(append(o.part, '\n')) // which ends the character that is not whole
		o.part = rest
		return o.write(text[:len(text)-1])
	}
	return o.err
}

// rawOutput writes to an output what terminals are to obey.
type rawOutput struct{ *output }

// Write implements io.Writer.
func (o rawOutput) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(b), o.write(b)
}

// Raw is a writer to the same stream for the program's own control characters, with texts out of files already made
// Printable.
func Raw(w io.Writer) io.Writer {
	if o, ok := w.(*output); ok {
		return rawOutput{o}
	}
	return w
}

// Terminal is the terminal that w writes to, nil where it is none.
func Terminal(w io.Writer) *os.File {
	if o, ok := w.(*output); ok {
		return o.file
	}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// Lost is the first error of writing results, nil where all of them were written so far.
func (s Streams) Lost() error {
	if o, ok := s.Out.(*output); ok {
		o.mu.Lock()
		defer o.mu.Unlock()
		return o.err
	}
	return nil
}

// isClosedPipe says whether an error is that nobody reads the pipe any more.
func isClosedPipe(err error) bool {
	if runtime.GOOS == "windows" {
		const brokenPipe, noData = syscall.Errno(109), syscall.Errno(232)
		if errors.Is(err, brokenPipe) || errors.Is(err, noData) {
			return true
		}
	}
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe)
}
