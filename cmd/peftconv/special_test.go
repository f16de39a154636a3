package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/safetensors"
)

// TestPipesAreRefused puts a pipe that nobody writes to where a regular file is meant: as the file that is named, in
// directories that are named, and where an adapter says that its base is. No verb may wait for it.
func TestPipesAreRefused(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	pipe := at("pipe.gguf")
	testdata.Pipe(t, pipe)
	base, text := tinyBase(t, tiny), tinyText(t)
	lora := trained(t, base)

	// copies of directories, each with a pipe in place of one file
	models := map[string]string{}
	for _, name := range []string{"config.json", "model.safetensors", "tokenizer.json"} {
		models[name] = pefttest.Tiny.WriteHF(t, gguf.F32, 1)
		os.Remove(filepath.Join(models[name], name))
		testdata.Pipe(t, filepath.Join(models[name], name))
	}
	want(t, cli.ExitOK, "export", "--lora", lora, "--base", base, "--to", "peft", "--out", at("peft"))
	noConfig := filepath.Join(at("peft"), "adapter_config.json")
	os.Remove(noConfig)
	testdata.Pipe(t, noConfig)
	for _, name := range []string{"data/train.jsonl", "inside/train/0.jsonl"} {
		os.MkdirAll(filepath.Dir(at(name)), 0o755)
		testdata.Pipe(t, at(name))
	}
	index := at("of.safetensors.index.json")
	if err := os.WriteFile(index, []byte(`{"weight_map": {"x": "shard.safetensors"}}`), 0o644); err != nil {
		t.Fatal(err)
	}
	testdata.Pipe(t, at("shard.safetensors"))

	for _, args := range [][]string{
		{"inspect", pipe},
		{"inspect", models["config.json"]},
		{"inspect", models["model.safetensors"]},
		{"inspect", index},
		{"verify", pipe},
		{"verify", base, "--against", pipe},
		{"diff", base, pipe},
		{"edit", pipe, "--set", "a.b=c"},
		{"quantize", pipe, at("q.gguf"), "q8_0"},
		{"quantize", "--imatrix", pipe, base, at("q.gguf"), "q4_k"},
		{"convert", models["config.json"], "--out", at("c.gguf")},
		{"convert", models["tokenizer.json"], "--out", at("c.gguf")},
		{"generate", "--base", pipe, "--prompt", "a"},
		{"generate", "--base", models["tokenizer.json"], "--prompt", "a"},
		{"generate", "--base", base, "--lora", pipe, "--prompt", "a"},
		{"generate", "--base", base, "--lora", at("peft"), "--prompt", "a"},
		{"train", "--base", base, "--data", at("data"), "--out", at("t.safetensors")},
		{"train", "--base", base, "--data", at("inside"), "--out", at("t.safetensors")},
		{"train", "--base", base, "--data", text, "--out", at("t.safetensors"), "--resume", pipe},
	} {
		wantPipe(t, args)
	}

	// what an adapter says of its base
	for _, named := range []string{pipe, "/dev/zero"} {
		if _, err := os.Stat(named); err != nil {
			continue
		}
		other := at("other.safetensors")
		rename(t, lora, other, map[string]string{"peftconv.base": named})
		status, _, stderr := runArgs(t, "generate", "--lora", other, "--prompt", "a", "-n", "1")
		// The hash of the base is known on this machine, and its file there.
		if status != cli.ExitOK || !strings.Contains(stderr, "base: "+base) {
			t.Errorf("a base that is known: status %d, %s", status, stderr)
		}
		rename(t, lora, other, map[string]string{"peftconv.base": named, "peftconv.base_sha256": strings.Repeat("0", 64)})
		wantPipe(t, []string{"generate", "--lora", other, "--prompt", "a"})
	}
}

// wantPipe runs the program, which has to fail soon and to say what it found in place of a file.
func wantPipe(t *testing.T, args []string) {
	t.Helper()
	done := make(chan string)
	go func() {
		status, stdout, stderr := runArgs(t, args...)
		if status == cli.ExitOK {
			stderr = "it succeeded: " + stderr
		}
		done <- stdout + stderr // verify's findings are its result
	}()
	select {
	case said := <-done:
		if !strings.Contains(said, "is a pipe, expected a regular file") &&
			!strings.Contains(said, "is a device, expected a regular file") {
			t.Errorf("peftconv %s: %s", strings.Join(args, " "), said)
		}
	case <-time.After(2 * time.Minute):
		t.Errorf("peftconv %s waits for a pipe", strings.Join(args, " "))
	}
}

// rename copies a safetensors file with some metadata changed.
func rename(t *testing.T, from, to string, meta map[string]string) {
	t.Helper()
	f, err := safetensors.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for key, value := range meta {
		if f.Metadata[key] == "" {
			t.Fatalf("%s has no %s: %v", from, key, f.Metadata)
		}
		f.Metadata[key] = value
	}
	tensors := make([]safetensors.Tensor, len(f.Tensors))
	for i, x := range f.Tensors {
		tensors[i] = *x
	}
	w, err := safetensors.NewShardedWriter(to, f.Metadata, tensors, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for _, x := range w.Tensors() {
		if err := w.WriteTensor(x.Name, f.Tensor(x.Name).Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestPipeOfData trains on what is written to a pipe that is named as data, which is a stream like standard input.
func TestPipeOfData(t *testing.T) {
	base, dir := tinyBase(t, tiny), t.TempDir()
	pipe := filepath.Join(dir, "data.jsonl")
	testdata.Pipe(t, pipe)
	go os.WriteFile(pipe, []byte(strings.Repeat(`{"text": "the sea is on the shore"}`+"\n", 20)), 0)
	want(t, cli.ExitOK, "train", "--base", base, "--data", pipe, "--out", filepath.Join(dir, "out.safetensors"), "--steps",
		"2", "--seq-len", "48")
}

// TestOtherBase has another model under the name of an adapter's base, which is not opened in its place.
func TestOtherBase(t *testing.T) {
	base := tinyBase(t, tiny)
	lora := trained(t, base)
	generate := func(status int) string {
		_, stderr := want(t, status, "generate", "--lora", lora, "--prompt", "the", "-n", "1")
		return stderr
	}
	if said := generate(cli.ExitOK); strings.Count(said, "base: "+base+"\n") != 1 {
		t.Errorf("the base that was opened is said so: %s", said)
	}
	other := tiny
	other.seed++
	other.write(t, base, nil)
	if said := generate(cli.ExitError); !strings.Contains(said, "has") || !strings.Contains(said, "SHA-256") ||
		!strings.Contains(said, "--base") || strings.Contains(said, "base: "+base+"\n") {
		t.Errorf("other weights under the name of the base: %s", said)
	}
}
