package model_test

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/quantize"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/testdata"
)

// TestLogits holds the logits of every architecture against those of an unmodified llama.cpp, whose driver
// PEFTCONV_LLAMA_CLIENT names.
func TestLogits(t *testing.T) {
	llama := archtest.FindLlama(t)
	for _, m := range archtest.All() {
		t.Run(m.Name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "model.gguf")
			m.Write(t, path)
			ids := archtest.IDs(40)
			want := llama.Logits(t, path, ids)
			f, err := gguf.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			b, err := model.FromGGUF(f)
			if err != nil {
				t.Fatal(err)
			}
			got := logits(b, ids)
			limit := llama.Limit(&b.Spec)
			compare(t, "in one batch", got, want, limit)
			session := b.NewSession(len(ids))
			var one []float32
			for i := 0; i < len(ids); {
				n := 1
				if i == 3 {
					n = 9
				}
				x, err := session.Append(ids[i:i+n], model.NoHooks{})
				if err != nil {
					t.Fatal(err)
				}
				i += n
				one = append(one, want[(i-n)*len(x):(i-1)*len(x)]...)
				one = append(one, x...)
			}
			compare(t, "token by token", one, want, limit)
		})
	}
}

// logits are those of all tokens of one sequence.
func logits(m *model.Model, ids []int32) []float32 { return logitsWith(m, ids, model.NoHooks{}) }

func logitsWith(m *model.Model, ids []int32, hooks model.Hooks) []float32 {
	tape := autograd.NewTape()
	tape.Record(false)
	b := &batch.Batch{IDs: ids, Bounds: []int32{0, int32(len(ids))}}
	rows := make([]int, len(ids))
	for i := range ids {
		b.Pos = append(b.Pos, int32(i))
		rows[i] = i
	}
	return m.Logits(tape, b, hooks, rows).Data
}

func compare(t *testing.T, what string, got, want []float32, limit float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d logits, llama.cpp has %d", what, len(got), len(want))
	}
	worst, largest := 0.0, 0.0
	for i, w := range want {
		worst = max(worst, math.Abs(float64(got[i]-w)))
		largest = max(largest, math.Abs(float64(w)))
	}
	t.Logf("%s: %.2g of %.3g", what, worst/largest, largest)
	if !(worst <= limit*largest) {
		t.Errorf("%s: logits differ by %g of the largest, %g", what, worst/largest, largest)
	}
}

// TestRoundedActivations holds the logits of quantized models, with activations rounded as the runtime rounds them,
// against those of an unmodified llama.cpp. Sums in another order may round one value to the next step, which changes
// all logits by some thousandths: most short texts have to agree to the last digits.
func TestRoundedActivations(t *testing.T) {
	llama := archtest.FindLlama(t)
	base := testdata.Shared(t, "models/stories260K.gguf")
	f, err := gguf.Open(base)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ids := []int32{403, 407, 261, 378, 432, 383, 286, 410, 425, 298, 340, 371}
	for _, name := range []string{"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"} {
		fileType, err := quantize.ParseFileType(name)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), name+".gguf")
		plan, err := quantize.NewPlan(f, quantize.Options{Type: fileType})
		if err == nil {
			err = plan.Write(t.Context(), path, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		q, err := gguf.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		m, err := model.FromGGUF(q)
		if err != nil {
			t.Fatal(err)
		}
		same := 0
		for _, id := range ids {
			want := llama.Logits(t, path, []int32{1, id})
			got := logitsWith(m, []int32{1, id}, model.RuntimeActivations{Hooks: model.NoHooks{}})
			worst, largest := 0.0, 0.0
			for j := len(want) / 2; j < len(want); j++ {
				worst = max(worst, math.Abs(float64(got[j]-want[j])))
				largest = max(largest, math.Abs(float64(want[j])))
			}
			if worst < 2e-6*largest {
				same++
			}
		}
		t.Logf("%s: %d of %d texts have the same logits", name, same, len(ids))
		if same < len(ids)/2 {
			t.Errorf("%s: %d of %d texts have the same logits, expected half of them", name, same, len(ids))
		}
	}
}
