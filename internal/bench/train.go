package bench

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/train"
)

// Train is the speed of a training step.
type Train struct {
	Shape     string  `json:"shape"` // its name, or the model's path
	Type      string  `json:"type"`
	Precision string  `json:"precision"`
	Tokens    int     `json:"tokens"` // of the one sequence of a step
	Rank      int     `json:"rank"`   // of the LoRA on every linear map
	Recompute string  `json:"recompute"`
	Rate      float64 `json:"tokens_per_second"`
	GFLOPS    float64 `json:"gflops"`
	Percent   float64 `json:"percent_of_peak"`
	// rate of the same instructions in pauses between the steps
	Sustained        float64            `json:"sustained_gflops"`
	PercentSustained float64            `json:"percent_of_sustained"` // rate of the mean step as a share of that
	Weights          int64              `json:"weights_bytes"`
	PeakRSS          int64              `json:"peak_rss_bytes"`
	Parts            map[string]float64 `json:"parts"` // share of each part in the time of a step

	flops float64 // of a step
	best  float64 // highest sustained rate of any pause
}

// stepFLOPs counts the operations of a step over one sequence, two per multiply-add: forward and input gradients of
// the frozen matrices, a LoRA of that rank on every linear map, attention. Recomputation in the backward pass and
// element-wise operations do not count.
func stepFLOPs(m *model.Model, tokens, rank int) float64 {
	t, r := float64(tokens), float64(rank)
	sum := 0.0
	for _, l := range m.Linears() {
		in, out := float64(l.W.Cols), float64(l.W.Rows)
		sum += 2*t*in*out + 2*t*r*(in+out) // y = x·Wᵀ, u = x·Aᵀ, y += u·Bᵀ
		sum += 2 * t * r * (2*out + in)    // du = dy·B, dB = dyᵀ·u, dA = duᵀ·x
		if !readsEmbedding(l) {
			sum += 2*t*in*out + 2*t*r*in // dx = dy·W + du·A
		}
	}
	pairs := t * (t + 1) / 2
	for _, layer := range m.Layers {
		sum += 6 * 2 * pairs * float64(layer.Spec.QueryHeads*layer.Spec.HeadDim) // q·kᵀ, p·v; dp, dv, dq, dk
	}
	sum += 2 * 2 * (t - 1) * float64(m.Head.Rows) * float64(m.Head.Cols) // the last token predicts nothing
	return sum
}

// readsEmbedding reports whether the input of a linear map needs no gradient, because nothing below is trained.
func readsEmbedding(l *model.Linear) bool {
	return l.Layer == 0 && (l.Role == arch.Query || l.Role == arch.Key || l.Role == arch.Value)
}

// measureTrain measures steps on a base, in one precision.
func measureTrain(ctx context.Context, b *peft.Base, name, kind string, p kernels.Precision,
	o *Options) (Train, error) {
	debug.FreeOSMemory()
	m := handle.Base(b).Model
	train.ResetPeakRSS()
	var pauses []float64
	pause := func() { pauses = append(pauses, kernels.Sustained(p, pauseTime)) }
	found, err := train.MeasureSteps(ctx, b, train.MeasureOptions{
		Tokens: o.Tokens, Rank: o.Rank, Steps: o.Steps, Between: pause,
		Train: train.Options{Recompute: o.Recompute, Precision: p.String()},
	})
	if err != nil {
		return Train{}, err
	}
	t := Train{
		Shape: name, Type: kind, Precision: p.String(), Tokens: o.Tokens, Rank: o.Rank, Recompute: o.Recompute,
		Weights: weightBytes(m), PeakRSS: found.PeakRSS, Parts: found.Parts,
		flops: stepFLOPs(m, o.Tokens, o.Rank),
	}
	t.Rate = float64(found.Tokens) / found.Seconds
	t.GFLOPS = t.flops / found.Seconds / 1e9
	t.Sustained, t.best = floats.Mean(pauses), slices.Max(pauses)
	t.PercentSustained = 100 * t.flops / found.Mean / 1e9 / t.Sustained
	return t, nil
}

// pauseTime is how long the machine is measured between two steps.
const pauseTime = 150 * time.Millisecond

// weightBytes is the size of the matrices of a model.
func weightBytes(m *model.Model) int64 {
	n := int64(len(m.Embed.Data))
	if !m.Spec.Tied {
		n += int64(len(m.Head.Data))
	}
	for _, l := range m.Linears() {
		n += int64(len(l.W.Data))
	}
	return n
}

// typesOf names the types of a model's linear maps, the one with the most weights first.
func typesOf(m *model.Model) string {
	sizes := map[gguf.Type]int{}
	for _, l := range m.Linears() {
		sizes[l.W.Type] += len(l.W.Data)
	}
	types := make([]gguf.Type, 0, len(sizes))
	for kind := range sizes {
		types = append(types, kind)
	}
	slices.SortFunc(types, func(a, b gguf.Type) int { return sizes[b] - sizes[a] })
	names := make([]string, len(types))
	for i, kind := range types {
		names[i] = kind.String()
	}
	return strings.Join(names, "+")
}

// randomBase is a base of a named shape.
func randomBase(name string, kind gguf.Type) (*peft.Base, error) {
	spec, err := find(name)
	if err != nil {
		return nil, err
	}
	m, err := model.Random(spec, kind)
	if err != nil {
		return nil, fmt.Errorf("shape %s: %w", name, err)
	}
	return handle.OfBase(attach.BaseOf(name+" of random weights", m)).(*peft.Base), nil
}
