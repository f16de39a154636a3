package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/cli"
)

// TestLinearMethods goes through training, evaluation, merging and export of each method with its defaults.
func TestLinearMethods(t *testing.T) {
	base := tinyBase(t, tiny)
	data := tinyText(t)
	for _, c := range []struct {
		method  string
		exports bool // as a GGUF LoRA
		peft    bool // as a PEFT directory
		flags   []string
	}{
		{"ia3", true, true, []string{"--targets", "attention,ffn", "--scaled-inputs", "o_proj"}},
		{"ln-tuning", false, true, []string{"--targets", "norm"}},
		{"bitfit", false, false, []string{"--layers", "first:1"}},
		{"loha", true, true, []string{"--rank", "4", "--alpha", "4"}},
		{"lokr", true, true, []string{"--factor", "4", "--decompose-both"}},
		{"vera", true, true, []string{"--rank", "16", "--projection-key", "7", "--d-start", "0.2"}},
		{"oft", true, true, []string{"--block-size", "8", "--exact-rotation", "--block-share"}},
		{"adalora", true, true, []string{"--start-rank", "10", "--rank-warmup", "0", "--rank-interval", "2", "--orthogonal",
			"0"}},
	} {
		t.Run(c.method, func(t *testing.T) {
			dir := t.TempDir()
			adapter := filepath.Join(dir, "out.safetensors")
			train := []string{"train", "--base", base, "--data", data, "--method", c.method, "--steps", "4", "--seq-len", "24",
				"--batch-tokens", "48"}
			want(t, cli.ExitOK, append(append(train, "--out", filepath.Join(dir, "other.safetensors")), c.flags...)...)
			stdout, _ := want(t, cli.ExitOK, append(train, "--out", adapter, "--json")...)
			var r struct {
				Base float64 `json:"base_loss"`
				Eval float64 `json:"eval_loss"`
			}
			if err := json.Unmarshal([]byte(stdout), &r); err != nil || r.Eval > r.Base-0.01 {
				t.Errorf("the loss went from %.4f to %.4f, %v", r.Base, r.Eval, err)
			}
			want(t, cli.ExitOK, "eval", "--base", base, "--lora", adapter, "--data", data, "--ctx", "16")
			want(t, cli.ExitOK, "generate", "--base", base, "--lora", adapter, "--prompt", "the", "--n", "4")
			want(t, cli.ExitOK, "merge", "--lora", adapter, "--out", filepath.Join(dir, "merged.gguf"))
			want(t, map[bool]int{true: cli.ExitOK, false: cli.ExitError}[c.exports], "export", "--lora", adapter, "--to", "gguf",
				"--out", filepath.Join(dir, "lora.gguf"))
			want(t, map[bool]int{true: cli.ExitOK, false: cli.ExitError}[c.peft], "export", "--lora", adapter, "--to", "peft",
				"--out", filepath.Join(dir, "peft"))
		})
	}
}

// TestExportCut says how much of a change that is not of low rank is in what was written.
func TestExportCut(t *testing.T) {
	base := tinyBase(t, tiny)
	data := tinyText(t)
	dir := t.TempDir()
	adapter := filepath.Join(dir, "out.safetensors")
	want(t, cli.ExitOK, "train", "--base", base, "--data", data, "--method", "oft", "--steps", "4", "--seq-len", "24",
		"--out", adapter)
	stdout, _ := want(t, cli.ExitOK, "export", "--lora", adapter, "--to", "gguf", "--rank", "2", "--out",
		filepath.Join(dir, "lora.gguf"))
	if !strings.Contains(stdout, "cut to rank 2") {
		t.Errorf("stdout %q does not say what was cut", stdout)
	}
	whole, _ := want(t, cli.ExitOK, "export", "--lora", adapter, "--to", "gguf", "--json", "--out",
		filepath.Join(dir, "whole.gguf"))
	report := document(t, whole, "report")["report"].(map[string]any)
	if lost := report["error"].(float64); lost > 0.01 || lost == 0 {
		t.Errorf("without a rank %v of the changes is lost, expected some, and at most 0.01", lost)
	}
	if _, stderr := want(t, cli.ExitUsage, "export", "--lora", adapter, "--to", "gguf", "--rank", "-1", "--out",
		"x"); !strings.Contains(stderr, "--rank: -1") {
		t.Errorf("stderr %q", stderr)
	}
}

// TestLinearMethodUsage has flags that have no effect with the method.
func TestLinearMethodUsage(t *testing.T) {
	for _, c := range []struct{ args, message string }{
		{"--method ia3 --rank 4", "--rank has no effect with --method ia3"},
		{"--method loha --block-size 4", "--block-size has no effect with --method loha, only with oft"},
		{"--method ln-tuning --alpha 4", "--alpha has no effect"},
	} {
		args := append([]string{"train", "--base", "b", "--data", "d", "--out", "o.safetensors"}, strings.Fields(c.args)...)
		if _, stderr := want(t, cli.ExitUsage, args...); !strings.Contains(stderr, c.message) {
			t.Errorf("%s: stderr %q lacks %q", c.args, stderr, c.message)
		}
	}
}
