package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/runlog"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/train"
)

// asProgram makes this test binary behave as peftconv, so that tests can run it as a process of its own and kill it.
const asProgram = "PEFTCONV_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	testscript.Main(cached{m}, map[string]func(){"peftconv": main})
}

// cached runs the tests with a cache of their own, where bases are remembered.
type cached struct{ *testing.M }

// Run implements testscript.TestingM.
func (c cached) Run() int {
	if cache, err := os.MkdirTemp("", "peftconv-cache-*"); err == nil {
		defer os.RemoveAll(cache)
		for _, name := range []string{"XDG_CACHE_HOME", "LocalAppData"} {
			os.Setenv(name, cache)
		}
	}
	return c.M.Run()
}

// process prepares the program as a process of its own.
func process(t *testing.T, stderr io.Writer, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stderr = stderr
	return cmd
}

// killAfter starts the program and kills it after a time, or lets it end where it is faster.
func killAfter(t *testing.T, delay time.Duration, args ...string) {
	t.Helper()
	var stderr bytes.Buffer
	cmd := process(t, &stderr, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(delay, func() { cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() > 0 {
		t.Fatalf("%v: %s", err, stderr.String())
	}
}

// kills are the moments at which the tests kill: spread over what a whole run takes.
func kills(whole time.Duration) []time.Duration {
	n := 12
	if testing.Short() {
		n = 4
	}
	var at []time.Duration
	for i := range n {
		at = append(at, whole*time.Duration(i+1)/time.Duration(n))
	}
	return at
}

func TestKilledTrainLeavesNothingHalf(t *testing.T) {
	base, data := tinyBase(t, tiny), tinyText(t)
	run := func(out string) []string {
		return []string{"train", "--base", base, "--data", data, "--out", out, "--steps", "60", "--seq-len", "48",
			"--batch-tokens", "96", "--save-every", "1"}
	}
	start := time.Now()
	killAfter(t, time.Minute, run(filepath.Join(t.TempDir(), "whole.safetensors"))...)
	for _, delay := range kills(time.Since(start)) {
		out := filepath.Join(t.TempDir(), "out.safetensors")
		killAfter(t, delay, run(out)...)
		for _, path := range []string{out, train.CheckpointPath(out)} {
			if !cli.Exists(path) {
				continue
			}
			if _, err := peft.Load(path); err != nil {
				t.Errorf("killed after %v: %v", delay, err)
			}
		}
	}
}

func TestKilledMergeLeavesNothingHalf(t *testing.T) {
	m := tiny
	m.width, m.ffn, m.heads, m.layers = 512, 2048, 8, 6
	base := tinyBase(t, m)
	adapter := trained(t, base, "--steps", "1", "--targets", "ffn")
	run := func(out string) []string { return []string{"merge", "--base", base, "--lora", adapter, "--out", out} }
	whole := filepath.Join(t.TempDir(), "whole.gguf")
	start := time.Now()
	killAfter(t, time.Minute, run(whole)...)
	took := time.Since(start)
	want, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	for _, delay := range kills(took) {
		out := filepath.Join(t.TempDir(), "merged.gguf")
		killAfter(t, delay, run(out)...)
		got, err := os.ReadFile(out)
		if err == nil && !bytes.Equal(got, want) {
			t.Errorf("killed after %v: %d bytes under the final name, a whole file has %d", delay, len(got), len(want))
		}
	}
}

// sharedBuffer is a buffer that one goroutine fills while another looks.
type sharedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *sharedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *sharedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestInterruptedTrainingGoesOn interrupts a run as Ctrl-C does, runs the command that it prints, and compares with a
// run that was not interrupted.
func TestInterruptedTrainingGoesOn(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals to send on Windows")
	}
	base, data := tinyBase(t, tiny), tinyText(t)
	run := func(out string) []string {
		return []string{"train", "--base", base, "--data", data, "--out", out, "--steps", "400", "--seq-len", "48",
			"--batch-tokens", "96", "--dropout", "0.1"}
	}
	whole := filepath.Join(t.TempDir(), "whole.safetensors")
	want(t, cli.ExitOK, run(whole)...)

	out := filepath.Join(t.TempDir(), "out.safetensors")
	var stderr sharedBuffer
	cmd := process(t, &stderr, run(out)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); !hasStep(runlog.Path(out)) && time.Since(start) < time.Minute; {
		time.Sleep(10 * time.Millisecond)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code == cli.ExitOK {
		t.Skip("the run was over before it could be interrupted")
	} else if code != cli.ExitInterrupted {
		t.Fatalf("exit status %d: %s", code, stderr.String())
	}
	if cli.Exists(out) {
		t.Error("an interrupted run wrote the adapter")
	}
	_, command, found := strings.Cut(stderr.String(), "\n\n  peftconv ")
	command, _, _ = strings.Cut(command, "\n")
	if !found || !strings.Contains(command, "--resume "+train.CheckpointPath(out)) {
		t.Fatalf("no command to go on with in %s", stderr.String())
	}
	want(t, cli.ExitOK, strings.Fields(command)...)
	same(t, whole, out)
	if cli.Exists(train.CheckpointPath(out)) {
		t.Error("the checkpoint is still there after the run ended")
	}
}

// hasStep reports whether the log of a run has a step.
func hasStep(log string) bool {
	data, err := os.ReadFile(log)
	return err == nil && bytes.Contains(data, []byte(`"kind":"`+runlog.KindStep))
}

// TestInterruptedWhileWaiting interrupts a verb that waits for standard input, which nothing but the end of the process
// can end.
func TestInterruptedWhileWaiting(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no signals to send on Windows")
	}
	base := tinyBase(t, tiny)
	for _, args := range [][]string{
		{"generate", "--base", base, "--file", "-"},
		{"train", "--base", base, "--data", "-", "--out", filepath.Join(t.TempDir(), "out.safetensors")},
	} {
		var stderr sharedBuffer
		cmd := process(t, &stderr, append(args, "--verbose")...)
		stdin, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		defer stdin.Close()
		for start := time.Now(); stderr.String() == "" && time.Since(start) < time.Minute; {
			time.Sleep(10 * time.Millisecond) // before its first output it may not listen to signals yet
		}
		cmd.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
		cmd.Wait()
		timer.Stop()
		want := "peftconv " + args[0] + ": interrupted\n"
		if status := cmd.ProcessState.ExitCode(); status != cli.ExitInterrupted || !strings.HasSuffix(stderr.String(), want) {
			t.Errorf("%s: status %d, %q", args[0], status, stderr.String())
		}
	}
}

// TestCancelledVerbsLeaveNothing cancels before the work begins, which every verb has to notice.
func TestCancelledVerbsLeaveNothing(t *testing.T) {
	base, data := tinyBase(t, tiny), tinyText(t)
	adapter := trained(t, base)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, args := range [][]string{
		{"merge", "--lora", adapter, "--out"},
		{"demo", "--dir"},
		{"eval", "--base", base, "--data", data, "--ctx", "32", "--lora"},
		{"generate", "--base", base, "--prompt", "the", "--lora"},
	} {
		dir := t.TempDir()
		last := filepath.Join(dir, "merged.gguf")
		if args[0] == "eval" || args[0] == "generate" {
			last = adapter
		}
		var out, errs bytes.Buffer
		if status := run(ctx, append(args, last),
			cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errs}); status != cli.ExitInterrupted {
			t.Errorf("%s: exit status %d, want %d: %s", args[0], status, cli.ExitInterrupted, errs.String())
		}
		if args[0] == "merge" {
			empty(t, dir)
		}
	}
}

// same compares two files.
func same(t *testing.T, a, b string) {
	t.Helper()
	x, errX := os.ReadFile(a)
	y, errY := os.ReadFile(b)
	if errX != nil || errY != nil {
		t.Fatal(errX, errY)
	}
	if !bytes.Equal(x, y) {
		t.Errorf("%s and %s differ", a, b)
	}
}
