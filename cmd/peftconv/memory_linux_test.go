package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/cli"
)

// emptyModel makes a file of six tensors of 16 Mi weights that are zero, which take no space on the disk.
func emptyModel(t *testing.T, typ gguf.Type) string {
	t.Helper()
	var table []gguf.Tensor
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		table = append(table, gguf.Tensor{Name: name, Shape: []int64{4096, 4096}, Type: typ})
	}
	var header bytes.Buffer
	w, err := gguf.NewWriter(&header, nil, table)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "empty.gguf")
	if err := os.WriteFile(path, header.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, w.Size()); err != nil {
		t.Fatal(err)
	}
	return path
}

// watch runs the program and gives the most memory that it was seen to hold. (The value of wait includes what its
// parent held at the fork.)
func watch(t *testing.T, status int, args ...string) int64 {
	t.Helper()
	var stderr bytes.Buffer
	cmd := process(t, &stderr, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- cmd.Wait() }()
	peak := int64(0)
	for {
		select {
		case err := <-ended:
			if code := cmd.ProcessState.ExitCode(); code != status {
				t.Fatalf("%v: %v: %s", args, err, stderr.String())
			}
			return peak
		case <-time.After(2 * time.Millisecond):
			peak = max(peak, highWater(cmd.Process.Pid))
		}
	}
}

// highWater is the most memory that a process has held so far, in bytes; 0 when it has ended.
func highWater(pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, line, _ := strings.Cut(string(data), "VmHWM:")
	var kibibytes int64
	if _, err := fmt.Sscan(line, &kibibytes); err != nil {
		return 0
	}
	return kibibytes << 10
}

// TestMemoryIsBounded runs the verbs that go through whole files on one much larger than what they may hold at a time.
func TestMemoryIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("writes large files")
	}
	const limit = 220 << 20
	model, halves := emptyModel(t, gguf.F32), emptyModel(t, gguf.F16)
	dir := t.TempDir()
	prefix := filepath.Join(dir, "m")
	for _, c := range []struct {
		status int
		args   []string
	}{
		{cli.ExitError, []string{"verify", model, "--hashes"}}, // it has no architecture
		{cli.ExitError, []string{"verify", model, "--against", halves}},
		{cli.ExitOK, []string{"diff", model, halves}},
		{cli.ExitOK, []string{"diff", model, model}},
		{cli.ExitOK, []string{"split", model, prefix, "--max-size", "200M"}},
		{cli.ExitOK, []string{"join", gguf.SplitPath(prefix, 0, 3), filepath.Join(dir, "joined.gguf")}},
		{cli.ExitOK, []string{"edit", halves, "--set", "x.y=z"}},
		{cli.ExitOK, []string{"edit", halves, "--set", "general.alignment:u32=4096"}},
	} {
		peak := watch(t, c.status, c.args...)
		t.Logf("%s: %s", c.args[0], cli.BytesText(peak))
		if peak > limit {
			t.Errorf("%v: %s, expected at most %s", c.args, cli.BytesText(peak), cli.BytesText(limit))
		}
	}
	want(t, cli.ExitOK, "diff", model, filepath.Join(dir, "joined.gguf"), "--exit-code")
}
