package integration

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
)

// someIDs are more than the windows of the small models hold, and seldom repeat.
var someIDs = func() []int32 {
	ids := make([]int32, 40)
	for i := range ids {
		ids[i] = int32((i*i*7+i*3+5)%61 + 2)
	}
	return ids
}()

// greedyTokens is how many tokens are generated.
const greedyTokens = 64

// TestArchitectures holds the logits and the greedy tokens of a small random model of every architecture against
// llama.cpp's: in one batch and token by token.
func TestArchitectures(t *testing.T) {
	needs(t)
	for _, m := range archtest.All() {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "model.gguf")
			m.Write(t, path)
			b := openModel(t, path)
			want := llama(t, request{Model: path, Logits: someIDs, Generate: &generate{IDs: someIDs, N: greedyTokens}})
			limit := 1e-5
			if b.Spec.Activation == arch.GELU { // llama.cpp reads it from a table of half precision
				limit = 1e-3
			}
			got := logitsOf(b, someIDs)
			near(t, "in one batch", got, want.Logits, limit)
			near(t, "with the runtime's activations", logitsWith(b, someIDs, runtimeActivations), want.Logits, limit/2)
			near(t, "token by token", tokenByToken(t, b, someIDs), want.Logits, limit/2)
			if tokens := greedy(t, b, someIDs, len(want.Generated)); !slices.Equal(tokens, want.Generated) {
				t.Errorf("generated %v, llama.cpp %v", tokens, want.Generated)
			}
			quantizedLogits(t, m, gguf.Q8_0)
		})
	}
}

// quantizedLogits holds the logits of a quantized model against llama.cpp's, which rounds what it multiplies quantized
// weights with: rounded alike they are near, and exact ones as far as the rounding goes.
func quantizedLogits(t *testing.T, m archtest.Model, kind gguf.Type) {
	t.Helper()
	m.Type = func(string) gguf.Type { return kind }
	path := filepath.Join(t.TempDir(), "quantized.gguf")
	m.Write(t, path)
	b := openModel(t, path)
	want := llama(t, request{Model: path, Logits: someIDs}).Logits
	got := logitsWith(b, someIDs, runtimeActivations)
	alike := 0
	for alike < len(want) && difference(got[alike:alike+1], want[alike:alike+1]) < 1e-4 {
		alike++
	}
	rounded, exact := difference(got, want), difference(logitsOf(b, someIDs), want)
	if os.Getenv("PEFTCONV_REPORT") != "" {
		t.Logf("%s: %d tokens alike, then within %.1g; exact %.1g", kind, alike, rounded, exact)
	}
	// A value so near the middle of two that the last bit of a sum decides how it is rounded is one in 100,000: from the
	// token that has it on, logits differ as far as the rounding of one value goes.
	if alike < 3 && !(rounded <= exact/5) {
		t.Errorf("%s: logits of %d tokens are alike, then they differ by %.2g of the largest, exact ones by %.2g", kind,
			alike, rounded, exact)
	}
}

// runtimeActivations are the activations of llama.cpp.
var runtimeActivations = model.RuntimeActivations{Hooks: model.NoHooks{}}

// openModel opens a GGUF file.
func openModel(t *testing.T, path string) *model.Model {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	m, err := model.FromGGUF(f)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// logitsOf are the logits after every token of one sequence.
func logitsOf(m *model.Model, ids []int32) [][]float32 { return logitsWith(m, ids, model.NoHooks{}) }

// logitsWith are these with hooks.
func logitsWith(m *model.Model, ids []int32, h model.Hooks) [][]float32 {
	tape := autograd.NewTape()
	tape.Record(false)
	var b batch.Batch
	b.Append(ids, nil)
	rows := make([]int, len(ids))
	for i := range rows {
		rows[i] = i
	}
	y := m.Logits(tape, &b, h, rows)
	all := make([][]float32, len(ids))
	for i := range all {
		all[i] = y.Row(i)
	}
	return all
}

// tokenByToken are the logits of a session that reads the first half token by token and then the rest.
func tokenByToken(t *testing.T, m *model.Model, ids []int32) [][]float32 {
	t.Helper()
	s := m.NewSession(len(ids))
	all := make([][]float32, len(ids))
	for i := 0; i < len(ids); {
		n := 1
		if i == len(ids)/2 {
			n = len(ids)/2 - 3
		}
		x, err := s.Append(ids[i:i+n], runtimeActivations)
		if err != nil {
			t.Fatal(err)
		}
		i += n
		all[i-1] = slices.Clone(x)
	}
	return all
}

// greedy generates the likeliest tokens.
func greedy(t *testing.T, m *model.Model, ids []int32, n int) []int32 {
	t.Helper()
	s := m.NewSession(len(ids) + n)
	x, err := s.Append(ids, model.NoHooks{})
	var tokens []int32
	for err == nil && len(tokens) < n {
		best := 0
		for i, v := range x {
			if v > x[best] {
				best = i
			}
		}
		if tokens = append(tokens, int32(best)); len(tokens) < n {
			x, err = s.Append(tokens[len(tokens)-1:], model.NoHooks{})
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// near wants logits within a share of the largest; those that are nil were not computed.
func near(t *testing.T, what string, got, want [][]float32, limit float64) {
	t.Helper()
	if d := difference(got, want); !(d <= limit) {
		t.Errorf("%s: logits differ by %.2g of the largest", what, d)
	} else if os.Getenv("PEFTCONV_REPORT") != "" {
		t.Logf("%s: %.1g", what, d)
	}
}

// difference is the largest difference of logits as a share of the largest of those that are wanted.
func difference(got, want [][]float32) float64 {
	worst, largest := 0.0, 0.0
	for i, row := range want {
		for j, w := range row {
			largest = max(largest, math.Abs(float64(w)))
			if got[i] != nil {
				worst = max(worst, math.Abs(float64(got[i][j]-w)))
			}
		}
	}
	return worst / largest
}
