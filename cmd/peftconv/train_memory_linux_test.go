package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/modeltest"
)

// memoryCases are models of other architectures.
func memoryCases(t *testing.T) map[string]string {
	t.Helper()
	bases := map[string]string{}
	for _, c := range archtest.All() {
		fields := maps.Clone(c.Fields)
		fields["embedding_length"] = 256
		switch c.Name {
		case "mixtral":
			fields["feed_forward_length"], fields["block_count"] = 512, 4
		case "qwen35":
			fields["feed_forward_length"] = 1024
			fields["ssm.inner_size"], fields["ssm.time_step_rank"] = 256, 16
		case "gemma4":
			fields["feed_forward_length"] = []int{1024, 1024, 1024, 1024, 1024, 1024}
		default:
			continue
		}
		c.Fields = fields
		bases[c.Name] = filepath.Join(t.TempDir(), c.Name+".gguf")
		c.Write(t, bases[c.Name])
	}
	return bases
}

// TestTrainMemoryOfArchitectures is TestTrainMemory of layers with experts, with a recurrence, and with keys that
// several layers share.
func TestTrainMemoryOfArchitectures(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some hundred megabytes")
	}
	_, data := memoryCase(t)
	for name, base := range memoryCases(t) {
		for _, mode := range []string{"always", "never"} {
			args := []string{"train", "--base", base, "--data", data, "--out", filepath.Join(t.TempDir(), "out.safetensors"),
				"--steps", "1", "--batch-tokens", "2048", "--recompute", mode, "--force"}
			peak := float64(watch(t, cli.ExitOK, args...))
			_, stderr := want(t, cli.ExitOK, args...)
			plan := planned(t, stderr)
			t.Logf("%s, recompute %s: planned %.0f MB, took %.0f MB", name, mode, plan/1e6, peak/1e6)
			if plan < 0.7*peak || plan > 1.6*peak {
				t.Errorf("%s, recompute %s: %.0f MB were planned and %.0f taken", name, mode, plan/1e6, peak/1e6)
			}
		}
	}
}

// memoryCase is a model and data whose training takes some hundred megabytes.
func memoryCase(t *testing.T) (base, data string) {
	t.Helper()
	base = filepath.Join(t.TempDir(), "base.gguf")
	meta, tensors := modeltest.Llama(t, 6, gguf.Q8_0)
	modeltest.WriteGGUF(t, base, gguf.Format{}, meta, tensors, nil)
	line := `{"input_ids":[` + strings.TrimSuffix(strings.Repeat("3,4,5,6,", 16), ",") + "]}\n"
	return base, writeFile(t, "ids.jsonl", []byte(strings.Repeat(line, 96)))
}

// planned is the memory that train said it would need, in bytes.
func planned(t *testing.T, stderr string) float64 {
	t.Helper()
	_, text, ok := strings.Cut(stderr, "memory   about ")
	var n float64
	var unit string
	_, err := fmt.Sscanf(text, "%f %2s", &n, &unit)
	size := map[string]float64{"MB": 1e6, "GB": 1e9}[unit]
	if !ok || err != nil || size == 0 {
		t.Fatalf("no memory is told in\n%s", stderr)
	}
	return n * size
}

// TestTrainMemory compares what train says it will need with what it then takes, and wants less of it with less kept.
func TestTrainMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some hundred megabytes")
	}
	base, data := memoryCase(t)
	took := map[string]float64{}
	for _, mode := range []string{"always", "never"} {
		out := filepath.Join(t.TempDir(), "out.safetensors")
		args := []string{"train", "--base", base, "--data", data, "--out", out, "--steps", "1", "--batch-tokens", "6144",
			"--recompute", mode, "--force"}
		peak := float64(watch(t, cli.ExitOK, args...))
		_, stderr := want(t, cli.ExitOK, args...)
		plan := planned(t, stderr)
		t.Logf("recompute %s: planned %.0f MB, took %.0f MB", mode, plan/1e6, peak/1e6)
		if plan < 0.7*peak || plan > 1.6*peak {
			t.Errorf("recompute %s: %.0f MB were planned and %.0f taken", mode, plan/1e6, peak/1e6)
		}
		took[mode] = peak
	}
	if took["always"] > 0.7*took["never"] {
		t.Errorf("computing again takes %.0f MB, keeping %.0f", took["always"]/1e6, took["never"]/1e6)
	}
}

