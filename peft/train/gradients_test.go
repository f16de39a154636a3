package train

import (
	"context"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/method"
)

// apart computes the gradient of each batch of a step separately and adds them up, as machines that share a step would.
type apart struct {
	*local
	calls int
}

func (a *apart) compute(ctx context.Context, s stepBatches) (loss float64, err error) {
	all, sum := float64(s.targets()), make([]float32, len(a.bound.Grads))
	for i := range s.batches {
		one := stepBatches{step: s.step, batches: s.batches[i : i+1], examples: s.examples[i : i+1]}
		part, err := a.local.compute(ctx, one)
		if err != nil {
			return 0, err
		}
		share := float64(one.targets()) / all
		loss += share * part
		kernels.Axpy(float32(share), a.bound.Grads, sum)
		a.calls++
	}
	copy(a.bound.Grads, sum)
	return loss, nil
}

// TestGradientsReplaced: a run whose gradients are computed in another way ends where one that computes them itself
// does, but for rounding.
func TestGradientsReplaced(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	values := func(replace func(*trainer)) []float32 {
		a, err := methods.NewLoRA(b, method.LoRA{Rank: 2, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		opt := Options{Steps: 4, BatchTokens: 64, Accumulate: 3, LR: 0.01}
		tr, err := newTrainer(b, a, pefttest.TinyData(24, 1), nil, plain(opt))
		if err != nil {
			t.Fatal(err)
		}
		replace(tr)
		if err := tr.run(context.Background()); err != nil {
			t.Fatal(err)
		}
		return slices.Clone(tr.bound.Values)
	}
	var other *apart
	got := values(func(tr *trainer) {
		other = &apart{local: tr.local}
		tr.gradients = other
	})
	want := values(func(*trainer) {})
	if diff := pefttest.Relative(got, want); diff > 1e-4 || diff == 0 || other.calls < 8 {
		t.Errorf("after %d computations the values differ by %.2g", other.calls, diff)
	}
}
