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
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/safetensors"
)

// TestConvertBothWays makes a Hugging Face directory of a model, and a GGUF file of that, with the metadata, tensors
// and tokens of the first.
func TestConvertBothWays(t *testing.T) {
	base, dir := tinyBase(t, tiny), t.TempDir()
	hf, back := filepath.Join(dir, "Tiny-0.1M"), filepath.Join(dir, "back.gguf")
	stdout, _ := want(t, cli.ExitOK, "convert", base, "--to", "hf", "--out", hf)
	for _, text := range []string{"LlamaForCausalLM", "assumed: ", "written to " + hf} {
		if !strings.Contains(stdout, text) {
			t.Errorf("%q, expected %q", stdout, text)
		}
	}
	want(t, cli.ExitOK, "convert", hf, "--out", back, "--type", "f32", "--pre-tokenizer", "auto")
	a, b := openFile(t, base), openFile(t, back)
	if len(a.Tensors) != len(b.Tensors) {
		t.Errorf("%d tensors, expected %d", len(b.Tensors), len(a.Tensors))
	}
	for key, x := range a.Meta.All() {
		if y, ok := b.Meta.Get(key); strings.HasPrefix(key, "tokenizer.ggml.tok") && (!ok || !x.Equal(y)) {
			t.Errorf("key %s is %.100s, expected %.100s", key, y, x)
		}
	}
	args := []string{"--prompt", "the sea", "--temperature", "0", "--n", "8"}
	first, _ := want(t, cli.ExitOK, append([]string{"generate", "--base", base}, args...)...)
	again, _ := want(t, cli.ExitOK, append([]string{"generate", "--base", hf}, args...)...)
	if first != again {
		t.Errorf("the directory writes %q, the file %q", again, first)
	}
}

