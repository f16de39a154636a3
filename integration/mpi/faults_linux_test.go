package mpi

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// started is a run under way.
type started struct {
	*exec.Cmd
	out    bytes.Buffer
	folder string
	ended  chan struct{}
}

// start starts a run that would take long, and waits until it has written a checkpoint.
func start(t *testing.T, folder string, args ...string) *started {
	t.Helper()
	s := &started{Cmd: exec.Command(args[0], args[1:]...), folder: folder, ended: make(chan struct{})}
	s.Dir, s.Stdout, s.Stderr = folder, &s.out, &s.out
	s.Env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(dir, "cache"), "PEFTCONV_HEARTBEAT=6")
	s.WaitDelay = 5 * time.Second
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = s.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() {
		_ = s.Process.Kill()
		for _, pid := range s.ranks() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	for range 1200 {
		if found, _ := filepath.Glob(filepath.Join(folder, "out.checkpoint*.safetensors")); len(found) > 0 {
			return s
		}
		select {
		case <-s.ended:
			t.Fatalf("it ended before there was a checkpoint:\n%s", s.out.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatal("there was no checkpoint after a minute")
	return nil
}

// ranks are the processes of the run that are there, the first first.
func (s *started) ranks() (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		words := strings.Split(string(line), "\x00")
		cwd, _ := os.Readlink(filepath.Join("/proc", e.Name(), "cwd"))
		if len(words) > 1 && words[1] == "train" && cwd == s.folder {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// within waits for the end of the run, with a status that is not 0, and no process left. That takes seconds, more where
// others keep the processors busy.
func (s *started) within(t *testing.T) (out string) {
	t.Helper()
	const most = 90 * time.Second
	from := time.Now()
	select {
	case <-s.ended:
	case <-time.After(most):
		t.Fatalf("it has not ended in %v:\n%s", most, s.out.String())
	}
	for len(s.ranks()) > 0 && time.Since(from) < most {
		time.Sleep(50 * time.Millisecond)
	}
	if left := s.ranks(); len(left) > 0 {
		t.Errorf("the processes %v are left", left)
	}
	if status := s.ProcessState.ExitCode(); status == 0 {
		t.Errorf("status 0\n%s", s.out.String())
	}
	t.Logf("it ended after %.1f s", time.Since(from).Seconds())
	return s.out.String()
}

// long are the arguments of a run that would take minutes.
func long() []string { return arguments("--steps", "4000", "--save-every", "3", "--dropout", "0.1") }

// wholeCheckpoint wants the checkpoint to be one that a run goes on from.
func wholeCheckpoint(t *testing.T, folder string) {
	t.Helper()
	path := filepath.Join(folder, "out.checkpoint.safetensors")
	if out, status := run(t, folder, nil, plain, "verify", path); status != 0 {
		t.Errorf("the checkpoint: status %d\n%s", status, out)
	}
}

// TestDeath kills a rank, stops one, interrupts one and the launcher: all end, and the checkpoint is whole.
func TestDeath(t *testing.T) {
	needs(t)
	for _, l := range libraries {
		for name, c := range map[string]struct {
			rank   int // -1: the launcher
			signal syscall.Signal
			says   string
		}{
			"killed":       {1, syscall.SIGKILL, ""},
			"first killed": {0, syscall.SIGKILL, ""},
			"stopped":      {1, syscall.SIGSTOP, "has given no sign of life for"},
			"ended":        {1, syscall.SIGTERM, "To resume:"},
			"launcher":     {-1, syscall.SIGINT, "To resume:"},
		} {
			t.Run(l.name+", "+name, func(t *testing.T) {
				folder := t.TempDir()
				s := start(t, folder, l.ranks(3, long()...)...)
				pid := s.Process.Pid
				if c.rank >= 0 {
					pids := s.ranks()
					if len(pids) != 3 {
						t.Fatalf("%d ranks, expected 3", len(pids))
					}
					pid = pids[c.rank]
				}
				if err := syscall.Kill(pid, c.signal); err != nil {
					t.Fatal(err)
				}
				if out := s.within(t); !strings.Contains(out, c.says) {
					t.Errorf("it says\n%s\nexpected %q", out, c.says)
				}
				wholeCheckpoint(t, folder)
			})
		}
	}
}

// TestFullDisk wants a rank 0 that cannot write its checkpoint to end all ranks and say why.
func TestFullDisk(t *testing.T) {
	needs(t)
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	for _, l := range libraries {
		folder := t.TempDir()
		if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "size=2500k"); err != nil {
			t.Skipf("mounting a small file system: %v", err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(folder, syscall.MNT_DETACH) }) // a launcher may be there for a moment more
		s := start(t, folder, l.ranks(3, arguments("--steps", "4000", "--save-every", "2", "--keep", "9")...)...)
		out := s.within(t)
		if !strings.Contains(out, "no space left on device") {
			t.Errorf("%s: it says\n%s", l.name, out)
		}
	}
}

// TestRefused wants ranks that differ to refuse to begin, and to name what differs.
func TestRefused(t *testing.T) {
	needs(t)
	for _, l := range libraries {
		wrong := filepath.Join(dir, "wrong-"+filepath.Base(l.program))
		data, err := os.ReadFile(l.program)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(wrong, append(data, 0), 0o777); err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			program     string
			base, data  string
			flag, value string
			says        string
		}{
			"a wrong program": {wrong, "base.gguf", "train.txt", "--seed", "42", "the program (SHA-256) is"},
			"a wrong base":    {l.program, "other.gguf", "train.txt", "--seed", "42", "the base (SHA-256) is"},
			"wrong data":      {l.program, "base.gguf", "other.txt", "--seed", "42", "the training data (SHA-256) is"},
			"another seed":    {l.program, "base.gguf", "train.txt", "--seed", "7", "is"},
		} {
			folder := t.TempDir()
			args := func(program, base, data, value string) []string {
				return []string{program, "train", "--base", filepath.Join(dir, base), "--data", filepath.Join(dir, data),
					c.flag, value, "--lr", "1e-3", "--steps", "2", "--quiet", "--out", "out.safetensors"}
			}
			command := slices.Concat(l.launch, []string{"1"}, args(l.program, "base.gguf", "train.txt", "42"),
				[]string{":", "-n", "1"}, args(c.program, c.base, c.data, c.value))
			out, status := run(t, folder, nil, command...)
			if status != 1 || !strings.Contains(out, "the ranks cannot work together: ") || !strings.Contains(out, c.says) ||
				!strings.Contains(out, "on rank 1 (") {
				t.Errorf("%s, %s: status %d\n%s", l.name, name, status, out)
			}
			if entries, _ := os.ReadDir(folder); len(entries) > 0 {
				t.Errorf("%s, %s: it left %v", l.name, name, entries)
			}
		}
	}
}
