package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/cli"
)

// TestNames: verbs take the name that another program has for a model in place of its path.
func TestNames(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("OLLAMA_MODELS", dir)
	t.Setenv("HF_HUB_CACHE", filepath.Join(dir, "hub"))
	digest := strings.Repeat("1", 64)
	manifests := filepath.Join(dir, "manifests", "registry.ollama.ai", "library", "tiny")
	blob := filepath.Join(dir, "blobs", "sha256-"+digest)
	if err := errors.Join(os.MkdirAll(manifests, 0o755), os.MkdirAll(filepath.Dir(blob), 0o755),
		os.Rename(tinyBase(t, tiny), blob), os.WriteFile(filepath.Join(manifests, "latest"), []byte(`{"layers": [{"mediaType":
			"application/vnd.ollama.image.model", "digest": "sha256:`+digest+`"}]}`), 0o644)); err != nil {
		t.Fatal(err)
	}
	const name = "ollama:tiny"
	text := filepath.Join(dir, "text.txt")
	if err := os.WriteFile(text, []byte(strings.Repeat("the cat sat on the mat and the dog. ", 20)), 0o644); err != nil {
		t.Fatal(err)
	}
	out := func(file string) string { return filepath.Join(dir, file) }
	for _, args := range [][]string{
		{"inspect", name},
		{"verify", name},
		{"verify", name, "--against", name},
		{"diff", name, blob, "--exit-code"},
		{"quantize", name, out("q.gguf"), "Q8_0"},
		{"split", name, out("part"), "--max-size", "40K"},
		{"eval", "--base", name, "--data", text, "--ctx", "32"},
		{"generate", "-b", name, "--prompt", "the", "-n", "2"},
		{"imatrix", "--base", name, "--data", text, "--out", out("imatrix.gguf"), "--ctx", "32"},
		{"train", "--base", name, "--data", text, "--out", out("a.safetensors"), "--steps", "1"},
		{"merge", "--base", name, "--lora", out("a.safetensors"), "--out", out("merged.gguf")},
		{"export", "--base", name, "--lora", out("a.safetensors"), "--to", "gguf", "--out", out("a.gguf")},
		{"extract", "--base", name, "--tuned", out("merged.gguf"), "--out", out("b.safetensors"), "--rank", "2"},
		{"eval", "--lora", out("a.safetensors"), "--data", text, "--ctx", "32"}, // which remembers the path
	} {
		want(t, cli.ExitOK, args...)
	}
	_, stderr := want(t, cli.ExitError, "eval", "--base", "ollama:tinny", "--data", text)
	for _, part := range []string{"--base", dir, "tiny:latest", "ollama pull tinny"} {
		if !strings.Contains(stderr, part) {
			t.Errorf("no %q in %s", part, stderr)
		}
	}
	if _, stderr = want(t, cli.ExitError, "inspect", "hf:acme/tiny"); !strings.Contains(stderr, "hf download acme/tiny") {
		t.Errorf("stderr %q", stderr)
	}
}

// TestExportOllama puts a merged model into Ollama's store and opens it there, and writes a Modelfile.
func TestExportOllama(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("OLLAMA_MODELS", filepath.Join(dir, "store"))
	base := tinyBase(t, tiny)
	create := []string{"export", "--base", base, "--to", "ollama", "--create", "tiny"}
	out, _ := want(t, cli.ExitOK, append(create, "--parameter", "temperature=0")...)
	if !strings.Contains(out, "ollama run tiny:latest") || !strings.Contains(out, "3 blobs") {
		t.Errorf("it prints %q", out)
	}
	want(t, cli.ExitOK, "diff", base, "ollama:tiny", "--exit-code")
	if _, stderr := want(t, cli.ExitError, create...); !strings.Contains(stderr, "--force") {
		t.Errorf("stderr %q", stderr)
	}
	want(t, cli.ExitOK, append(create, "--force")...)
	out, _ = want(t, cli.ExitOK, "export", "--base", "ollama:tiny", "--to", "ollama", "--out", filepath.Join(dir, "Dir"))
	if !strings.Contains(out, "ollama create dir -f ") {
		t.Errorf("it prints %q", out)
	}
	for _, args := range [][]string{
		{"--base", base, "--to", "ollama"},
		{"--base", base, "--to", "gguf", "--out", "x"},
		{"--base", base, "--to", "ollama", "--create", "x", "--out", "y"},
		{"--base", base, "--to", "peft", "--create", "x"},
	} {
		want(t, cli.ExitUsage, append([]string{"export"}, args...)...)
	}
}
