package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/cli"
)

func TestExtract(t *testing.T) {
	base, data := tinyBase(t, tiny), tinyText(t)
	a := trained(t, base, "--steps", "30")
	dir := t.TempDir()
	tuned, lora := filepath.Join(dir, "tuned.gguf"), filepath.Join(dir, "lora.safetensors")
	want(t, cli.ExitOK, "merge", "--lora", a, "--out", tuned)
	out, stderr := want(t, cli.ExitOK, "extract", "--base", base, "--tuned", tuned, "--rank", "4", "--out", lora)
	for _, part := range []string{"model.layers.1.mlp.down_proj", "energy", "1.0000", "lora.safetensors written",
		"rank 4"} {
		if !strings.Contains(out, part) {
			t.Errorf("no %q in\n%s", part, out)
		}
	}
	if strings.Contains(stderr, "warning") {
		t.Errorf("stderr %s", stderr)
	}
	if got, whole := lossOf(t, data, "--lora", lora), lossOf(t, data, "--base", tuned); !near(got, whole, 1e-4) {
		t.Errorf("loss %v with the extracted adapter, %v of the tuned model", got, whole)
	}
	out, _ = want(t, cli.ExitOK, "extract", "--base", base, "--tuned", tuned, "--energy", "0.9", "--out",
		filepath.Join(dir, "lora"), "--json")
	document(t, out, "output", "modules", "energy", "error", "left", "rank", "parameters")
}

func TestExtractNamesWhatIsLeft(t *testing.T) {
	base := tinyBase(t, tiny)
	dir := t.TempDir()
	tuned, lora, full := filepath.Join(dir, "tuned.gguf"), filepath.Join(dir, "lora.safetensors"),
		filepath.Join(dir, "full.safetensors")
	tiny.write(t, tuned, func(name string, values []float32) {
		if strings.Contains(name, "ffn_") || name == "output_norm.weight" {
			values[0] += 0.5
		}
	})
	args := []string{"extract", "--base", base, "--tuned", tuned, "--targets", "ffn", "--out", lora}
	_, stderr := want(t, cli.ExitOK, args...)
	for _, part := range []string{"warning: 3 tensors differ", "model.norm.weight: norm, changed by 0.",
		"layers.1.post_attention_layernorm.weight: norm"} {
		if !strings.Contains(stderr, part) {
			t.Errorf("no %q in\n%s", part, stderr)
		}
	}
	out, stderr := want(t, cli.ExitOK, append(args, "--full", full, "--force")...)
	if !strings.Contains(out, "full.safetensors written") || strings.Contains(stderr, "warning") {
		t.Errorf("stdout %s\nstderr %s", out, stderr)
	}
	if out, _ := want(t, cli.ExitOK, "inspect", full); !strings.Contains(out, "3 tensors, 96 parameters") {
		t.Errorf("inspect %s", out)
	}
}

func TestExtractUsage(t *testing.T) {
	for _, c := range []struct{ args, message string }{
		{"--base a --out c", "missing required flag --tuned"},
		{"--base a --tuned b --out c --rank -1", "rank -1"},
		{"--base a --tuned b --out c --energy 1.2", "energy 1.2"},
		{"--base a --tuned b --out c more", `unexpected argument "more"`},
	} {
		if _, stderr := want(t, cli.ExitUsage,
			append([]string{"extract"}, strings.Fields(c.args)...)...); !strings.Contains(stderr, c.message) {
			t.Errorf("%s: stderr %q lacks %q", c.args, stderr, c.message)
		}
	}
	base := tinyBase(t, tiny)
	out := filepath.Join(t.TempDir(), "c.safetensors")
	if _, stderr := want(t, cli.ExitError, "extract", "--base", base, "--tuned", base, "--out",
		out); !strings.Contains(stderr, "no chosen weight differs") {
		t.Errorf("stderr %q", stderr)
	}
}
