package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/cli"
)

func TestSplitAndJoin(t *testing.T) {
	base, dir := tinyBase(t, tiny), t.TempDir()
	prefix := filepath.Join(dir, "part")
	out, _ := want(t, cli.ExitOK, "split", base, prefix+".gguf", "--max-tensors", "8", "--dry-run")
	if !strings.Contains(out, "part-00003-of-00003.gguf") || !strings.Contains(out, "nothing written: 3 files") {
		t.Errorf("the dry run shows\n%s", out)
	}
	empty(t, dir)
	out, _ = want(t, cli.ExitOK, "split", base, prefix, "--max-tensors", "8")
	if !strings.Contains(out, "the model opens from part-00001-of-00003.gguf") {
		t.Errorf("split shows\n%s", out)
	}
	joined := filepath.Join(dir, "joined.gguf")
	out, _ = want(t, cli.ExitOK, "join", prefix+"-00002-of-00003.gguf", joined)
	if !strings.Contains(out, "20 tensors from 3 files") {
		t.Errorf("join shows\n%s", out)
	}
	same(t, base, joined)
	want(t, cli.ExitOK, "generate", "--base", prefix+"-00001-of-00003.gguf", "--prompt", "the", "--n", "2")

	_, stderr := want(t, cli.ExitError, "split", base, prefix, "--max-tensors", "8")
	if !strings.Contains(stderr, "is there already") || !strings.Contains(stderr, "--force") {
		t.Errorf("stderr %q", stderr)
	}
	out, _ = want(t, cli.ExitOK, "split", base, prefix, "--max-size", "20kB", "--force", "--no-tensor-first", "--json")
	doc := document(t, out, "file", "written", "shards")
	list := doc["shards"].([]any)
	if first := list[0].(map[string]any); first["tensors"] != 0.0 || len(list) < 4 {
		t.Errorf("shards %v", list)
	}
	_, stderr = want(t, cli.ExitError, "join", joined, filepath.Join(dir, "x.gguf"))
	if !strings.Contains(stderr, "is a whole model") {
		t.Errorf("stderr %q", stderr)
	}
	shard := list[1].(map[string]any)["path"].(string)
	want(t, cli.ExitError, "join", shard, shard)
	if err := os.Remove(shard); err != nil {
		t.Fatal(err)
	}
	_, stderr = want(t, cli.ExitError, "join", list[0].(map[string]any)["path"].(string), joined)
	if !strings.Contains(stderr, filepath.Base(shard)) || !strings.Contains(stderr, "missing") {
		t.Errorf("stderr %q does not name the missing file", stderr)
	}
	same(t, base, joined)
}

func TestSplitUsage(t *testing.T) {
	for _, c := range []struct{ args, message string }{
		{"a", "expected FILE and PREFIX"},
		{"a b", "--max-tensors or --max-size"},
		{"a b --max-tensors 3 --max-size 3G", "one of them"},
		{"a b --max-tensors -1", "--max-tensors: -1"},
		{"a b --max-size 3X", "expected a number of bytes"},
		{"a b --max-size 0", "at least 1 byte"},
		{"a .gguf --max-size 1G", "PREFIX is empty"},
	} {
		if _, stderr := want(t, cli.ExitUsage,
			append([]string{"split"}, strings.Fields(c.args)...)...); !strings.Contains(stderr, c.message) {
			t.Errorf("%s: stderr %q lacks %q", c.args, stderr, c.message)
		}
	}
	want(t, cli.ExitUsage, "join", "a")
	want(t, cli.ExitError, "join", "absent.gguf", "b.gguf")
	want(t, cli.ExitError, "split", "absent.gguf", "b", "--max-tensors", "1")
}

// large writes a model of some MB, so that copying it takes a while.
func large(t *testing.T) string {
	m := tiny
	m.width, m.ffn, m.heads, m.layers = 512, 2048, 8, 6
	return tinyBase(t, m)
}

// TestKilledSplitLeavesNothingHalf: where the first file is there, all are, and they are the model.
func TestKilledSplitLeavesNothingHalf(t *testing.T) {
	base := large(t)
	run := func(prefix string) []string { return []string{"split", base, prefix, "--max-tensors", "10"} }
	whole := filepath.Join(t.TempDir(), "m")
	start := time.Now()
	killAfter(t, time.Minute, run(whole)...)
	for _, delay := range kills(time.Since(start)) {
		dir := t.TempDir()
		killAfter(t, delay, run(filepath.Join(dir, "m"))...)
		shards, err := filepath.Glob(filepath.Join(dir, "m-*.gguf"))
		if err != nil {
			t.Fatal(err)
		}
		for _, shard := range shards {
			same(t, shard, filepath.Join(filepath.Dir(whole), filepath.Base(shard)))
		}
		if first := filepath.Join(dir, "m-00001-of-00006.gguf"); cli.Exists(first) {
			f, err := gguf.Open(first)
			if err != nil {
				t.Fatalf("killed after %v: %v", delay, err)
			}
			f.Close()
		}
	}
}

func TestKilledJoinLeavesNothingHalf(t *testing.T) {
	base := large(t)
	prefix := filepath.Join(t.TempDir(), "m")
	want(t, cli.ExitOK, "split", base, prefix, "--max-tensors", "10")
	whole, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	run := func(out string) []string { return []string{"join", gguf.SplitPath(prefix, 0, 6), out, "--force"} }
	start := time.Now()
	killAfter(t, time.Minute, run(filepath.Join(t.TempDir(), "whole.gguf"))...)
	for _, delay := range kills(time.Since(start)) {
		out := filepath.Join(t.TempDir(), "joined.gguf")
		if err := os.WriteFile(out, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		killAfter(t, delay, run(out)...)
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, whole) && string(got) != "old" {
			t.Errorf("killed after %v: %d bytes under the final name: %v", delay, len(got), err)
		}
	}
}
