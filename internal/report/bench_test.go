package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/bench"
)

func TestPrintBench(t *testing.T) {
	var out bytes.Buffer
	r := &bench.Report{
		Tier: "avx512", Threads: 2, Peak: bench.Peak{F32: 540, BF16: 1080, Int8: 2160, Bandwidth: 60},
		Gemm: []bench.Gemm{{Type: "Q4_K", Precision: "f32", Direction: "forward", M: 512, N: 5632, K: 2048, GFLOPS: 459,
			Percent: 85}},
		Attention: []bench.Attention{{Shape: "110m", Tokens: 512, Precision: "int8", Rounded: "bf16", Direction: "backward",
			GFLOPS: 308, Percent: 28.5, Bandwidth: 12.34, PercentMemory: 20.5}},
		Decode: []bench.Decode{{Shape: "110m", Type: "Q8_0", Rank: 16, Rate: 41.25, Best: 44.5, Bytes: 632e6, Bandwidth: 26.1,
			Percent: 87}},
		Train: []bench.Train{{Shape: "110m", Type: "Q4_K", Precision: "bf16", Tokens: 512, Rank: 16, Rate: 1430.4,
			Percent: 58, PercentSustained: 61, Weights: 75e6, PeakRSS: 600e6, Parts: map[string]float64{"lora": 0.125}}},
	}
	PrintBench(&out, r)
	for _, part := range []string{"540 GFLOP/s in f32, 1080 in bf16, 2160 GOP/s in int8; memory 60.0 GB/s",
		"5632  2048  459      85%", "1,430     58%      61%", "75.0 MB", "12.5",
		"int8       bf16        backward   308      28%      12.3  20%",
		"16         41.2      44.5  632.0 MB        26.1  87%"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("no %q in\n%s", part, out.String())
		}
	}
	page := BenchPage(r).HTML()
	for _, part := range []string{"<h2>Training steps</h2>", "<caption>generating token by token</caption>", "12.5 %",
		"1,430", "308"} {
		if !bytes.Contains(page, []byte(part)) {
			t.Errorf("no %q in the page", part)
		}
	}
}
