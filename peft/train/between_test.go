package train

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/eval"
	"github.com/peftconv/peftconv/peft/generate"
	"github.com/peftconv/peftconv/peft/method"
)

// worsening is a run whose evaluation loss rises after some steps, so that it stops early.
func worsening(out string) Options {
	opt := trainOptions(out)
	opt.Epochs, opt.LR, opt.Schedule, opt.EvalEvery, opt.EarlyStop, opt.KeepBest = 20, 0.05, ScheduleConstant, 2, 3, true
	return opt
}

// TestEarlyStop wants a run to end after three evaluations that are no better, with the adapter of the best one.
func TestEarlyStop(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	opt := worsening(filepath.Join(t.TempDir(), "out.safetensors"))
	var told events
	opt.Observer = &told
	_, r := runTraining(t, b, opt)
	counted := told.evaluations[1:] // without the base
	least := slices.MinFunc(counted, func(a, b Evaluation) int { return int(math.Copysign(1, a.Loss-b.Loss)) })
	if !r.StoppedEarly || r.Steps >= told.start.Steps || r.BestStep != least.Step || *r.EvalLoss != least.Loss ||
		r.Steps != least.Step+6 {
		t.Errorf("%+v of %d steps; the best evaluation is %+v", r, told.start.Steps, least)
	}
	for i, e := range counted {
		noWorse := func(x Evaluation) bool { return x.Loss <= e.Loss }
		if better := !slices.ContainsFunc(counted[:i], noWorse); e.Best != better {
			t.Errorf("evaluation %+v", e)
		}
	}
	a, err := attach.Load(opt.Out)
	if err != nil {
		t.Fatal(err)
	}
	got, err := eval.Loss(t.Context(), pefttest.Base(b), pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}),
		pefttest.Data(pefttest.TinyData(6, 2)), 0)
	if err != nil || math.Abs(got.Loss-*r.EvalLoss) > 1e-6 || a.Origin.Training.BestStep != r.BestStep {
		t.Errorf("the file has loss %+v, %v, step %d", got, err, a.Origin.Training.BestStep)
	}
}

// interrupter cancels a run at the first call of a kind for a step.
type interrupter struct {
	Ignore
	kind   string
	step   int
	cancel func()
}

func (n *interrupter) at(kind string, step int) {
	if kind == n.kind && step == n.step {
		n.cancel()
	}
}
func (n *interrupter) Step(p Progress)            { n.at("step", p.Step) }
func (n *interrupter) Evaluated(e Evaluation)     { n.at("evaluation", e.Step) }
func (n *interrupter) Sampled(s Sample)           { n.at("sample", s.Step) }
func (n *interrupter) Checkpoint(_ string, s int) { n.at("checkpoint", s) }

// TestResumeBetween interrupts a run that stops early before, within and after what happens between its steps. Resumed
// it has the same bytes, and each event once.
func TestResumeBetween(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	options := func() Options {
		opt := worsening(filepath.Join(t.TempDir(), "out.safetensors"))
		opt.Samples = &Samples{Prompts: []string{"the", "a"}, Every: 2, Generate: noted}
		return opt
	}
	opt := options()
	var whole events
	opt.Observer = &whole
	file, result := runTraining(t, b, opt)
	train := func(ctx context.Context, opt Options) error {
		a, err := methods.NewLoRA(b, method.LoRA{Rank: 4, Dropout: 0.1, Seed: 3})
		if err != nil {
			t.Fatal(err)
		}
		_, err = trainAdapter(ctx, b, a, pefttest.TinyData(24, 1), pefttest.TinyData(6, 2), plain(opt))
		return err
	}
	for _, kind := range []string{"step", "evaluation", "sample"} {
		for _, step := range []int{result.BestStep, result.BestStep + 2, result.Steps - 1} {
			if kind != "step" {
				step -= step % 2
			}
			opt := options()
			ctx, cancel := context.WithCancel(t.Context())
			var before, after events
			opt.Observer = Observers{&before, &interrupter{kind: kind, step: step, cancel: cancel}}
			if err := train(ctx, opt); !errors.Is(err, context.Canceled) {
				t.Fatalf("%s of step %d: %v", kind, step, err)
			}
			opt.Resume, opt.Observer = CheckpointPath(opt.Out), &after
			again, r := runTraining(t, b, opt)
			if !bytes.Equal(again, file) || r.BestStep != result.BestStep || !r.StoppedEarly {
				t.Errorf("%s of step %d: other bytes, %+v", kind, step, r)
			}
			losses := func(list []Evaluation) (all []float64) {
				for _, e := range list {
					all = append(all, e.Loss)
				}
				return all
			}
			both := slices.Concat(losses(before.evaluations), losses(after.evaluations))
			if !slices.Equal(both, losses(whole.evaluations)) {
				t.Errorf("%s of step %d: evaluations %v, then %v", kind, step, before.evaluations, after.evaluations)
			}
		}
	}
}

