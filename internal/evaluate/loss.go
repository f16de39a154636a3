package evaluate

import (
	"context"
	"fmt"
	"math"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
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
	if set.Classes > 0 && hooks == nil && set.Answers == nil {
		return baseClasses(set), nil
	}
	if set.Classes > 0 {
		return evalClasses(ctx, b, hooks, set, batchTokens, tape)
	}
	var sum float64
	var packed batch.Batch
	r := &Result{Examples: set.Len()}
	files := newFileSums(set)
	for _, examples := range set.Batches(nil, batchTokens) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		packed.Reset()
		if err := set.Batch(&packed, examples); err != nil {
			return nil, err
		}
		err := tape.Until(ctx, func() error {
			losses := Forward(b, hooks, hooks, &packed, tape)
			for _, loss := range losses {
				sum += float64(loss)
				r.Tokens++
			}
			files.addBatch(examples, &packed, losses)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	r.Loss, r.Files = sum/float64(r.Tokens), files.results()
	r.Perplexity = math.Exp(r.Loss)
	if !floats.Finite(r.Loss) {
		return nil, NotFinite(b, r.Loss)
	}
	return r, nil
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
