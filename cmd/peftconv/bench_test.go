package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/cli"
)

func TestBenchUsage(t *testing.T) {
	for _, c := range []struct{ args, message string }{
		{"--shape 9b", `--shape: "9b"`}, {"--type q9", `type "q9"`}, {"--tokens 1", "--tokens: 1"}, {"--rank 0", "--rank: 0"},
		{"--steps -1", "--steps: -1"}, {"--precision fp8", `--precision: precision "fp8"`},
		{"--recompute often", `--recompute: "often"`},
		{"--model m --attention", "--attention and --model"},
		{"--model m --shape 110m", "--model and --shape"}, {"--model m --no-gemm --type q8_0", "--type: the model's"},
		{"x", `unexpected argument "x"`},
		{"--threads 2000", "--threads: 2000"},
	} {
		_, stderr := want(t, cli.ExitUsage, append([]string{"bench"}, strings.Fields(c.args)...)...)
		if !strings.Contains(stderr, c.message) {
			t.Errorf("%s: %q, want %q", c.args, stderr, c.message)
		}
	}
}

// TestBench measures a model's file, as JSON and in words.
func TestBench(t *testing.T) {
	if testing.Short() {
		t.Skip("measures the machine")
	}
	args := []string{"bench", "--model", tinyBase(t, tiny), "--tokens", "32", "--rank", "2", "--steps", "1", "--no-gemm",
		"--precision", "f32"}
	page := filepath.Join(t.TempDir(), "bench.html")
	stdout, _ := want(t, cli.ExitOK, append(args, "--json", "--report", page)...)
	if text := string(readFile(t, page)); !strings.Contains(text, "<h2>Training steps</h2>") {
		t.Error("the report lacks the steps")
	}
	doc := document(t, stdout, "peak", "gemm", "train", "tier", "threads")
	if len(doc["train"].([]any)) != 1 || len(doc["gemm"].([]any)) != 0 {
		t.Errorf("the document is %s", stdout)
	}
}

// TestBenchDecode measures generating with a model's file, and nothing else.
func TestBenchDecode(t *testing.T) {
	if testing.Short() {
		t.Skip("measures the machine")
	}
	stdout, _ := want(t, cli.ExitOK, "bench", "--decode", "--model", tinyBase(t, tiny), "--rank", "2", "--steps", "3",
		"--json")
	doc := document(t, stdout, "peak", "gemm", "train", "tier", "threads", "decode")
	found := doc["decode"].([]any)
	if len(found) != 2 || len(doc["train"].([]any)) != 0 || len(doc["gemm"].([]any)) != 0 {
		t.Fatalf("the document is %s", stdout)
	}
	for i, rank := range []float64{0, 2} {
		d := found[i].(map[string]any)
		if d["rank"] != rank || d["tokens"] != 3.0 || d["tokens_per_second"].(float64) <= 0 ||
			d["best_tokens_per_second"].(float64) < d["tokens_per_second"].(float64) || d["bytes_per_token"].(float64) < 1000 {
			t.Errorf("rank %v: %v", rank, d)
		}
	}
}
