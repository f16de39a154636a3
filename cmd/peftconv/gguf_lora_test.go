package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/cli"
)

// TestGGUFLoRA: an exported adapter is read by every verb that takes one, and is the one that it was made from.
func TestGGUFLoRA(t *testing.T) {
	base, data, dir := tinyBase(t, tiny), tinyText(t), t.TempDir()
	a := trained(t, base, "--steps", "30")
	lora := filepath.Join(dir, "lora.gguf")
	want(t, cli.ExitOK, "export", "--lora", a, "--to", "gguf", "--out", lora)
	loss := lossOf(t, data, "--lora", a)
	if got := lossOf(t, data, "--base", base, "--lora", lora); !near(got, loss, 1e-6) {
		t.Errorf("loss %v, with the adapter that it was made from %v", got, loss)
	}
	if got := lossOf(t, data, "--lora", lora+":0.5", "--lora", a+":0.5"); !near(got, loss, 1e-5) {
		t.Errorf("loss %v of two halves, %v of the whole", got, loss)
	}
	out := func(name string) string { return filepath.Join(dir, name) }
	want(t, cli.ExitOK, "merge", "--base", base, "--lora", lora, "--out", out("merged.gguf"))
	want(t, cli.ExitOK, "combine", lora+":0.5", a+":0.5", "--base", base, "--out", out("both.safetensors"))
	want(t, cli.ExitOK, "resize", lora, out("small.safetensors"), "--rank", "8", "--base", base)
	want(t, cli.ExitOK, "export", "--lora", lora, "--base", base, "--to", "peft", "--out", out("peft"))
	for what, args := range map[string][]string{
		"merged":   {"--base", out("merged.gguf")},
		"combined": {"--base", base, "--lora", out("both.safetensors")},
		"resized":  {"--base", base, "--lora", out("small.safetensors")},
		"PEFT":     {"--base", base, "--lora", out("peft")},
	} {
		if got := lossOf(t, data, args...); !near(got, loss, 1e-4) {
			t.Errorf("%s: loss %v, expected %v", what, got, loss)
		}
	}
	want(t, cli.ExitOK, "generate", "--base", base, "--lora", lora, "--prompt", "the sea", "--n", "4")
	want(t, cli.ExitOK, "inspect", lora)
	more := out("more.safetensors")
	want(t, cli.ExitOK, "train", "--base", base, "--data", data, "--resume-from", lora, "--steps", "20", "--out", more)
	if got := lossOf(t, data, "--lora", more); got >= loss {
		t.Errorf("loss %v after more training, %v before", got, loss)
	}
	_, said := want(t, cli.ExitUsage, "train", "--base", base, "--data", data, "--resume-from", lora, "--rank", "4",
		"--out", more)
	if !strings.Contains(said, "--rank: is of a new adapter") {
		t.Errorf("stderr %s", said)
	}
	for _, args := range [][]string{
		{"eval", "--lora", lora, "--data", data}, {"resize", lora, out("x.safetensors"), "--rank", "2"},
		{"combine", lora, "--out", out("x.safetensors")},
	} {
		if _, said := want(t, cli.ExitError, args...); !strings.Contains(said, "--base") {
			t.Errorf("%v: stderr %s", args, said)
		}
	}
}
