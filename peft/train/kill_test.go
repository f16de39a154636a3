//go:build unix

package train

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/pefttest/merging"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/method"
)

// killEnv makes the test binary do one job over and over until it is killed: "train BASE OUT" or "merge BASE OUT".
const killEnv = "PEFT_TEST_JOB"

func TestMain(m *testing.M) {
	if job := os.Getenv(killEnv); job != "" {
		if err := runJob(job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// runJob is what the killed process does. It prints a line when it begins to work.
func runJob(job string) error {
	var kind, base, out string
	if _, err := fmt.Sscan(job, &kind, &base, &out); err != nil {
		return err
	}
	b, err := attach.OpenBase(base)
	if err != nil {
		return err
	}
	a, err := methods.NewLoRA(b, method.LoRA{})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	if kind == "train" {
		_, err = trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), nil,
			plain(Options{Steps: 1e6, SaveEvery: 1, Out: out}))
		return err
	}
	for {
		if err := os.Remove(out); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if _, err := merge.Run(context.Background(), pefttest.Base(b),
			pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), out, merge.Options{}); err != nil {
			return err
		}
	}
}

// killed runs a job and kills it after a while.
func killed(t *testing.T, job string, after time.Duration) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killEnv+"="+job)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	if _, err := fmt.Fscanln(stdout, new(string)); err != nil {
		t.Fatalf("the process did not begin: %v, %s", err, stderr.String())
	}
	time.Sleep(after)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatalf("the process ended early: %v, %s", err, stderr.String())
	}
}

// TestKilled kills training and merging at many moments. Under the final name there is nothing or something whole.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	path := pefttest.WriteTinyK(t)
	whole, _ := merging.Into(t, pefttest.OpenBase(t, path), merge.Options{},
		attach.Scaled{Adapter: freshLoRA(t, path), Scale: 1})
	want := pefttest.FileBytes(t, whole)
	dir := t.TempDir()
	merged, adapter := filepath.Join(dir, "merged.gguf"), filepath.Join(dir, "out.safetensors")
	for i := range 12 {
		killed(t, "merge "+path+" "+merged, time.Duration(i)*7*time.Millisecond)
		if got, err := os.ReadFile(merged); err == nil && !bytes.Equal(got, want) {
			t.Errorf("a killed merge left %d of %d bytes", len(got), len(want))
		}
		killed(t, "train "+path+" "+adapter, time.Duration(i)*9*time.Millisecond)
		if _, err := os.Stat(adapter); err == nil {
			t.Error("a killed training left an adapter")
		}
		checkpoint := CheckpointPath(adapter)
		if _, err := os.Stat(checkpoint); err != nil {
			continue
		}
		if _, err := attach.Load(checkpoint); err != nil {
			t.Errorf("a killed training left a checkpoint that cannot be read: %v", err)
		}
	}
}

func freshLoRA(t *testing.T, path string) *attach.Adapter {
	t.Helper()
	a, err := methods.NewLoRA(pefttest.OpenBase(t, path), method.LoRA{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}