// noted is an answer that tells the base from an adapter.
func noted(_ context.Context, a *peft.Adapter, prompt string) (string, error) {
	return prompt + "!", nil
}

// TestSamples wants prompts answered before, during and after by the adapter as it is then, and no byte changed by
// that and by what is asked for.
func TestSamples(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	run := func(change func(*Options)) ([]byte, *events) {
		var told events
		opt := trainOptions(filepath.Join(t.TempDir(), "out.safetensors"))
		opt.Observer = &told
		change(&opt)
		file, _ := runTrainingPublic(t, b, opt)
		return file, &told
	}
	plain, _ := run(func(*Options) {})
	answer := func(ctx context.Context, a *peft.Adapter, prompt string) (string, error) {
		var with []peft.Scaled
		if a != nil {
			with = []peft.Scaled{{Adapter: a, Scale: 1}}
		}
		r, err := generate.Run(ctx, pefttest.Base(b), with, prompt, generate.Options{N: 12, IgnoreEOG: true}, nil)
		if err != nil {
			return "", err
		}
		return r.Text, nil
	}
	control := new(Control)
	file, told := run(func(opt *Options) {
		opt.Samples = &Samples{Prompts: []string{"the cat", "a"}, Every: 5, Generate: answer}
		opt.Control = control
		opt.Observer = Observers{opt.Observer, OnStep(func(p Progress) {
			control.Evaluate()
			if !control.Sample("asked") {
				t.Error("a prompt is refused")
			}
		})}
	})
	if !bytes.Equal(file, plain) {
		t.Error("samples and evaluations change bytes")
	}
	var steps []int
	asked := 0
	for _, s := range told.samples {
		if s.Number < 0 {
			asked++
			continue
		}
		steps = append(steps, s.Step)
		if s.Base != (s.Step == 0) || s.Error != "" || s.Prompt != []string{"the cat", "a"}[s.Number] {
			t.Errorf("%+v", s)
		}
	}
	if !slices.Equal(steps, []int{0, 0, 5, 5, 10, 10, 12, 12}) || asked != 12 || len(told.evaluations) != 1+12+1 {
		t.Errorf("samples after steps %v, %d asked for, %d evaluations", steps, asked, len(told.evaluations))
	}
	last := told.samples[len(told.samples)-2]
	loaded, err := peft.Load(filepath.Join(writeOut(t, file), "out.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := answer(t.Context(), loaded, "the cat")
	if before := told.samples[0].Text; err != nil || text != last.Text || text == before {
		t.Errorf("the file answers %q, %v; the run %q, the base %q", text, err, last.Text, before)
	}
}

// runTrainingPublic is runTraining by the function that programs call.
func runTrainingPublic(t *testing.T, b *attach.Base, opt Options) ([]byte, *Result) {
	t.Helper()
	a, err := peft.New(pefttest.Base(b), method.LoRA{Rank: 4, Dropout: 0.1, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(t.Context(), pefttest.Base(b), a, pefttest.Data(pefttest.TinyData(24, 1)),
		pefttest.Data(pefttest.TinyData(6, 2)), plain(opt))
	if err != nil {
		t.Fatal(err)
	}
	return pefttest.FileBytes(t, opt.Out), r
}

// writeOut is a directory with out.safetensors.
func writeOut(t *testing.T, file []byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "out.safetensors"), file, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestSamplesFail: an answer that cannot be given ends the run before the first step, and not later.
func TestSamplesFail(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	opt := trainOptions(filepath.Join(t.TempDir(), "out.safetensors"))
	opt.Steps, opt.Epochs = 4, 0
	calls, from := 0, 0
	answer := func(context.Context, *peft.Adapter, string) (string, error) {
		if calls++; calls > from {
			return "", errors.New("no room")
		}
		return "y", nil
	}
	opt.Samples = &Samples{Prompts: []string{"x"}, Every: 2, Generate: answer}
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trainAdapter(t.Context(), b, a, pefttest.TinyData(24, 1), nil, plain(opt)); err == nil ||
		!strings.Contains(err.Error(), "no room") {
		t.Errorf("before the first step: %v", err)
	}
	calls, from = 0, 1
	var told events
	opt.Observer = &told
	runTraining(t, b, opt)
	if len(told.samples) != 3 || told.samples[1].Error != "no room" {
		t.Errorf("%+v", told.samples)
	}
}

// TestControlStop stops a run from outside and resumes it.
func TestControlStop(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	whole, _ := runTraining(t, b, trainOptions(filepath.Join(t.TempDir(), "out.safetensors")))
	opt := trainOptions(filepath.Join(t.TempDir(), "out.safetensors"))
	opt.Control = new(Control)
	opt.Observer = OnStep(func(p Progress) {
		if p.Step == 5 {
			opt.Control.Stop()
		}
	})
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 4, Dropout: 0.1, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	_, err = trainAdapter(t.Context(), b, a, pefttest.TinyData(24, 1), pefttest.TinyData(6, 2), plain(opt))
	var stop *Interrupted
	if !errors.As(err, &stop) || stop.Step != 5 || stop.Checkpoint == "" {
		t.Fatalf("%v", err)
	}
	opt.Resume, opt.Control, opt.Observer = stop.Checkpoint, nil, nil
	if again, _ := runTraining(t, b, opt); !bytes.Equal(again, whole) {
		t.Error("resumed, the run writes other bytes")
	}
}

// TestKeep wants the last two checkpoints kept, those of another run removed, and one to resume from.
func TestKeep(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	opt := trainOptions(filepath.Join(t.TempDir(), "out.safetensors"))
	opt.SaveEvery, opt.Keep = 3, 2
	for _, step := range []int{2, 700} {
		if err := os.WriteFile(StepCheckpointPath(opt.Out, step), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	whole, r := runTraining(t, b, opt)
	steps, err := StepCheckpoints(opt.Out)
	if err != nil || r.Steps != 12 || !slices.Equal(steps, []int{6, 9}) {
		t.Fatalf("checkpoints of steps %v of %d, %v", steps, r.Steps, err)
	}
	opt.Resume = StepCheckpointPath(opt.Out, 6)
	if again, _ := runTraining(t, b, opt); !bytes.Equal(again, whole) {
		t.Error("resumed from step 6, the run writes other bytes")
	}
	if steps, _ := StepCheckpoints(opt.Out); !slices.Equal(steps, []int{6, 9}) {
		t.Errorf("after that, checkpoints of steps %v", steps)
	}
}

// TestKeepBestState keeps the best adapter of a method that remembers more than its tensors, and resumes it.
func TestKeepBestState(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	run := func(ctx context.Context, opt Options) (*Result, error) {
		a, err := methods.NewAdaLoRA(b, method.AdaLoRA{Rank: 2, StartRank: 4, Placement: method.Placement{Seed: 3}})
		if err != nil {
			t.Fatal(err)
		}
		return trainAdapter(ctx, b, a, pefttest.TinyData(24, 1), pefttest.TinyData(6, 2), plain(opt))
	}
	opt := worsening(filepath.Join(t.TempDir(), "out.safetensors"))
	r, err := run(t.Context(), opt)
	if err != nil || r.BestStep == r.Steps {
		t.Fatalf("%+v, %v", r, err)
	}
	whole := pefttest.FileBytes(t, opt.Out)
	a, err := attach.Load(opt.Out)
	if err != nil {
		t.Fatal(err)
	}
	got, err := eval.Loss(t.Context(), pefttest.Base(b), pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}),
		pefttest.Data(pefttest.TinyData(6, 2)), 0)
	if err != nil || math.Abs(got.Loss-*r.EvalLoss) > 1e-5 {
		t.Errorf("the file has loss %+v, %v, the best evaluation %v", got, err, *r.EvalLoss)
	}
	opt = worsening(filepath.Join(t.TempDir(), "out.safetensors"))
	ctx, cancel := context.WithCancel(t.Context())
	opt.Observer = &interrupter{kind: "step", step: r.BestStep + 1, cancel: cancel}
	if _, err := run(ctx, opt); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	opt.Resume, opt.Observer = CheckpointPath(opt.Out), nil
	if _, err := run(t.Context(), opt); err != nil || !bytes.Equal(pefttest.FileBytes(t, opt.Out), whole) {
		t.Errorf("resumed, the run writes other bytes: %v", err)
	}
}
