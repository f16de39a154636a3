package train

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/evaluate"
	"github.com/peftconv/peftconv/peft"
)

// Samples says which prompts a run answers, and when.
type Samples struct {
	Prompts []string
	Every   int // > 0: steps from one time to the next; 0: only before the first step and after the last
	// Generate answers a prompt with an adapter as it is after the last step, or with the base alone where that is nil.
	// It must not change the adapter. An error before the first step ends the run, a later one is reported as the sample.
	Generate func(ctx context.Context, a *peft.Adapter, prompt string) (string, error)
}

// best is the adapter with the least loss of all evaluations so far.
type best struct {
	values []float32
	state  [][]float32 // of the method
}

// between does what is due between the last step and the next: an evaluation, samples, what was asked for, a
// checkpoint.
func (t *trainer) between(ctx context.Context) error {
	for _, do := range []func(context.Context) error{t.evaluateDue, t.sampleDue, t.asked, t.saveDue} {
		if err := do(ctx); err != nil {
			return t.failed(err)
		}
	}
	return nil
}

// due reports whether something that happens every interval steps is due; at the end of the run it is not.
func (t *trainer) due(every int) bool {
	step := t.state.Step
	return every > 0 && step > 0 && step%every == 0 && step < t.schedule.steps
}

// over says whether no step is left.
func (t *trainer) over() bool { return t.state.StoppedEarly || t.state.Step >= t.schedule.steps }

// measure is the loss on the evaluation data.
func (t *trainer) measure(ctx context.Context) (Evaluation, error) {
	start := time.Now()
	r, err := evaluate.SharedLoss(ctx, t.opt.comm, t.base, attach.Stack{t.bound}, t.eval, t.opt.BatchTokens, t.tape)
	t.clock.start()
	if err != nil {
		return Evaluation{}, err
	}
	return Evaluation{
		Step: t.state.Step, Loss: r.Loss, Accuracy: r.Accuracy, Seconds: time.Since(start).Seconds(),
		Files: filesOf(r),
	}, nil
}

// filesOf are the losses of each file.
func filesOf(r *evaluate.Result) (files []peft.FileLoss) {
	for _, f := range r.Files {
		files = append(files, peft.FileLoss(f))
	}
	return files
}

// evaluateDue does the evaluation that is due.
func (t *trainer) evaluateDue(ctx context.Context) error {
	if t.eval == nil || !t.due(t.opt.EvalEvery) || t.state.Evaluated == t.state.Step {
		return nil
	}
	e, err := t.measure(ctx)
	if err != nil {
		return err
	}
	if err := t.count(&e); err != nil {
		return err
	}
	t.opt.Observer.Evaluated(e)
	return nil
}

// count has an evaluation decide what depends on it. A run that is stopped stays as it was saved.
func (t *trainer) count(e *Evaluation) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.interrupted != nil {
		return t.interrupted
	}
	s := &t.state
	s.Evaluated = s.Step
	t.last = e
	if s.Best != nil && e.Loss >= *s.Best {
		s.Worse++
		s.StoppedEarly = t.opt.EarlyStop > 0 && s.Worse >= t.opt.EarlyStop
		return nil
	}
	loss := e.Loss
	s.Best, s.BestAccuracy, s.BestStep, s.Worse, e.Best = &loss, e.Accuracy, s.Step, 0, true
	if t.opt.KeepBest {
		t.best = &best{values: slices.Clone(t.bound.Values)}
		for _, p := range t.methodState() {
			t.best.state = append(t.best.state, slices.Clone(p.Data))
		}
	}
	return nil
}

// restoreBest puts the best adapter into the place of the last.
func (t *trainer) restoreBest() {
	copy(t.bound.Values, t.best.values)
	for i, p := range t.methodState() {
		copy(p.Data, t.best.state[i])
	}
	t.bound.Stepped(t.state.BestStep, t.schedule.steps)
}

