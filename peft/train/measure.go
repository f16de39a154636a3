package train

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/dist"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/method"
)

// MeasureOptions says what MeasureSteps measures.
type MeasureOptions struct {
	Tokens int           // of the one sequence that is trained on; 0: 512
	Rank   int           // of a LoRA on every linear map; 0: 16
	Steps  int           // that are measured, after one that is not; 0: as many as fit into Time, at least 2
	Time   time.Duration // 0: 3 seconds
	Train  Options       // what of it concerns a single step

	Between func() // called after each step that is measured, if not nil; its time does not count
}

// Measurement is what MeasureSteps found.
type Measurement struct {
	Tokens  int                // of a step
	Steps   int                // measured
	Seconds float64            // of the median step
	Mean    float64            // seconds of the mean step
	Parts   map[string]float64 // share of each part in the time of all steps; they add up to 1
	PeakRSS int64              // bytes
}

// partOptimizer is what a step does beside the operations of the tape: the norm of the gradient, clipping, AdamW.
const partOptimizer = "optimizer"

// StepParts are the names of the parts of a step, in order.
func StepParts() []string {
	var names []string
	for part := range autograd.Parts {
		if part != autograd.PartOther {
			names = append(names, part.String())
		}
	}
	return append(names, partOptimizer, autograd.PartOther.String())
}

// MeasureSteps trains a new LoRA on random tokens for a few steps, as Run does, and measures them.
func MeasureSteps(ctx context.Context, b *peft.Base, opt MeasureOptions) (_ *Measurement, err error) {
	defer mapped.Guard(&err)()
	return measureSteps(ctx, handle.Base(b), opt)
}

// measureSteps is MeasureSteps on what the base holds.
func measureSteps(ctx context.Context, b *attach.Base, opt MeasureOptions) (*Measurement, error) {
	opt.defaults()
	t, group, err := newMeasured(b, &opt)
	if err != nil {
		return nil, fmt.Errorf("measure: %w", err)
	}
	var times autograd.Times
	var each []time.Duration
	var total time.Duration
	for warm := true; warm || !opt.enough(len(each), total); warm = false {
		start := time.Now()
		if _, _, err := t.step(ctx, stepBatches{batches: group}, t.opt.LR); err != nil {
			return nil, fmt.Errorf("measure: %w", err)
		}
		if !warm {
			each = append(each, time.Since(start))
			total += each[len(each)-1]
			if opt.Between != nil {
				opt.Between()
			}
		}
		t.tape.Measure(&times)
	}
	return summary(each, total, &times, group[0].Tokens()), nil
}

func (opt *MeasureOptions) defaults() {
	if opt.Tokens == 0 {
		opt.Tokens = 512
	}
	if opt.Rank == 0 {
		opt.Rank = 16
	}
	if opt.Time == 0 {
		opt.Time = 3 * time.Second
	}
}

// enough says whether the steps measured so far are enough.
func (opt *MeasureOptions) enough(steps int, total time.Duration) bool {
	if opt.Steps > 0 {
		return steps >= opt.Steps
	}
	return steps >= 2 && total+total/time.Duration(steps) > opt.Time
}

// newMeasured makes a run of many steps over one sequence of random tokens, and its batch.
func newMeasured(b *attach.Base, opt *MeasureOptions) (*trainer, []*batch.Batch, error) {
	a, err := methods.NewLoRA(b, method.LoRA{Rank: opt.Rank})
	if err != nil {
		return nil, nil, err
	}
	ids, r := make([]int32, opt.Tokens), prng.NewRandom(1, "measure")
	for i := range ids {
		ids[i] = int32(r.Next() % uint64(b.Model.Spec.Vocab))
	}
	o := opt.Train
	o.comm = dist.Single{}
	o.BatchTokens, o.Steps, o.Epochs, o.IgnoreMemory = opt.Tokens, 1<<20, 0, true // weights in memory would count twice
	o.Schedule, o.Clip = ScheduleConstant, -1
	t, err := newTrainer(b, a, &attach.Data{Examples: []attach.Example{{IDs: ids}}}, nil, o)
	if err != nil {
		return nil, nil, err
	}
	packed := &batch.Batch{}
	packed.Append(ids, nil)
	return t, []*batch.Batch{packed}, nil
}

// summary is the median step and what the steps were spent on.
func summary(each []time.Duration, total time.Duration, times *autograd.Times, tokens int) *Measurement {
	m := &Measurement{Tokens: tokens, Steps: len(each), Parts: secondsOf(times, total), PeakRSS: PeakRSS()}
	for part := range m.Parts {
		m.Parts[part] /= total.Seconds()
	}
	slices.Sort(each)
	m.Seconds, m.Mean = each[len(each)/2].Seconds(), total.Seconds()/float64(len(each))
	return m
}

// secondsOf are the seconds of the parts of steps that took total.
func secondsOf(times *autograd.Times, total time.Duration) map[string]float64 {
	parts := map[string]float64{}
	rest := total
	for part, d := range times {
		parts[autograd.Part(part).String()] = d.Seconds()
		rest -= d
	}
	parts[partOptimizer] = rest.Seconds()
	return parts
}
