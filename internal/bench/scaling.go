package bench

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/train"
)

// Scaling is how a training step was shared by the ranks of a run, and what is expected of more machines like theirs.
type Scaling struct {
	Shape     string `json:"shape"` // its name, or the model's path
	Type      string `json:"type"`
	Precision string `json:"precision"`
	Rank      int    `json:"rank"` // of the LoRA on every linear map
	Threads   int    `json:"threads_of_a_rank"`
	train.SharedMeasurement
	Rate float64 `json:"tokens_per_second"`
	// what the model of scaling gives for these ranks, with the measured latency and bandwidth; 0 with one rank
	Expected    float64      `json:"expected_seconds,omitempty"`
	Predictions []Prediction `json:"predictions"`
}

// Prediction is the time of a step on some machines, each with one such rank and as many parts.
type Prediction struct {
	Machines   int     `json:"machines"`
	Bandwidth  float64 `json:"bandwidth_bytes_per_second"` // of each machine
	Seconds    float64 `json:"seconds"`
	Rate       float64 `json:"tokens_per_second"`
	Efficiency float64 `json:"efficiency"` // tokens a second, as a share of those of so many machines apart
}

// Networks for which predictions are made, in bytes a second, and the seconds in which machines meet there.
var (
	networks       = []float64{1e9 / 8, 10e9 / 8}
	networkLatency = 100e-6
)

// expected is the time of a step on n machines: a model of what moves when.
//
// A machine sends and receives 4·V·(n−1)/n bytes for each part, V values: its vector's parts, to those who add them up.
// All but the last such exchange happens while the next part is computed, the last one during the second half of a
// part, which is the backward pass, but for the lowest bucket. Then as many bytes bring the sums to all. Each of the
// step's small messages costs the time of a meeting.
func (s *Scaling) expected(n int, bandwidth, latency float64) float64 {
	if n == 1 {
		return s.Computing
	}
	move := 4 * float64(s.Values) * float64(n-1) / float64(n) / bandwidth
	hidden := math.Max(0, move-s.Part) * float64(s.Parts-1)
	last := math.Max(move-s.Part/2, move/lastBuckets)
	return s.Computing + hidden + last + move + smallMessages*latency*math.Log2(float64(n))
}

const (
	lastBuckets   = 8.0 // a vector's share that is final at its end
	smallMessages = 3.0 // of a step: counts, losses, orders
)

// measureScaling measures steps that all ranks share.
func (r *Report) measureScaling(ctx context.Context, o *Options) error {
	one := func(b *peft.Base, name, kind string) error {
		for _, p := range o.Precisions {
			o.Progress(fmt.Sprintf("shared steps of %s in %s, %s", name, kind, p))
			found, err := train.MeasureShared(ctx, b, o.Parts, train.MeasureOptions{
				Tokens: o.Tokens, Rank: o.Rank, Steps: o.Steps,
				Train: train.Options{Recompute: o.Recompute, Precision: p.String()},
			})
			if err != nil {
				return err
			}
			r.Scaling = append(r.Scaling, scalingOf(found, name, kind, p, o.Rank))
		}
		return nil
	}
	if o.Model != "" {
		b, err := peft.OpenBase(o.Model)
		if err != nil {
			return err
		}
		defer b.Close()
		return one(b, o.Model, typesOf(handle.Base(b).Model))
	}
	return o.eachShape(func(shape string, kind gguf.Type) error {
		b, err := randomBase(shape, kind)
		if err != nil {
			return err
		}
		return one(b, strings.ToLower(shape), kind.String())
	})
}

// scalingOf adds to a measurement what follows from it.
func scalingOf(found *train.SharedMeasurement, name, kind string, p kernels.Precision, rank int) Scaling {
	s := Scaling{
		Shape: name, Type: kind, Precision: p.String(), Rank: rank, Threads: kernels.Threads(), SharedMeasurement: *found,
	}
	tokens := float64(s.Parts * s.Tokens)
	s.Rate = tokens * float64(s.Ranks) / s.Seconds
	if s.Ranks > 1 {
		s.Expected = s.expected(s.Ranks, s.Bandwidth, s.Latency/math.Log2(float64(s.Ranks)))
	}
	for _, bandwidth := range networks {
		for n := 2; n <= 64; n *= 2 {
			seconds := s.expected(n, bandwidth, networkLatency)
			s.Predictions = append(s.Predictions, Prediction{n, bandwidth, seconds, tokens * float64(n) / seconds,
				s.Computing / seconds})
		}
	}
	return s
}