// TestTrainRefusesMemory asks for more than any machine has.
func TestTrainRefusesMemory(t *testing.T) {
	base, data := memoryCase(t)
	out := filepath.Join(t.TempDir(), "out.safetensors")
	args := []string{"train", "--base", base, "--data", data, "--out", out, "--steps", "1", "--rank", "2", "--init",
		"gaussian"}
	limited := append(args, "--batch-tokens", "6144", "--recompute", "never")
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(64e6))
	_, stderr := want(t, cli.ExitError, limited...)
	for _, part := range []string{"MB are available", "--recompute always (about", "--micro-batch-tokens 3072 (about",
		"--ignore-memory"} {
		if !strings.Contains(stderr, part) {
			t.Errorf("no %q in\n%s", part, stderr)
		}
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a refused run left an adapter")
	}
	want(t, cli.ExitOK, append(args, "--batch-tokens", "64", "--ignore-memory")...)
}

// TestVerbsRefuseMemory asks for what does not fit.
func TestVerbsRefuseMemory(t *testing.T) {
	base, data := tinyBase(t, tiny), tinyText(t)
	adapter := trained(t, base)
	other := tiny
	other.seed = 2
	tuned := tinyBase(t, other)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(1e6)) // less than the test holds
	for _, args := range [][]string{
		{"train", "--base", base, "--data", data, "--out", at("a.safetensors"), "--profile", at("profile")},
		{"compare", "--base", base, "--data", data, "--eval-data", data, "--methods", "lora,ia3", "--dir", at("dir")},
		{"generate", "--base", base, "--prompt", "the"},
		{"eval", "--base", base, "--data", data, "--ctx", "32"},
		{"imatrix", "--base", base, "--data", data, "--ctx", "32", "--out", at("imatrix.gguf")},
		{"merge", "--base", base, "--lora", adapter, "--calibration", data, "--out", at("merged.gguf")},
		{"extract", "--base", base, "--tuned", tuned, "--out", at("difference.safetensors")},
	} {
		_, stderr := want(t, cli.ExitError, args...)
		if !strings.Contains(stderr, "MB of memory, and 0 MB are available") {
			t.Errorf("%s: %s", args[0], stderr)
		}
	}
	empty(t, dir)
}

// TestTrainProfile wants a profile that pprof can read: a gzip file.
func TestTrainProfile(t *testing.T) {
	dir := t.TempDir()
	profile := filepath.Join(dir, "cpu.pprof")
	want(t, cli.ExitOK, "train", "--base", tinyBase(t, tiny), "--data", tinyText(t), "--out",
		filepath.Join(dir, "out.safetensors"), "--steps", "2", "--seq-len", "48", "--profile", profile, "--precision", "bf16")
	text, err := os.ReadFile(profile)
	if err != nil || !bytes.HasPrefix(text, []byte{0x1f, 0x8b}) {
		t.Errorf("the profile is %d bytes, %v", len(text), err)
	}
}

// TestTrainStreams trains on 1 GB of records, of which less than a third may be in memory with everything else.
func TestTrainStreams(t *testing.T) {
	if os.Getenv("PEFTCONV_LONG") == "" {
		t.Skip("writes 1 GB and takes minutes; set PEFTCONV_LONG")
	}
	const size, most = 1_000_000_000, 300e6
	data := filepath.Join(t.TempDir(), "big.jsonl")
	f, err := os.Create(data)
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(f)
	text := strings.Repeat("the sea is near. ", 60)
	for n, records := 0, 0; n < size; records++ {
		k, err := fmt.Fprintf(w, "{\"prompt\": \"%d \", \"completion\": \"%s\"}\n", records, text[:100+records%900])
		if err != nil {
			t.Fatal(err)
		}
		n += k
	}
	if err := errors.Join(w.Flush(), f.Close()); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "out.safetensors")
	peak := watch(t, cli.ExitOK, "train", "--base", tinyBase(t, tiny), "--data", data, "--eval-split", "0.0001",
		"--steps", "3", "--out", out)
	t.Logf("at most %.0f MB", float64(peak)/1e6)
	if peak > most {
		t.Errorf("%.0f MB, want at most %.0f", float64(peak)/1e6, most/1e6)
	}
}
