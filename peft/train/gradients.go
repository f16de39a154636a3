package train

import (
	"context"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/kernels"
)

// gradients computes the gradient of an optimizer step. local computes it in this process, one batch after
// the other; another implementation may share the batches between machines.
type gradients interface {
	// compute sets the gradient (Bound.Grads) to that of the mean loss over all targets of a step's batches and gives that
	// mean. Whatever shares the work must add up in a fixed order, so that the same seed gives the same bytes.
	compute(ctx context.Context, s stepBatches) (loss float64, err error)
}

// stepBatches are the batches of one optimizer step.
type stepBatches struct {
	step     int // steps done before; it seeds dropout
	batches  []*batch.Batch
	examples [][]int // places of each batch's sequences in the training data; nil where they are none of it
	// batches without the virtual tokens of the adapter, for a teacher; nil: the loss is cross entropy alone, and nothing
	// is retained
	plain []*batch.Batch
}

// targets is the number of tokens that carry loss.
func (s *stepBatches) targets() int {
	n := 0
	for _, b := range s.batches {
		n += b.TargetCount()
	}
	return n
}

// examplesOf are the places of the sequences of batch number i; nil where they are none of the training data.
func (s *stepBatches) examplesOf(i int) []int {
	if s.examples == nil {
		return nil
	}
	return s.examples[i]
}

// local computes gradients in this process.
type local struct {
	base      *attach.Base
	bound     *attach.Bound
	tape      *autograd.Tape
	precision kernels.Precision
	seed      uint64
	cache     *layerCache // of the layers below those that are trained, or nil
	balance   model.Balance
	balanced  float64 // Balance.Mean of the last step, weighed by targets
	teacher   *guide  // or nil
	retained  *retention
}

// compute implements gradients.
func (l *local) compute(ctx context.Context, s stepBatches) (loss float64, err error) {
	err = l.tape.Until(ctx, func() error {
		loss, err = l.sum(ctx, s)
		return err
	})
	return loss, err
}

// sum does the batches one after the other.
func (l *local) sum(ctx context.Context, s stepBatches) (loss float64, err error) {
	clear(l.bound.Grads)
	targets := s.targets()
	if targets == 0 {
		return 0, nil
	}
	l.bound.Train(true)
	defer l.bound.Train(false)
	l.tape.Record(true)
	l.tape.Precision(l.precision)
	defer l.tape.Precision(kernels.F32)
	var sum float64
	l.balanced = 0
	for i, b := range s.batches {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		var by autograd.Criterion
		if l.teacher != nil && s.plain != nil {
			if by, err = l.teacher.over(ctx, s.plain[i], b, s.examplesOf(i), l.precision); err != nil {
				return 0, err
			}
		}
		l.tape.Reset(seedOf(l.seed, s.step, i))
		part, n := l.base.Model.LossBy(l.tape, b, l.bound, l.below(&s, i), &l.balance, by, 1/float32(targets))
		l.balanced += l.balance.Mean() * float64(n) / float64(targets)
		l.tape.Backward()
		sum += part
	}
	if l.retained != nil && s.plain != nil {
		if err := l.retain(ctx, &s); err != nil {
			return 0, err
		}
	}
	if regularize := l.bound.Effect.Regularize; regularize != nil {
		regularize()
	}
	return sum / float64(targets), nil
}

// seedOf is that of the dropout in a batch of a step.
func seedOf(seed uint64, step, batch int) uint64 {
	return prng.Mix(seed ^ prng.Mix(uint64(step)<<20|uint64(batch)))
}

// divergence is the mean over the batch of the last step of what is retained; 0 where nothing is.
func (l *local) divergence() float64 {
	if l.retained == nil {
		return 0
	}
	return l.retained.loss
}

// retain adds the gradient of what is to be retained.
func (l *local) retain(ctx context.Context, s *stepBatches) error {
	r := l.retained
	by, err := r.guide.over(ctx, &r.plain, &r.learned, nil, l.precision)
	if err != nil {
		return err
	}
	l.tape.Reset(seedOf(l.seed, s.step, len(s.batches)))
	targets := r.learned.TargetCount()
	var unbalanced model.Balance
	sum, _ := l.base.Model.LossBy(l.tape, &r.learned, l.bound, nil, &unbalanced, by,
		float32(r.weight)/float32(max(1, targets)))
	l.tape.Backward()
	r.loss = sum / float64(max(1, targets))
	return nil
}

// below is the cache of the layers below, prepared for the examples of batch number i; nil where there is none.
func (l *local) below(s *stepBatches, i int) model.LayerCache {
	if l.cache == nil || s.examples == nil {
		return nil
	}
	l.cache.examples = s.examples[i]
	return l.cache
}

// close gives back what is kept of examples.
func (l *local) close() {
	l.cache.close()
	if l.teacher != nil {
		l.teacher.tops.close()
	}
}
