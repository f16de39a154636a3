package train

import (
	"context"
	"testing"

	"github.com/peftconv/peftconv/internal/alloctest"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/method"
)

// TestStepAllocations wants a training step to reuse nearly all memory of the step before.
func TestStepAllocations(t *testing.T) {
	const most = 8
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	packed, set := randomBatch(256, 64, b.Model.Spec.Vocab)
	defer kernels.SetThreads(0)
	for _, mode := range []string{RecomputeAlways, RecomputeNever} {
		for _, threads := range []int{1, 3} {
			kernels.SetThreads(threads)
			a, err := methods.NewLoRA(b, method.LoRA{Rank: 16})
			if err != nil {
				t.Fatal(err)
			}
			tr, err := newTrainer(b, a, set, nil, plain(Options{Recompute: mode, Steps: 1000}))
			if err != nil {
				t.Fatal(err)
			}
			n := alloctest.Steady(5, func() {
				if _, _, err := tr.step(context.Background(), stepBatches{batches: []*batch.Batch{packed}}, 1e-4); err != nil {
					t.Fatal(err)
				}
			})
			if n > most {
				t.Errorf("recompute %s, %d threads: a step allocates %g times, expected at most %d", mode, threads, n, most)
			}
		}
	}
}
