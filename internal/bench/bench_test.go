package bench

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/train"
)

// small is a shape that takes milliseconds.
func small() arch.Spec {
	s := llama(2, 256, 512, 4, 2, 64, 128, 10000, false)
	s.Context = 1024
	return s
}

// withShape adds a shape for a test.
func withShape(t *testing.T, s shape) {
	was := shapes
	shapes = append([]shape{s}, was...)
	t.Cleanup(func() { shapes = was })
}

// TestRun measures something small and wants plausible numbers, in the documented structure.
func TestRun(t *testing.T) {
	if testing.Short() {
		t.Skip("measures the machine twice")
	}
	withShape(t, shape{"small", small()})
	was := gemmShapes
	gemmShapes = []matrixShape{{128, 256}}
	defer func() { gemmShapes = was }()
	var doing []string
	r, err := Run(context.Background(), Options{
		Shapes: []string{"Small"}, Types: []string{"q4_k_m"}, Precisions: []kernels.Precision{kernels.F32}, Tokens: 32,
		Rank: 4, Steps: 2,
		Progress: func(s string) { doing = append(doing, s) },
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Gemm) != 2 || len(r.Train) != 1 || len(doing) != 4 {
		t.Fatalf("%d products, %d steps, progress %q", len(r.Gemm), len(r.Train), doing)
	}
	step := r.Train[0]
	if step.Shape != "small" || step.Type != "Q4_K" || step.Precision != "f32" || step.Tokens != 32 || step.Rate <= 0 ||
		step.PeakRSS <= 0 {
		t.Errorf("step %+v", step)
	}
	if got := step.Rate * step.flops / 32 / 1e9; math.Abs(got/step.GFLOPS-1) > 1e-6 ||
		step.Percent != 100*step.GFLOPS/r.Peak.F32 {
		t.Errorf("%g GFLOP/s and %g %% do not follow from %g tokens/s", step.GFLOPS, step.Percent, step.Rate)
	}
	sum := 0.0
	for _, name := range train.StepParts() {
		share, ok := step.Parts[name]
		if !ok || share < 0 {
			t.Errorf("part %q: %v, %v", name, share, ok)
		}
		sum += share
	}
	if math.Abs(sum-1) > 1e-6 {
		t.Errorf("the parts add up to %g", sum)
	}
	if g := r.Gemm[1]; g.Direction != backward || g.M != 32 || g.N != 256 || g.K != 128 || g.GFLOPS <= 0 ||
		g.Percent != 100*g.GFLOPS/r.Peak.F32 {
		t.Errorf("product %+v", g)
	}
}

// TestAttention measures the attention of a small layer and compares rates with peaks.
func TestAttention(t *testing.T) {
	spec := small()
	r := Report{Peak: Peak{F32: 100, BF16: 200, Int8: 400, Bandwidth: 10}}
	for _, p := range []kernels.Precision{kernels.F32, kernels.Int8} {
		r.Attention = append(r.Attention, measureAttention("small", &spec, p, 48)...)
	}
	r.percent()
	for i, a := range r.Attention {
		direction := []string{forward, backward}[i%2]
		peak := 100.0
		if a.Rounded == kernels.BF16.String() {
			peak = 200
		}
		if a.Direction != direction || a.Tokens != 48 || a.GFLOPS <= 0 || a.Bandwidth <= 0 ||
			a.Percent != 100*a.GFLOPS/peak || a.PercentMemory != 100*a.Bandwidth/10 ||
			i < 2 && a.Rounded != kernels.F32.String() {
			t.Errorf("attention %d: %+v", i, a)
		}
	}
}

// TestJSON checks the names of the report's fields.
func TestJSON(t *testing.T) {
	text, err := json.Marshal(Report{Gemm: []Gemm{{}}, Train: []Train{{}}})
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Peak        map[string]float64
		Gemm, Train []map[string]any
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"f32_gflops", "bf16_gflops", "int8_gops", "memory_gb_s"} {
		if _, ok := doc.Peak[name]; !ok {
			t.Errorf("peak has no %s", name)
		}
	}
	for _, name := range []string{"type", "precision", "m", "n", "k", "gflops", "percent_of_peak"} {
		if _, ok := doc.Gemm[0][name]; !ok {
			t.Errorf("gemm has no %s", name)
		}
	}
	for _, name := range []string{"shape", "type", "precision", "tokens", "tokens_per_second", "percent_of_peak",
		"peak_rss_bytes"} {
		if _, ok := doc.Train[0][name]; !ok {
			t.Errorf("train has no %s", name)
		}
	}
}

