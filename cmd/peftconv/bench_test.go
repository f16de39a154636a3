package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/bench"
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
	stdout, _ := want(t, cli.ExitOK, append(args, "--json")...)
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

func TestPrintBench(t *testing.T) {
	var out bytes.Buffer
	printBench(&out, &bench.Report{
		Tier: "avx512", Threads: 2, Peak: bench.Peak{F32: 540, BF16: 1080, Int8: 2160, Bandwidth: 60},
		Gemm: []bench.Gemm{{Type: "Q4_K", Precision: "f32", Direction: "forward", M: 512, N: 5632, K: 2048, GFLOPS: 459,
			Percent: 85}},
		Attention: []bench.Attention{{Shape: "110m", Tokens: 512, Precision: "int8", Rounded: "bf16", Direction: "backward",
			GFLOPS: 308, Percent: 28.5, Bandwidth: 12.34, PercentMemory: 20.5}},
		Decode: []bench.Decode{{Shape: "110m", Type: "Q8_0", Rank: 16, Rate: 41.25, Best: 44.5, Bytes: 632e6, Bandwidth: 26.1,
			Percent: 87}},
		Train: []bench.Train{{Shape: "110m", Type: "Q4_K", Precision: "bf16", Tokens: 512, Rank: 16, Rate: 1430.4,
			Percent: 58, PercentSustained: 61, Weights: 75e6, PeakRSS: 600e6, Parts: map[string]float64{"lora": 0.125}}},
	})
	for _, part := range []string{"540 GFLOP/s in f32, 1080 in bf16, 2160 GOP/s in int8; memory 60.0 GB/s",
		"5632  2048  459      85%", "1,430     58%      61%", "75.0 MB", "12.5",
		"int8       bf16        backward   308      28%      12.3  20%",
		"16         41.2      44.5  632.0 MB        26.1  87%"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("no %q in\n%s", part, out.String())
		}
	}
}
