package train

import (
	"context"
	"fmt"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/method"
)

// BenchmarkStep is one step of training on 2048 tokens: LoRA of rank 8 on every linear map of stories260K, sequences of
// 256.
func BenchmarkStep(b *testing.B) {
	base := pefttest.OpenBase(b, testdata.Shared(b, "models/stories260K.gguf"))
	for _, threads := range []int{1, 2} {
		b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) {
			kernels.SetThreads(threads)
			defer kernels.SetThreads(0)
			packed, set := randomBatch(2048, 256, base.Model.Spec.Vocab)
			a, err := methods.NewLoRA(base, method.LoRA{})
			if err != nil {
				b.Fatal(err)
			}
			t, err := newTrainer(base, a, set, nil, plain(Options{}))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := t.step(context.Background(), stepBatches{batches: []*batch.Batch{packed}}, 1e-4); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(packed.Tokens()*b.N)/b.Elapsed().Seconds(), "tokens/s")
		})
	}
}

// randomBatch is random tokens in sequences of one length.
func randomBatch(tokens, length, vocab int) (*batch.Batch, *attach.Data) {
	packed, set, r := &batch.Batch{}, &attach.Data{}, prng.NewRandom(1, "benchmark")
	for range tokens / length {
		ids := make([]int32, length)
		for i := range ids {
			ids[i] = int32(r.Next() % uint64(vocab))
		}
		packed.Append(ids, nil)
		set.Examples = append(set.Examples, attach.Example{IDs: ids})
	}
	return packed, set
}
