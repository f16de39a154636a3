package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/pflag"
)

// says is a program whose one verb prints, and then goes on until it is cancelled where it is told to wait.
type says struct {
	text string
	wait bool
	err  error
}

func (v *says) Flags(*pflag.FlagSet)    {}
func (v *says) Validate([]string) error { return nil }
func (v *says) Run(ctx context.Context, s Streams) error {
	table := NewTable(s.Out) // whose errors nobody looks at
	fmt.Fprint(table, v.text)
	table.Flush()
	fmt.Fprint(s.Err, "progress\n")
	if v.wait {
		<-ctx.Done()
		return ctx.Err()
	}
	return v.err
}

func (v *says) program() *Program {
	verb := &Verb{Name: "say", New: func() Command { return v }}
	return &Program{Name: "test", Version: "1", Verbs: []*Verb{verb}, Help: func(error) string { return "" }}
}

// failing is a stream that cannot be written to.
type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestLostResults(t *testing.T) {
	lost := "write standard output: no space left on device\n"
	for _, c := range []struct {
		args   []string
		err    error
		status int
		want   string
	}{
		{[]string{"say"}, nil, ExitError, "progress\ntest say: " + lost},
		{[]string{"help"}, nil, ExitError, "test help: " + lost},
		{[]string{"help", "say"}, nil, ExitError, "test say: " + lost},
		{[]string{"say", "--help"}, nil, ExitError, "test say: " + lost},
		{[]string{"version"}, nil, ExitError, "test: " + lost},
		{[]string{"say"}, errors.New("a problem"), ExitError, "progress\ntest say: a problem\n"},
		{[]string{"say"}, &StatusError{Status: 7}, 7, "progress\ntest say: " + lost},
	} {
		var errs bytes.Buffer
		v := &says{text: "result\n", err: c.err}
		status := v.program().Run(t.Context(), c.args, Streams{Out: failing{syscall.ENOSPC}, Err: &errs})
		if status != c.status || errs.String() != c.want {
			t.Errorf("%q: status %d and %q, want %d and %q", c.args, status, errs.String(), c.status, c.want)
		}
	}
}

func TestClosedPipe(t *testing.T) {
	v := &says{text: "result\n", wait: true}
	var out, errs bytes.Buffer
	if status := v.program().Run(t.Context(), []string{"say"}, Streams{Out: failing{syscall.EPIPE}, Err: &errs}); status !=
		ExitClosedPipe || errs.Len() > 0 {
		t.Errorf("standard output: status %d, %q", status, errs.String())
	}
	if status := v.program().Run(t.Context(), []string{"say"}, Streams{Out: &out, Err: failing{syscall.EPIPE}}); status !=
		ExitClosedPipe || out.String() != "result\n" {
		t.Errorf("standard error: status %d, %q", status, out.String())
	}
}

// TestNothingIsObeyed writes what terminals obey.
func TestNothingIsObeyed(t *testing.T) {
	const evil = "a\x1b[2J\r\x7f\u0085\u202eb\u2066\x9bc\tµ→\n"
	const safe = `a\x1b[2J\r\x7f\u0085\u202eb\u2066\x9bc` + "\tµ→\n"
	for n := 1; n < 4; n++ {
		var to bytes.Buffer
		o := newOutput("a stream", &to, &reader{})
		o.safe = true
		for text := evil; text != ""; text = text[min(n, len(text)):] {
			io.WriteString(o, text[:min(n, len(text))])
		}
		o.finish()
		if to.String() != safe {
			t.Errorf("%d bytes at a time: %q, want %q", n, to.String(), safe)
		}
		fmt.Fprint(Raw(o), "\r")
		io.WriteString(o, "µ"[:1])
		o.finish()
		if got := strings.TrimPrefix(to.String(), safe); got != "\r"+`\xc2` {
			t.Errorf("the program's own and half a character: %q", got)
		}
	}
	var errs bytes.Buffer
	v := &says{text: "x", err: fmt.Errorf("tensor %s: \x1b[31mwrong %q, it is odd", strings.Repeat("n", 1<<20),
		strings.Repeat("a b", 1<<18))}
	v.program().Run(t.Context(), []string{"say"}, Streams{Out: io.Discard, Err: &errs})
	for _, want := range []string{"tensor nnn", "nn… (1,048,577 bytes) …nn", ` \x1b[31mwrong "a ba b`,
		`… (786,434 bytes) …`, `ba b", it is odd` + "\n"} {
		if len(errs.String()) > 1000 || !strings.Contains(errs.String(), want) {
			t.Errorf("an error without %q: %.2000q", want, errs.String())
		}
	}
}

// TestLostProfile writes a profile to a disk that is full, which the profiler does not notice.
func TestLostProfile(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /dev/full")
	}
	err := Profiled("/dev/full", func() error { return nil })
	if err == nil || err.Error() != "write /dev/full: no space left on device" {
		t.Errorf("error %v", err)
	}
}
