package train

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/dist"
	"github.com/peftconv/peftconv/kernels"
)

// bucket is a part of a gradient that travels while the rest is computed.
type bucket struct {
	ranges []dist.Range
	layer  int // the lowest that it is of; -1: of none, so that it is final at the end
	n      int
}

// leastBucket is the number of values from which on a bucket travels by itself. It is a variable for tests.
var leastBucket = 1 << 16

// bucketsOf are the parts of a gradient from the highest layer down.
func bucketsOf(params []attach.Param) []bucket {
	var all []bucket
	at := 0
	for i := range params {
		b := bucket{ranges: []dist.Range{{From: at, To: at + len(params[i].Data)}}, layer: -1, n: len(params[i].Data)}
		if layer, ok := layerOf(params[i].Name); ok {
			b.layer = layer
		}
		at += b.n
		all = append(all, b)
	}
	slices.SortStableFunc(all, func(a, b bucket) int { return cmp.Compare(b.layer, a.layer) })
	var joined []bucket
	for _, b := range all {
		if last := len(joined) - 1; last < 0 || joined[last].n >= leastBucket || b.layer < 0 && joined[last].layer >= 0 {
			joined = append(joined, b)
			continue
		}
		last := &joined[len(joined)-1]
		last.ranges, last.layer, last.n = append(last.ranges, b.ranges...), b.layer, last.n+b.n
	}
	return joined
}

// prepare makes the sum of gradients.
func (l *gradients) prepare() (err error) {
	if l.total != nil {
		return nil
	}
	l.buckets = bucketsOf(l.bound.Adapter.Tensors)
	var ranges [][]dist.Range
	for _, b := range l.buckets {
		ranges = append(ranges, b.ranges)
	}
	l.total, err = dist.NewSum(l.comm, ranges)
	return err
}

// passed lets the buckets of a layer and those above travel, whose gradient is final. An error, that of the context, is
// met again at the end of the batch.
func (l *gradients) passed(layer int) {
	n := 0
	for n < len(l.buckets) && l.buckets[n].layer >= layer {
		n++
	}
	_ = l.total.Ready(n, l.bound.Grads)
}

// rankBytes is the memory that adding up gradients takes: of a sum, and of what is sent and received.
func (opt *Options) rankBytes(a *attach.Adapter) int64 {
	bytes := 4 * int64(a.Parameters())
	switch {
	case opt.comm.Size() > 1:
		return 3 * bytes
	case opt.Accumulate > 1 || opt.MicroBatch < opt.BatchTokens || opt.Retain != nil:
		return bytes
	}
	return 0
}

// mine says whether a batch of a step is computed by this rank.
func (t *trainer) mine(i int) bool { return i%t.opt.comm.Size() == t.opt.comm.Rank() }

// countBatches tells all ranks of the batches of the step.
func (t *trainer) countBatches(ctx context.Context) error {
	if t.opt.comm.Size() == 1 {
		return nil
	}
	values := make([]int64, 3*len(t.counts))
	for i, c := range t.counts {
		copy(values[3*i:], []int64{c.tokens, c.targets, c.sequences})
	}
	if err := dist.GatherEqual(ctx, t.opt.comm, values, 3); err != nil {
		return err
	}
	for i := range t.counts {
		t.counts[i] = batchCounts{values[3*i], values[3*i+1], values[3*i+2]}
	}
	return nil
}

// orders are what rank 0 is asked for between steps, which all ranks do.
func (t *trainer) orders(ctx context.Context, stop, evaluate bool) (bool, bool, error) {
	if t.opt.comm.Size() == 1 {
		return stop, evaluate, nil
	}
	said := []byte{0, 0}
	for i, yes := range []bool{stop, evaluate} {
		if yes {
			said[i] = 1
		}
	}
	err := t.opt.comm.Broadcast(said).Wait(ctx)
	return said[0] == 1, said[1] == 1, err
}

// only leaves to rank 0 what is done once: files, samples, and what a run tells.
func (opt *Options) only() {
	if opt.comm == nil {
		opt.comm = dist.Now()
	}
	if opt.comm.Rank() == 0 {
		return
	}
	opt.Out, opt.Samples, opt.Beside, opt.SaveEvery, opt.Keep = "", nil, nil, 0, 0
	opt.Control, opt.Observer, opt.BeforeEnd = nil, nil, nil
}

// agree reports the first thing in which a rank differs from rank 0.
func (t *trainer) agree(ctx context.Context) error {
	if t.opt.comm.Size() == 1 {
		return nil
	}
	facts, err := t.facts()
	if err != nil {
		return err
	}
	return dist.Agree(ctx, t.opt.comm, facts)
}

// facts are what the course of the run depends on.
func (t *trainer) facts() ([]dist.Fact, error) {
	c, err := t.checkpoint()
	if err != nil {
		return nil, err
	}
	adapter := t.adapter.Config
	adapter.BaseModel = "" // its path may differ
	config, err := json.Marshal(adapter)
	if err != nil {
		return nil, err
	}
	evaluated := "none"
	if t.eval != nil {
		if evaluated, err = t.eval.Hash(); err != nil {
			return nil, err
		}
	}
	all := []dist.Fact{
		{Name: "the version", Value: attach.Version},
		{Name: "the tier of kernels", Value: runtime.GOARCH + " " + kernels.Tier()},
	}
	for _, f := range c.settings(&checkpoint{}) {
		all = append(all, dist.Fact{Name: "the " + f.name, Value: fmt.Sprint(f.then)})
	}
	return append(all, []dist.Fact{
		{Name: "the adapter", Value: string(config)},
		{Name: "the start of the adapter (SHA-256)", Value: valuesHash(t.adapter)},
		{Name: "the evaluation data (SHA-256)", Value: evaluated},
		{Name: "the number of steps", Value: fmt.Sprint(t.schedule.steps)},
		{Name: "the step to resume from", Value: fmt.Sprint(c.State.Step)},
		{Name: "the steps between evaluations", Value: fmt.Sprint(t.opt.EvalEvery)},
	}...), nil
}
