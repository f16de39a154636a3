package mpi

import (
	"os"
	"syscall"
	"testing"
	"time"
)

// TestNetwork wants two hosts, with two ranks each, over a wire that loses frames to write the bytes of the plain
// program.
func TestNetwork(t *testing.T) {
	needs(t)
	l := newLink(t, wire{delay: time.Millisecond, loss: 0.01, rate: 100e6})
	args := arguments("--dropout", "0.1", "--save-every", "2", "--keep", "2", "--eval-every", "2", "--keep-best")
	alone := t.TempDir()
	if out, status := run(t, alone, nil, append([]string{plain}, args...)...); status != 0 {
		t.Fatalf("status %d\n%s", status, out)
	}
	want := hashes(t, alone)
	for _, lib := range libraries {
		folder := t.TempDir()
		command, env := l.ranks(lib, 2, args...)
		start := time.Now()
		if out, status := run(t, folder, env, command...); status != 0 {
			t.Fatalf("%s: status %d\n%s", lib.name, status, out)
		}
		t.Logf("%s: %.1f s", lib.name, time.Since(start).Seconds())
		for file, hash := range hashes(t, folder) {
			if hash != want[file] {
				t.Errorf("%s: %s has the SHA-256 %s, expected %s", lib.name, file, hash, want[file])
			}
		}
	}
}

// TestNetworkFaults cuts the wire, and kills and stops a rank on the other host.
func TestNetworkFaults(t *testing.T) {
	needs(t)
	for _, lib := range libraries {
		for _, fault := range []string{"cut", "killed", "stopped"} {
			t.Run(lib.name+", "+fault, func(t *testing.T) {
				l := newLink(t, wire{delay: time.Millisecond, rate: 100e6})
				folder := t.TempDir()
				command, env := l.ranks(lib, 2, long()...)
				for _, v := range env {
					t.Setenv(v[:len(v)-len(after(v))-1], after(v))
				}
				s := start(t, folder, command...)
				pids := s.ranks()
				if len(pids) != 4 {
					t.Fatalf("%d ranks, expected 4", len(pids))
				}
				last := pids[3]
				switch fault {
				case "cut":
					l.lost.Store(true)
				case "killed":
					_ = syscall.Kill(last, syscall.SIGKILL)
				case "stopped":
					_ = syscall.Kill(last, syscall.SIGSTOP)
				}
				t.Log(s.within(t))
				wholeCheckpoint(t, folder)
			})
		}
	}
}

// after is the value of NAME=VALUE.
func after(v string) string {
	for i := range v {
		if v[i] == '=' {
			return v[i+1:]
		}
	}
	return os.Getenv(v)
}
