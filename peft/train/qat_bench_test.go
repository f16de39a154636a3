package train

import (
	"context"
	"fmt"
	"testing"
	"time"

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

// BenchmarkQATRatio is the time of a step with channels over that of a LoRA's. The steps are done in turn, so that what
// else the machine does is the same for all, and the best of each counts. Wide layers are those of a model of half a
// billion parameters, narrow ones those of the built-in model.
func BenchmarkQATRatio(b *testing.B) {
	for _, width := range []int{1024, 256} {
		for _, typ := range []gguf.Type{gguf.Q4_0, gguf.Q4_K, gguf.Q8_0} {
			for _, precision := range []string{PrecisionF32, PrecisionInt8} {
				b.Run(fmt.Sprintf("%d/%v/%s", width, typ, precision), func(b *testing.B) {
					benchmarkRatio(b, width, typ, precision)
				})
			}
		}
	}
}

func benchmarkRatio(b *testing.B, width int, typ gguf.Type, precision string) {
	m, err := model.Random(arch.Spec{
		Architecture: arch.Llama, Layers: 2048 / width, Width: width, Vocab: 1024, Context: 2048, NormEps: 1e-5, Tied: true,
		Layer: arch.Layer{FFN: width * 11 / 4, QueryHeads: width / 64, KeyHeads: max(1, width/256), HeadDim: 64,
			Rope: arch.Rope{Dim: 64, Base: 10000, Scale: 1}},
	}, typ)
	if err != nil {
		b.Fatal(err)
	}
	base := attach.BaseOf("random", m)
	packed, set := randomBatch(2048, 512, m.Spec.Vocab)
	names := []string{"lora", "scale", "code", "scale+code"}
	trainers, best := make([]*trainer, len(names)), make([]time.Duration, len(names))
	for i, name := range names {
		a, err := adapterNamed(base, name, 16, 0, false)
		if err != nil {
			b.Fatal(err)
		}
		opt := plain(Options{IgnoreMemory: true, Recompute: RecomputeNever, Precision: precision})
		if trainers[i], err = newTrainer(base, a, set, nil, opt); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		for i, t := range trainers {
			start := time.Now()
			if _, _, err := t.step(context.Background(), stepBatches{batches: []*batch.Batch{packed}}, 1e-4); err != nil {
				b.Fatal(err)
			}
			if d := time.Since(start); best[i] == 0 || d < best[i] {
				best[i] = d
			}
		}
	}
	b.ReportMetric(best[0].Seconds(), "lora-s")
	for i, name := range names[1:] {
		b.ReportMetric(best[i+1].Seconds()/best[0].Seconds(), name+"/lora")
	}
}
