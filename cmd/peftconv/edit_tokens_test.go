package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/cli"
)

// TestAddToken adds a token to a model and trains it.
func TestAddToken(t *testing.T) {
	base, data := tinyBase(t, tiny), tinyText(t)
	grown, out := filepath.Join(t.TempDir(), "grown.gguf"), filepath.Join(t.TempDir(), "out.safetensors")
	args := []string{"train", "--data", data, "--out", out, "--steps", "2", "--seq-len", "48", "--batch-tokens", "96",
		"--train-tokens", "<|tool|>"}
	if _, stderr := want(t, cli.ExitError,
		append(args, "--base", base)...); !strings.Contains(stderr, "edit --add-token") {
		t.Errorf("stderr %q", stderr)
	}
	if stdout, _ := want(t, cli.ExitOK, "edit", base, "--add-token", "<|tool|>",
		"--out", grown); !strings.Contains(stdout, "1 token more") {
		t.Errorf("stdout %q", stdout)
	}
	want(t, cli.ExitOK, "verify", grown)
	if _, stderr := want(t, cli.ExitOK, append(args, "--base", grown)...); !strings.Contains(stderr, ", 1 token") {
		t.Errorf("stderr %q", stderr)
	}
	want(t, cli.ExitOK, "merge", "--lora", out, "--out", filepath.Join(t.TempDir(), "merged.gguf"))
	for wantError, args := range map[string][]string{
		"--add-token: needs --out": {"edit", base, "--add-token", "<x>"},
		"with --out only":          {"edit", base, "--add-token", "<x>", "--out", grown, "--set", "a=b"},
	} {
		if _, stderr := want(t, cli.ExitUsage, args...); !strings.Contains(stderr, wantError) {
			t.Errorf("stderr %q, expected %q", stderr, wantError)
		}
	}
}