// TestStepFLOPs counts by hand for one layer.
func TestStepFLOPs(t *testing.T) {
	s := small()
	s.Layers = 1
	m, err := model.Random(s, gguf.F16)
	if err != nil {
		t.Fatal(err)
	}
	const tokens, r = 10.0, 3.0
	first := [][2]float64{{256, 256}, {256, 128}, {256, 128}} // in, out of q, k, v
	others := [][2]float64{{256, 256}, {256, 512}, {256, 512}, {512, 256}}
	want := 0.0
	for _, w := range first {
		want += 2 * tokens * (w[0]*w[1] + r*(w[0]+w[1]) + r*(w[0]+2*w[1]))
	}
	for _, w := range others {
		want += 2 * tokens * (2*w[0]*w[1] + 3*r*(w[0]+w[1]))
	}
	want += 2 * 6 * 4 * 64 * (1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 9 + 10)
	want += 2 * 2 * 9 * 128 * 256
	if got := stepFLOPs(m, tokens, r); got != want {
		t.Errorf("%g, want %g", got, want)
	}
}

// TestShapes wants every shape to be one that a model can be made of, and to have about the weights that its name says.
func TestShapes(t *testing.T) {
	billions := map[string]float64{
		"110m": 0.134, "qwen2-0.5b": 0.49, "tinyllama-1.1b": 1.1, "llama-1b": 1.24, "qwen2-1.5b": 1.54, "llama-3b": 3.21,
		"mistral-7b": 7.24,
		"qwen2-7b":   7.62, "llama-8b": 8.03,
	}
	for _, name := range Shapes() {
		s, err := find(name)
		if err != nil {
			t.Fatal(err)
		}
		query, key := s.QueryHeads*s.HeadDim, s.KeyHeads*s.HeadDim
		n := s.Layers*(2*s.Width*(query+key)+3*s.Width*s.FFN) + s.Vocab*s.Width
		if !s.Tied {
			n += s.Vocab * s.Width
		}
		if got := float64(n) / 1e9; math.Abs(got/billions[name]-1) > 0.02 {
			t.Errorf("%s has %.3f billion weights, expected %.3f", name, got, billions[name])
		}
	}
}

func TestOptionsRefused(t *testing.T) {
	for _, c := range []struct {
		options Options
		message string
	}{
		{Options{Shapes: []string{"9b"}}, `shape "9b"`}, {Options{Types: []string{"q9"}}, `type "q9"`},
		{Options{Tokens: 1}, "at least 2 tokens"},
		{Options{Model: "no such file.gguf", NoGemm: true, Tokens: 2}, "no such file"},
	} {
		if _, err := Run(context.Background(), c.options); err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%+v gives %v, want %q", c.options, err, c.message)
		}
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(cancelled, Options{NoTrain: true}); err == nil {
		t.Error("a cancelled run ends without an error")
	}
}

func TestParseType(t *testing.T) {
	for name, want := range map[string]gguf.Type{"q4_k": gguf.Q4_K, "Q4_K_M": gguf.Q4_K, "q3_k_s": gguf.Q3_K,
		"iq3_s": gguf.IQ3_S, "bf16": gguf.BF16} {
		if got, err := ParseType(name); err != nil || got != want {
			t.Errorf("%q is %v, %v", name, got, err)
		}
	}
	if _, err := ParseType("i8"); err == nil {
		t.Error("integers were taken for weights")
	}
}

func TestTypesOf(t *testing.T) {
	m, err := model.Random(small(), gguf.Q4_K)
	if err != nil {
		t.Fatal(err)
	}
	m.Layers[0].Linear(arch.Value).W.Type = gguf.Q6_K
	if got := typesOf(m); got != "Q4_K+Q6_K" {
		t.Errorf("types %q", got)
	}
	if names := Shapes(); !slices.Contains(names, "llama-8b") || names[0] != "110m" {
		t.Errorf("shapes %q", names)
	}
}

// TestMerge merges into a file of a small shape, in two types, and into a file.
func TestMerge(t *testing.T) {
	withShape(t, shape{"small", small()})
	o := Options{Shapes: []string{"small"}, Types: []string{"q4_k", "q8_0"}, NoGemm: true, NoTrain: true, Merge: true,
		Rank: 4}
	r, err := Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "model.gguf")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	s := small()
	if err := errors.Join(writeShape(f, &s, gguf.Q6_K), f.Close()); err != nil {
		t.Fatal(err)
	}
	one, err := Run(context.Background(), Options{Model: path, NoGemm: true, NoTrain: true, Merge: true})
	if err != nil {
		t.Fatal(err)
	}
	want := []Merge{{Shape: "small", Type: "Q4_K", Rank: 4}, {Shape: "small", Type: "Q8_0", Rank: 4},
		{Shape: path, Type: "Q6_K", Rank: 16}}
	got := append(r.Merge, one.Merge...)
	if len(got) != len(want) {
		t.Fatalf("%d merges: %+v", len(got), got)
	}
	for i, m := range got {
		if m.Shape != want[i].Shape || m.Type != want[i].Type || m.Rank != want[i].Rank || m.Rounding == "" ||
			!(m.Seconds > 0 && m.Seconds < 60) || m.Bytes < 1<<19 || m.PeakRSS <= 0 {
			t.Errorf("merge %d: %+v", i, m)
		}
	}
}
