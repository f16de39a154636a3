package train

import (
	"context"
	"time"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/dist"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/kernels"
)

// stepBatches are the batches of one optimizer step.
type stepBatches struct {
	step     int            // steps done before; it seeds dropout
	batches  []*batch.Batch // nil: it is another rank's
	examples [][]int        // places of each batch's sequences in the training data; nil where they are none of it
	counts   []batchCounts  // of each batch; nil where all batches are this rank's
	guided   bool           // a teacher and what is retained are part of the loss, as the run has them
	plain    []*batch.Batch // with a teacher, batches without the virtual tokens of the adapter
}

// batchCounts are what all ranks know of a batch.
type batchCounts struct{ tokens, targets, sequences int64 }

// sumCounts are the sums over the batches of a step.
func sumCounts(counts []batchCounts) (all batchCounts) {
	for _, c := range counts {
		all.tokens += c.tokens
		all.targets += c.targets
		all.sequences += c.sequences
	}
	return all
}

// targets is the number of tokens that carry loss.
func (s *stepBatches) targets() int {
	if s.counts != nil {
		return int(sumCounts(s.counts).targets)
	}
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

// gradients computes the gradient of an optimizer step: of all its batches, each on the rank whose turn it is.
type gradients struct {
	comm    dist.Comm
	total   *dist.Sum // of the gradients of batches; nil until there are several
	buckets []bucket  // of it
	// of the last step: until this rank's gradients were there, and then until all were added up
	computing, adding time.Duration
	base              *attach.Base
	bound             *attach.Bound
	tape              *autograd.Tape
	precision         kernels.Precision
	seed              uint64
	cache             *layerCache // of the layers below those that are trained, or nil
	balance           model.Balance
	balanced          float64 // Balance.Mean of the last step, weighed by targets
	teacher           *guide  // or nil
	retained          *retention
}

// compute sets the gradient (Bound.Grads) to that of the mean loss over all targets of a step's batches and gives that
// mean. The gradients of batches are added up in their order, so that it is the same for any number of ranks.
func (l *gradients) compute(ctx context.Context, s stepBatches) (loss float64, err error) {
	err = l.tape.Until(ctx, func() error {
		loss, err = l.sum(ctx, s)
		return err
	})
	return loss, err
}

// sum adds up the gradients of the batches, and of what is retained, which counts as one more.
func (l *gradients) sum(ctx context.Context, s stepBatches) (loss float64, err error) {
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
	all := len(s.batches)
	if l.retained != nil && s.guided {
		all++
	}
	losses := make([]float64, 2*all) // of each, and its mean of the routers' loss or 0
	if all > 1 || l.comm.Size() > 1 {
		err = l.addUp(ctx, &s, losses)
	} else {
		losses[0], losses[1], err = l.of(ctx, &s, 0)
	}
	if err != nil {
		return 0, err
	}
	if all > len(s.batches) {
		l.retained.loss = losses[2*len(s.batches)]
	}
	l.balanced = 0
	var sum float64
	for i := range s.batches {
		sum += losses[2*i]
		l.balanced += losses[2*i+1]
	}
	if regularize := l.bound.Effect.Regularize; regularize != nil {
		regularize()
	}
	return sum / float64(targets), nil
}

// addUp sets the gradient to the sum of the gradients of all batches, and completes their losses.
func (l *gradients) addUp(ctx context.Context, s *stepBatches, losses []float64) error {
	if err := l.prepare(); err != nil {
		return err
	}
	all, size := len(losses)/2, l.comm.Size()
	l.total.Begin(ctx, all)
	if size > 1 {
		l.tape.OnPass(l.passed)
		defer l.tape.OnPass(nil)
	}
	var err error
	start := time.Now()
	for i := l.comm.Rank(); i < all; i += size {
		clear(l.bound.Grads)
		if losses[2*i], losses[2*i+1], err = l.of(ctx, s, i); err != nil {
			return err
		}
		if err := l.total.End(l.bound.Grads); err != nil {
			return err
		}
	}
	there := time.Now()
	l.computing = there.Sub(start)
	defer func() { l.adding = time.Since(there) }()
	if err := l.total.Finish(l.bound.Grads); err != nil {
		return err
	}
	return dist.GatherEqual(ctx, l.comm, losses, 2)
}

// of adds the gradient of a batch, or of what is retained behind the last one. It gives the summed loss of the batch
// and its part of the routers' loss, or the divergence of what is retained.
func (l *gradients) of(ctx context.Context, s *stepBatches, i int) (loss, balanced float64, err error) {
	if err := ctx.Err(); err != nil {
		return 0, 0, err
	}
	if i == len(s.batches) {
		loss, err = l.retain(ctx, s)
		return loss, 0, err
	}
	var by autograd.Criterion
	b, targets := s.batches[i], s.targets()
	if l.teacher != nil && s.guided {
		if by, err = l.teacher.over(ctx, s.plain[i], b, s.examplesOf(i), l.precision); err != nil {
			return 0, 0, err
		}
	}
	l.tape.Reset(seedOf(l.seed, s.step, i))
	loss, n := l.base.Model.LossBy(l.tape, b, l.bound, l.below(s, i), &l.balance, by, 1/float32(targets))
	balanced = l.balance.Mean() * float64(n) / float64(targets)
	l.tape.Backward()
	return loss, balanced, nil
}

// seedOf is that of the dropout in a batch of a step.
func seedOf(seed uint64, step, batch int) uint64 {
	return prng.Mix(seed ^ prng.Mix(uint64(step)<<20|uint64(batch)))
}

// divergence is the mean over the batch of the last step of what is retained; 0 where nothing is.
func (l *gradients) divergence() float64 {
	if l.retained == nil {
		return 0
	}
	return l.retained.loss
}

// retain adds the gradient of what is to be retained, and gives its mean divergence.
func (l *gradients) retain(ctx context.Context, s *stepBatches) (float64, error) {
	r := l.retained
	by, err := r.guide.over(ctx, &r.plain, &r.learned, nil, l.precision)
	if err != nil {
		return 0, err
	}
	l.tape.Reset(seedOf(l.seed, s.step, len(s.batches)))
	targets := r.learned.TargetCount()
	var unbalanced model.Balance
	sum, _ := l.base.Model.LossBy(l.tape, &r.learned, l.bound, nil, &unbalanced, by,
		float32(r.weight)/float32(max(1, targets)))
	l.tape.Backward()
	return sum / float64(max(1, targets)), nil
}

// below is the cache of the layers below, prepared for the examples of batch number i; nil where there is none.
func (l *gradients) below(s *stepBatches, i int) model.LayerCache {
	if l.cache == nil || s.examples == nil {
		return nil
	}
	l.cache.examples = s.examples[i]
	return l.cache
}

// close gives back what is kept of examples.
func (l *gradients) close() {
	l.cache.close()
	if l.teacher != nil {
		l.teacher.tops.close()
	}
}
