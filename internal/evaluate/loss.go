package evaluate

import (
	"context"
	"fmt"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/dist"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/model"
)

// Tokens is how many tokens go through the model at once in evaluation by default.
const Tokens = 2048

// Result is the loss on a data set.
type Result struct {
	Loss       float64 `json:"loss"`       // mean cross entropy, natural logarithm
	Perplexity float64 `json:"perplexity"` // its exponential
	Tokens     int     `json:"tokens"`     // targets that the mean is over
	Examples   int     `json:"examples"`
	// Accuracy is the share of examples whose label is the likeliest, of classified ones.
	Accuracy *float64 `json:"accuracy,omitempty"`
	// Files are the same of each file, where the data are of several.
	Files []FileResult
}

// LossOf takes the examples in order.
func LossOf(ctx context.Context, b *attach.Base, hooks attach.Stack, set *attach.Data, batchTokens int,
	tape *autograd.Tape) (*Result, error) {
	return SharedLoss(ctx, dist.Single{}, b, hooks, set, batchTokens, tape)
}

// SharedLoss is LossOf by all ranks, each of which computes some batches. All get the result, which does not depend on
// how many they are.
func SharedLoss(ctx context.Context, c dist.Comm, b *attach.Base, hooks attach.Stack, set *attach.Data, batchTokens int,
	tape *autograd.Tape) (*Result, error) {
	switch {
	case set.Classes > 0 && hooks == nil && set.Answers == nil:
		return baseClasses(set), nil
	case set.Classes > 0:
		batchTokens /= max(1, len(set.Answers))
	}
	m := newMeasured(set, max(1, batchTokens))
	for i, examples := range m.batches {
		if i%c.Size() != c.Rank() {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		err := tape.Until(ctx, func() error {
			if set.Classes > 0 {
				return m.classes(b, hooks, examples, tape)
			}
			return m.tokens(b, hooks, examples, tape)
		})
		if err != nil {
			return nil, err
		}
	}
	if err := m.gather(ctx, c); err != nil {
		return nil, err
	}
	r := m.result()
	if !floats.Finite(r.Loss) {
		return nil, NotFinite(b, r.Loss)
	}
	return r, nil
}

// tokens measures the tokens of a batch of examples.
func (m *measured) tokens(b *attach.Base, hooks attach.Stack, examples []int, tape *autograd.Tape) error {
	m.packed.Reset()
	if err := m.set.Batch(&m.packed, examples); err != nil {
		return err
	}
	losses := Forward(b, hooks, hooks, &m.packed, tape)
	for i, example := range examples {
		sum, tokens := 0.0, 0
		for _, target := range m.packed.Targets[m.packed.Bounds[i]:m.packed.Bounds[i+1]] {
			if target != batch.Ignore {
				sum += float64(losses[tokens])
				tokens++
			}
		}
		losses = losses[tokens:]
		m.put(example, sum, tokens, false)
	}
	return nil
}

// Forward is the loss of every target of a batch, with the adapters' hooks or others around them.
func Forward(b *attach.Base, adapters attach.Stack, hooks model.Hooks, packed *batch.Batch,
	tape *autograd.Tape) []float32 {
	adapters.Expand(packed)
	if packed.TargetCount() == 0 {
		return nil
	}
	tape.Record(false)
	tape.Reset(0)
	return b.Model.Losses(tape, packed, hooks, 1)
}

// NotFinite says why a loss is not finite.
func NotFinite(b *attach.Base, loss float64) error {
	if err := attach.CheckWeights(b); err != nil {
		return fmt.Errorf("the loss is %v: %w", loss, err)
	}
	return fmt.Errorf("the loss is %v although all weights of the base are finite: values overflowed on the way", loss)
}
