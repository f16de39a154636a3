package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/atomicfile"
)

// asProgram makes this test binary the program of a test: the value is a directory.
const asProgram = "CLI_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if dir := os.Getenv(asProgram); dir != "" {
		verb := &Verb{Name: "stubborn", New: func() Command { return &stubborn{dir} }}
		p := &Program{Name: "test", Verbs: []*Verb{verb}, Help: func(error) string { return "" }}
		os.Exit(p.Main())
	}
	os.Exit(m.Run())
}

// stubborn is a verb that does not notice that it is to end. What it has done is saved in two seconds.
type stubborn struct{ dir string }

func (v *stubborn) Flags(*pflag.FlagSet)    {}
func (v *stubborn) Validate([]string) error { return nil }
func (v *stubborn) Run(_ context.Context, s Streams) error {
	s.BeforeEnd(func() { os.WriteFile(filepath.Join(v.dir, "not needed"), nil, 0o600) })()
	defer s.BeforeEnd(func() {
		time.Sleep(2 * time.Second)
		os.WriteFile(filepath.Join(v.dir, "saved"), nil, 0o600)
		fmt.Fprintln(s.Err, "saved")
	})()
	f, err := atomicfile.Create(filepath.Join(v.dir, "result"))
	if err != nil {
		return err
	}
	defer f.Abort()
	fmt.Fprintln(s.Out, "begun")
	for {
		time.Sleep(time.Hour)
	}
}

// TestStubbornVerbs ends processes with one signal or two.
func TestStubbornVerbs(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals to send on Windows")
	}
	for name, signals := range map[string][]os.Signal{
		"SIGINT": {os.Interrupt}, "SIGTERM": {syscall.SIGTERM}, "twice": {os.Interrupt, os.Interrupt},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cmd := exec.Command(os.Args[0], "stubborn")
			cmd.Env = append(os.Environ(), asProgram+"="+dir)
			var errs bytes.Buffer
			cmd.Stderr = &errs
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			defer time.AfterFunc(time.Minute, func() { cmd.Process.Kill() }).Stop()
			bufio.NewReader(out).ReadString('\n')
			for _, s := range signals {
				cmd.Process.Signal(s)
				time.Sleep(100 * time.Millisecond)
			}
			io.Copy(io.Discard, out)
			cmd.Wait()
			if status := cmd.ProcessState.ExitCode(); status != ExitInterrupted ||
				errs.String() != "saved\ntest stubborn: interrupted\n" {
				t.Errorf("status %d, %q", status, errs.String())
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) != 1 || left[0].Name() != "saved" {
				t.Errorf("%v are left (%v), want what was saved alone", left, err)
			}
		})
	}
}
