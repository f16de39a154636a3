package train

import (
	"context"
	"fmt"
	"time"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/dist"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/peft"
)

// Trial is what a run would take, as Try found out.
type Trial struct {
	Parameters     int     `json:"trainable_parameters"`
	Examples       int     `json:"examples"`
	Tokens         int     `json:"tokens"`           // of the data
	Targets        int     `json:"tokens_with_loss"` // of the data
	Steps          int     `json:"steps"`
	StepTokens     int     `json:"step_tokens"`      // of the step that was measured
	StepSeconds    float64 `json:"seconds_per_step"` // of a step with as many tokens as steps have on average
	Seconds        float64 `json:"seconds"`          // of all steps, without evaluation
	Loss           float64 `json:"first_loss"`       // of the step that was measured, before the adapter learned
	Precision      Chosen  `json:"precision"`
	Memory         int64   `json:"memory_bytes"` // that the run needs, about
	Available      int64   `json:"memory_available_bytes,omitempty"`
	AvailableKnown bool    `json:"-"`
}

// secondTry is how long a first step may take for a second one to be measured in its place: in the first one memory is
// allocated and the file is read.
const secondTry = 3 * time.Second

// Try does the first step of a run, says what the whole run would take, and writes nothing. The adapter is changed by
// that step. Errors are those with which Run would not start.
func Try(ctx context.Context, b *peft.Base, a *peft.Adapter, train *peft.Data, opt Options) (_ *Trial, err error) {
	defer mapped.Guard(&err)()
	return try(ctx, handle.Base(b), handle.Adapter(a), handle.Data(train), opt)
}

// try is Try on what the arguments hold.
func try(ctx context.Context, b *attach.Base, a *attach.Adapter, train *attach.Data, opt Options) (*Trial, error) {
	opt.Out, opt.Resume, opt.comm = "", "", dist.Single{}
	t, err := newTrainer(b, a, train, nil, opt)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	if err := t.settle(ctx); err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	t.batches = t.epochBatches(0)
	r := &Trial{
		Parameters: a.Parameters(), Examples: len(train.Examples), Tokens: train.Tokens(), Targets: train.Targets(),
		Steps: t.schedule.steps, Memory: t.plan.Total(), Available: t.plan.Available, AvailableKnown: t.plan.Known,
		Precision: t.chosen,
	}
	next := t.state
	if err := t.fill(ctx, &next); err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	r.StepTokens = int(next.Tokens)
	step := t.stepBatches()
	took, loss, err := t.timed(ctx, step)
	if err == nil && took < secondTry {
		took, _, err = t.timed(ctx, step)
	}
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	mean := float64(r.Tokens) / float64(ceilDiv(len(t.batches), t.opt.Accumulate))
	r.Loss, r.StepSeconds = loss, took.Seconds()*mean/float64(r.StepTokens)
	r.Seconds = r.StepSeconds * float64(r.Steps)
	return r, nil
}

// timed does a step.
func (t *trainer) timed(ctx context.Context, step stepBatches) (took time.Duration, loss float64, err error) {
	start := time.Now()
	loss, _, err = t.step(ctx, step, t.schedule.at(0))
	return time.Since(start), loss, err
}
