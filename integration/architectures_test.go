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
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/export"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/method"
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

// TestArchitectures holds a small random model of every architecture against llama.cpp: logits in one batch and token
// by token, greedy tokens, logits with a LoRA on all linear maps and of the model that it is merged into, and logits of
// the model with quantized weights.
func TestArchitectures(t *testing.T) {
	needs(t)
	for _, m := range archtest.All() {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			b := openArch(t, &m, filepath.Join(dir, "model.gguf"))
			lora, merged := filepath.Join(dir, "lora.gguf"), filepath.Join(dir, "merged.gguf")
			a := pefttest.Trained(t, b, method.LoRA{Rank: 4, Alpha: 6, Seed: 3, Targets: pairTargets(b)})
			if err := export.GGUF(pefttest.Adapter(a), pefttest.Base(b), lora); err != nil {
				t.Fatal(err)
			}
			_, err := merge.Run(t.Context(), pefttest.Base(b), pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), merged,
				merge.Options{})
			if err != nil {
				t.Fatal(err)
			}
			m.Type = func(string) gguf.Type { return gguf.Q8_0 }
			quantized := openArch(t, &m, filepath.Join(dir, "quantized.gguf"))
			wider := m.Wider()
			wider.Type = func(string) gguf.Type { return gguf.Q4_K }
			fine := openArch(t, &wider, filepath.Join(dir, "q4_k.gguf"))
			answers := llamas(t,
				request{Model: b.Path, Logits: someIDs, Generate: &generate{IDs: someIDs, N: greedyTokens}},
				request{Model: b.Path, Logits: someIDs, Adapters: []adapter{{Path: lora, Scale: 1}}},
				request{Model: merged, Logits: someIDs},
				request{Model: quantized.Path, Logits: someIDs},
				request{Model: fine.Path, Logits: someIDs})
			limit := 1e-5
			if b.Model.Spec.Activation == arch.GELU { // llama.cpp reads it from a table of half precision
				limit = 1e-3
			}
			want := answers[0]
			near(t, "in one batch", logitsWith(b.Model, model.NoHooks{}), want.Logits, limit)
			near(t, "with the runtime's activations", logitsWith(b.Model, runtimeActivations), want.Logits, limit/2)
			near(t, "token by token", tokenByToken(t, b.Model), want.Logits, limit)
			tokens := greedy(t, b.Model, len(want.Generated), limit)
			if !slices.Equal(tokens, want.Generated[:len(tokens)]) {
				t.Errorf("generated %v, llama.cpp %v", tokens, want.Generated)
			}
			adapted := logitsWith(b.Model, pefttest.BindOne(t, a, b))
			near(t, "with a LoRA", adapted, answers[1].Logits, 10*limit)
			near(t, "merged", adapted, answers[2].Logits, 10*limit)
			if moved := difference(adapted, want.Logits); moved < 1e-2 {
				t.Errorf("the LoRA moves logits by %.1g of the largest", moved)
			}
			nearQuantized(t, quantized.Model, answers[3].Logits)
			nearQuantized(t, fine.Model, answers[4].Logits)
		})
	}
}

// openArch writes a model and opens it.
func openArch(t *testing.T, m *archtest.Model, path string) *attach.Base {
	t.Helper()
	m.Write(t, path)
	return pefttest.OpenBase(t, path)
}

// pairTargets are all kinds of linear maps whose pairs llama.cpp computes.
func pairTargets(b *attach.Base) (targets []string) {
	for _, l := range b.Model.Linears() {
		name := l.Names()[len(l.Names())-1]
		if !slices.Contains(b.Model.Arch.PairsUnread, l.Role) && !slices.Contains(targets, name) {
			targets = append(targets, name)
		}
	}
	return targets
}

// nearQuantized holds the logits of a quantized model against llama.cpp's, which rounds what it multiplies quantized
// weights with: rounded alike they are equal, and exact ones as far as the rounding goes.
func nearQuantized(t *testing.T, m *model.Model, want [][]float32) {
	t.Helper()
	got := logitsWith(m, runtimeActivations)
	alike := 0
	for alike < len(want) && difference(got[alike:alike+1], want[alike:alike+1]) < 1e-4 {
		alike++
	}
	if m.Spec.Latent.Rank > 0 { // llama.cpp rounds other products: it multiplies queries into latent keys
		var each []float64
		for i := range want {
			each = append(each, difference(got[i:i+1], want[i:i+1]))
		}
		if slices.Sort(each); !(each[len(each)/2] <= 0.2) {
			t.Errorf("quantized: the logits of half of the tokens differ by more than %.2g of the largest", each[len(each)/2])
		}
		return
	}
	rounded, exact := difference(got, want), difference(logitsWith(m, model.NoHooks{}), want)
	if os.Getenv("PEFTCONV_REPORT") != "" {
		t.Logf("quantized: %d tokens alike, then within %.1g; exact %.1g", alike, rounded, exact)
	}
	// A value so near the middle of two that the last bit of a sum decides how it is rounded is one in 100,000: from the
	// token that has it on, logits differ as far as the rounding of one value goes.
	if alike == 0 && !(rounded <= exact/5) || !(rounded <= max(2*exact, 1e-3)) {
		t.Errorf("quantized: logits of %d tokens are alike, then they differ by %.2g of the largest, exact ones by %.2g",
			alike, rounded, exact)
	}
}

// runtimeActivations are the activations of llama.cpp.
var runtimeActivations = model.RuntimeActivations{Hooks: model.NoHooks{}}

// logitsWith are the logits after each of someIDs.
func logitsWith(m *model.Model, h model.Hooks) [][]float32 {
	ids := someIDs
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
func tokenByToken(t *testing.T, m *model.Model) [][]float32 {
	t.Helper()
	ids := someIDs
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

// greedy generates the n likeliest tokens after someIDs, or fewer where two are likeliest but for a share of their
// logits.
func greedy(t *testing.T, m *model.Model, n int, tie float64) []int32 {
	t.Helper()
	ids := someIDs
	s := m.NewSession(len(ids) + n)
	x, err := s.Append(ids, model.NoHooks{})
	var tokens []int32
	for err == nil && len(tokens) < n {
		best, second := 0, 1
		for i, v := range x {
			if v > x[best] {
				best, second = i, best
			} else if i != best && v > x[second] {
				second = i
			}
		}
		if float64(x[best]-x[second]) <= tie*math.Abs(float64(x[best])) {
			break
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
