package train

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft/method"
)

func TestStepsOf(t *testing.T) {
	set := pefttest.TinyData(20, 1)
	opt := Options{BatchTokens: 40, Accumulate: 2, Seed: 3}
	for _, tokens := range []int64{1, 100, int64(set.Tokens()), 3 * int64(set.Tokens())} {
		steps := stepsOf(set, &opt, tokens)
		if before, with := tokensOf(set, &opt, steps-1), tokensOf(set, &opt, steps); before >= tokens || with < tokens {
			t.Errorf("%d tokens: %d steps have %d, one less %d", tokens, steps, with, before)
		}
	}
	if n := stepsOf(&attach.Data{}, &opt, 5); n != 0 {
		t.Errorf("no data: %d steps", n)
	}
}

// tokensOf is how many tokens a training of the given steps sees.
func tokensOf(set *attach.Data, opt *Options, steps int) (tokens int64) {
	for epoch := 0; steps > 0; epoch++ {
		batches := set.Batches(set.Order(epoch, opt.Seed), opt.BatchTokens)
		for i := 0; i < len(batches) && steps > 0; i += opt.Accumulate {
			for _, examples := range batches[i:min(len(batches), i+opt.Accumulate)] {
				for _, e := range examples {
					tokens += int64(len(set.Examples[e].IDs))
				}
			}
			steps--
		}
	}
	return tokens
}

// TestCompareGoesOn has one training fail: the others count.
func TestCompareGoesOn(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	train, eval := pefttest.TinyData(20, 1), pefttest.TinyData(5, 2)
	entry := func(name string, lr float64) heldEntry {
		a, err := methods.NewLoRA(b, method.LoRA{Rank: 2})
		if err != nil {
			t.Fatal(err)
		}
		return heldEntry{Name: name, Adapter: a, Train: train, Eval: eval, LR: lr}
	}
	spoiled := entry("spoiled", 1e-3)
	spoiled.Adapter.Params()[0].Data[0] = float32(math.NaN())
	r, err := compare(t.Context(), b, []heldEntry{spoiled, entry("good", 1e-3)},
		CompareOptions{Train: Options{Steps: 5, BatchTokens: 64}, Points: 2})
	if err == nil || !strings.Contains(err.Error(), "spoiled") || len(r.Methods) != 1 || r.Methods[0].Name != "good" {
		t.Fatalf("%+v, error %v", r, err)
	}
	m := &r.Methods[0]
	if len(m.TrainCurve) != 5 || len(m.EvalCurve) != 2 || m.EvalCurve[0].Step != 3 ||
		m.EvalCurve[1] != (CurvePoint{5, m.EvalLoss}) {
		t.Errorf("curves %v and %v", m.TrainCurve, m.EvalCurve)
	}
	good := entry("good", 1e-3)
	size, err := fileSize(good.Adapter)
	path := filepath.Join(t.TempDir(), "a.safetensors")
	if err != nil || good.Adapter.Save(path) != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != size {
		t.Errorf("the file has not the %d bytes that were counted", size)
	}
}

func TestCompareRefuses(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 2})
	if err != nil {
		t.Fatal(err)
	}
	for name, entries := range map[string][]heldEntry{
		"nothing to compare": nil,
		"no evaluation data": {{Name: "x", Adapter: a, Train: pefttest.TinyData(5, 1)}},
		"training data":      {{Name: "x", Adapter: a, Train: &attach.Data{}, Eval: pefttest.TinyData(5, 1)}},
	} {
		if _, err := compare(t.Context(), b, entries, CompareOptions{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v, want one that says %q", err, name)
		}
	}
}