func openFile(t *testing.T, path string) *gguf.File {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestConvertAdapter makes a GGUF LoRA of a PEFT directory and the reverse.
func TestConvertAdapter(t *testing.T) {
	base, dir := tinyBase(t, tiny), t.TempDir()
	peft, lora, back := filepath.Join(dir, "peft"), filepath.Join(dir, "lora.gguf"), filepath.Join(dir, "back")
	want(t, cli.ExitOK, "export", "--lora", trained(t, base), "--to", "peft", "--out", peft)
	want(t, cli.ExitOK, "convert", peft, "--base", base, "--out", lora)
	want(t, cli.ExitOK, "convert", lora, "--base", base, "--out", back)
	was, is := openTensors(t, peft), openTensors(t, back)
	if len(was.Tensors) == 0 || len(was.Tensors) != len(is.Tensors) {
		t.Errorf("%d tensors, expected %d", len(is.Tensors), len(was.Tensors))
	}
	for _, x := range was.Tensors {
		if y := is.Tensor(x.Name); y == nil || !bytes.Equal(x.Bytes(), y.Bytes()) {
			t.Errorf("tensor %q differs", x.Name)
		}
	}
}

func openTensors(t *testing.T, path string) *safetensors.File {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestConvertUsage(t *testing.T) {
	for _, c := range []struct{ args, message string }{
		{"", "expected IN, found 0 arguments"},
		{"in", "--out: missing"},
		{"in --out o --type mystery", `--type: no file type is named "mystery"`},
		{"in --out o --to mystery", "--to: "},
		{"in --out o --dtype f16", "--dtype: has no effect here; it is for a GGUF model that becomes"},
		{"in --out o --to hf --type q8_0", "--type: --dtype is the type"},
		{"in --out o --to hf --imatrix m", "--imatrix: has no effect here; it is for a model that becomes a GGUF file"},
		{"in --out o --pure", "--pure: has no effect on --type auto"},
		{"in --out o --threads -1", "--threads: -1"},
	} {
		_, stderr := want(t, cli.ExitUsage, append([]string{"convert"}, strings.Fields(c.args)...)...)
		if !strings.Contains(stderr, c.message) {
			t.Errorf("%s: %q, expected %q", c.args, stderr, c.message)
		}
	}
}

// TestConvertKeepsOutput wants an output that is there to be replaced only where that is said.
func TestConvertKeepsOutput(t *testing.T) {
	base, dir := tinyBase(t, tiny), t.TempDir()
	hf, out := filepath.Join(dir, "hf"), filepath.Join(dir, "out.gguf")
	want(t, cli.ExitOK, "convert", base, "--to", "hf", "--out", hf)
	for _, c := range [][]string{
		{"convert", base, "--to", "hf", "--out", hf},
		{"convert", hf, "--out", out, "--pre-tokenizer", "auto"},
	} {
		if c[len(c)-1] == "auto" {
			if err := os.WriteFile(out, []byte("old"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if _, stderr := want(t, cli.ExitError, c...); !strings.Contains(stderr, "--force") {
			t.Errorf("%q, expected --force", stderr)
		}
		want(t, cli.ExitOK, append(c, "--force")...)
	}
	_, stderr := want(t, cli.ExitError, "convert", out, "--out", filepath.Join(dir, "x.gguf"))
	if !strings.Contains(stderr, `"--to hf" makes one of it`) {
		t.Error(stderr)
	}
}

// TestKilledConvertLeavesNothingHalf kills conversions in both directions.
func TestKilledConvertLeavesNothingHalf(t *testing.T) {
	m := tiny
	m.width, m.ffn, m.heads, m.layers = 512, 2048, 8, 6
	base, dir := tinyBase(t, m), t.TempDir()
	hf, whole := filepath.Join(dir, "hf"), filepath.Join(dir, "whole.gguf")
	start := time.Now()
	killAfter(t, time.Minute, "convert", base, "--to", "hf", "--out", hf)
	took := time.Since(start)
	for _, delay := range kills(took) {
		place := t.TempDir()
		killAfter(t, delay, "convert", base, "--to", "hf", "--out", filepath.Join(place, "hf"))
		if left := filepath.Join(place, "hf"); cli.Exists(left) {
			same(t, filepath.Join(left, "model.safetensors"), filepath.Join(hf, "model.safetensors"))
			same(t, filepath.Join(left, "config.json"), filepath.Join(hf, "config.json"))
		}
	}
	run := func(out string) []string {
		return []string{"convert", hf, "--out", out, "--type", "q8_0", "--pre-tokenizer", "auto"}
	}
	start = time.Now()
	killAfter(t, time.Minute, run(whole)...)
	for _, delay := range kills(time.Since(start)) {
		out := filepath.Join(t.TempDir(), "out.gguf")
		if killAfter(t, delay, run(out)...); cli.Exists(out) {
			same(t, out, whole)
		}
	}
}

// TestConvertFullDisk wants an error and no file where the disk is full.
func TestConvertFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("needs /dev/full")
	}
	base := tinyBase(t, tiny)
	hf := filepath.Join(t.TempDir(), "hf")
	want(t, cli.ExitOK, "convert", base, "--to", "hf", "--out", hf)
	_, stderr := want(t, cli.ExitError, "convert", hf, "--out", "/dev/full", "--force", "--pre-tokenizer", "auto")
	if !strings.Contains(stderr, "no space left") {
		t.Error(stderr)
	}
}

// TestConvertGolden converts a directory of the reference data with the command.
func TestConvertGolden(t *testing.T) {
	dir := testdata.Shared(t, "convert/Tiny-Llama-3.2-0.26M-Instruct")
	place := t.TempDir()
	want(t, cli.ExitOK, "convert", dir, "--out", place, "--pre-tokenizer", "llama-bpe")
	if path := filepath.Join(place, "Tiny-Llama-3.2-0.26M-Instruct-BF16.gguf"); !cli.Exists(path) {
		t.Errorf("%s is not there", path)
	}
	_, stderr := want(t, cli.ExitError, "convert", dir, "--out", filepath.Join(place, "x.gguf"))
	if !strings.Contains(stderr, "--pre-tokenizer") {
		t.Error(stderr)
	}
}

// TestSentencePieceDirectory generates from a directory whose tokenizer is a tokenizer.model alone, and from the file
// that it becomes: the same text.
func TestSentencePieceDirectory(t *testing.T) {
	dir := testdata.Shared(t, "convert/Mistral-Tiny-v0.3")
	out := filepath.Join(t.TempDir(), "out.gguf")
	want(t, cli.ExitOK, "convert", dir, "--out", out)
	args := []string{"--prompt", "To be or not", "--temperature", "0", "--n", "8"}
	a, _ := want(t, cli.ExitOK, append([]string{"generate", "--base", dir}, args...)...)
	b, _ := want(t, cli.ExitOK, append([]string{"generate", "--base", out}, args...)...)
	if a != b {
		t.Errorf("the directory writes %q, the file %q", a, b)
	}
}
