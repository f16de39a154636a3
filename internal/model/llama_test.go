package model_test

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
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
func logits(m *model.Model, ids []int32) []float32 {
	tape := autograd.NewTape()
	tape.Record(false)
	b := &batch.Batch{IDs: ids, Bounds: []int32{0, int32(len(ids))}}
	rows := make([]int, len(ids))
	for i := range ids {
		b.Pos = append(b.Pos, int32(i))
		rows[i] = i
	}
	return m.Logits(tape, b, model.NoHooks{}, rows).Data
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
