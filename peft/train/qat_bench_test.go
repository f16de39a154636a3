package train

import (
	"context"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
)

// BenchmarkQATStep is one step of training on 2048 tokens over random weights, two layers as wide as those of a model
// of half a billion parameters: a LoRA of rank 16, and each channel beside it; other methods without and with it.
func BenchmarkQATStep(b *testing.B) {
	spec := arch.Spec{
		Architecture: arch.Llama, Layers: 2, Width: 1024, Vocab: 1024, Context: 2048, NormEps: 1e-5, Tied: true,
		Layer: arch.Layer{
			FFN: 2816, QueryHeads: 16, KeyHeads: 4, HeadDim: 64, Rope: arch.Rope{Dim: 64, Base: 10000, Scale: 1},
		},
	}
	for _, typ := range []gguf.Type{gguf.Q4_0, gguf.Q4_K, gguf.Q8_0} {
		m, err := model.Random(spec, typ)
		if err != nil {
			b.Fatal(err)
		}
		base := attach.BaseOf("random", m)
		for _, channels := range []string{"lora", "scale", "offset", "row", "code", "scale+code", "qat-lora",
			"dora", "qat-dora", "loha", "qat-loha", "lokr", "qat-lokr", "vera", "qat-vera", "oft", "qat-oft", "ia3", "qat-ia3"} {
			b.Run(typ.String()+"/"+channels, func(b *testing.B) { benchmarkStep(b, base, channels) })
		}
	}
}

func benchmarkStep(b *testing.B, base *attach.Base, name string) {
	a, err := adapterNamed(base, name, 16, 0, false)
	if err != nil {
		b.Skip(err)
	}
	packed, set := randomBatch(2048, 512, base.Model.Spec.Vocab)
	t, err := newTrainer(base, a, set, nil, plain(Options{IgnoreMemory: true, Recompute: RecomputeNever}))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, err := t.step(context.Background(), stepBatches{batches: []*batch.Batch{packed}}, 1e-4); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(packed.Tokens()*b.N)/b.Elapsed().Seconds(), "tokens/s")
}