// bestState are the parts of the method's state of the best adapter, named as they are.
func (t *trainer) bestState() []attach.Param {
	params := slices.Clone(t.methodState())
	for i := range params {
		params[i].Data = t.best.state[i]
	}
	return params
}

// sampleDue answers the prompts that are due: before the first step with the base alone.
func (t *trainer) sampleDue(ctx context.Context) error {
	s := &t.state
	if t.opt.Samples == nil || s.Sampled > s.Step || s.Step > 0 && !t.due(t.opt.Samples.Every) {
		return nil
	}
	if err := t.sampleAll(ctx); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.interrupted == nil {
		s.Sampled = s.Step + 1
	}
	return t.interrupted
}

// sampleAll answers all prompts.
func (t *trainer) sampleAll(ctx context.Context) error {
	for i, prompt := range t.opt.Samples.Prompts {
		if err := t.sample(ctx, i, prompt); err != nil {
			return err
		}
	}
	return nil
}

// sample answers a prompt.
func (t *trainer) sample(ctx context.Context, number int, prompt string) error {
	base := t.state.Step == 0
	a := t.opt.adapter
	if base {
		a = nil
	}
	start := time.Now()
	var text string
	err := t.adapter.Lend(t.bound, func() (err error) {
		text, err = t.opt.Samples.Generate(ctx, a, prompt)
		return err
	})
	t.clock.start()
	s := Sample{
		Step: t.state.Step, Number: number, Prompt: prompt, Text: text, Seconds: time.Since(start).Seconds(), Base: base,
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return ctx.Err()
	case base && number >= 0:
		return err
	default:
		s.Error = err.Error()
	}
	t.opt.Observer.Sampled(s)
	return nil
}

// asked does what was asked for by the run's Control.
func (t *trainer) asked(ctx context.Context) error {
	stop, evaluate, prompts := t.opt.Control.take()
	stop, evaluate, err := t.orders(ctx, stop, evaluate)
	if err != nil {
		return err
	}
	if evaluate && t.eval != nil && (t.state.Step == 0 || t.state.Evaluated != t.state.Step) {
		e, err := t.measure(ctx)
		if err != nil {
			return err
		}
		e.Asked = true
		t.opt.Observer.Evaluated(e)
	}
	for _, prompt := range prompts {
		if t.opt.Samples != nil {
			if err := t.sample(ctx, -1, prompt); err != nil {
				return err
			}
		}
	}
	if stop && !t.over() {
		return context.Canceled
	}
	return nil
}

// saveDue writes the checkpoint that is due.
func (t *trainer) saveDue(context.Context) error {
	if !t.due(t.opt.SaveEvery) || t.opt.Out == "" || t.saved == t.state.Step {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.interrupted != nil {
		return t.interrupted
	}
	t.saved = t.state.Step
	if t.opt.Keep == 0 {
		return t.save(CheckpointPath(t.opt.Out))
	}
	if err := t.save(StepCheckpointPath(t.opt.Out, t.state.Step)); err != nil {
		return err
	}
	return t.prune()
}

// checkBetween reports options of evaluations, samples and checkpoints that make no sense.
func (t *trainer) checkBetween() error {
	o := &t.opt
	switch {
	case o.EarlyStop < 0, o.Keep < 0, o.Samples != nil && o.Samples.Every < 0:
		return errors.New("the patience, the number of checkpoints and the steps between samples cannot be negative")
	case (o.EarlyStop > 0 || o.KeepBest) && (o.EvalEvery == 0 || t.eval == nil):
		return errors.New("stopping early and keeping the best adapter need evaluation data, and evaluations in the " +
			"course of the run")
	case o.Keep > 0 && o.SaveEvery == 0:
		return errors.New("keeping checkpoints needs an interval at which they are written")
	case o.Samples != nil && o.Samples.Generate == nil:
		return errors.New("samples need a function that generates them")
	}
	return nil
}
