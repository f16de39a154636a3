package train

import (
	"bytes"
	"context"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/method"
)

// taught are the options of a run with a teacher, an adapted base, and with text to retain.
func taught(t testing.TB, b *attach.Base, out string) Options {
	opt := trainOptions(out)
	teacher := pefttest.Trained(t, b, method.LoRA{Rank: 4, Seed: 11})
	adapters := pefttest.Scaled([]attach.Scaled{{Adapter: teacher, Scale: 2}})
	opt.Teacher = &Teacher{Base: pefttest.Base(b), Adapters: adapters, Alpha: 0.6, Temperature: 2}
	opt.Retain = &Retention{Data: pefttest.Data(pefttest.TinyData(7, 5)), Weight: 0.5, Tokens: 30}
	return opt
}

// kl is the mean divergence of a model from another over the targets of a batch, in float64.
func kl(b *attach.Base, p, q model.Hooks, packed *batch.Batch, temperature float64) float64 {
	teacher, student := pefttest.AllLogits(b, p, packed), pefttest.AllLogits(b, q, packed)
	vocab := b.Model.Spec.Vocab
	sum, n := 0.0, 0
	for i, target := range packed.Targets {
		if target == batch.Ignore {
			continue
		}
		n++
		sum += definedDivergence(teacher[i*vocab:(i+1)*vocab], student[i*vocab:(i+1)*vocab], temperature)
	}
	return sum / float64(n)
}

func definedDivergence(teacher, student []float32, temperature float64) float64 {
	logs := func(x []float32) []float64 {
		out, sum := make([]float64, len(x)), 0.0
		for i, v := range x {
			out[i] = float64(v) / temperature
			sum += math.Exp(out[i])
		}
		for i := range out {
			out[i] -= math.Log(sum)
		}
		return out
	}
	p, q := logs(teacher), logs(student)
	sum := 0.0
	for i := range p {
		sum += math.Exp(p[i]) * (p[i] - q[i])
	}
	return sum
}

// TestTaughtLoss holds the loss of a step and its gradient against the definition.
func TestTaughtLoss(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	opt := taught(t, b, "")
	opt.Precision = PrecisionF32
	opt.Clip = -1
	a := pefttest.Trained(t, b, method.LoRA{Rank: 2, Seed: 5})
	set := pefttest.TinyData(5, 1)
	tr, err := newTrainer(b, a, set, nil, opt)
	if err != nil {
		t.Fatal(err)
	}
	tr.batches = tr.epochBatches(0)
	next := tr.state
	if err := tr.fill(context.Background(), &next); err != nil {
		t.Fatal(err)
	}
	step := tr.stepBatches()
	// of is the loss with what is retained.
	of := func() float64 {
		loss, err := tr.gradients.compute(context.Background(), step)
		if err != nil {
			t.Fatal(err)
		}
		return loss + 0.5*tr.gradients.divergence()
	}
	got := of()
	grads := slices.Clone(tr.bound.Grads)
	teacher, err := attach.BindAll(b, []attach.Scaled{{Adapter: pefttest.Trained(t, b, method.LoRA{Rank: 4, Seed: 11}),
		Scale: 2}})
	if err != nil {
		t.Fatal(err)
	}
	// want is the same by definition, from the present values.
	want := func() float64 {
		var entropy, divergence, retained float64
		targets := step.targets()
		for _, packed := range tr.plain {
			tape := autograd.NewTape()
			tape.Record(false)
			sum, n := b.Model.Loss(tape, packed, tr.bound, 1)
			entropy += sum / float64(targets)
			divergence += kl(b, teacher, tr.bound, packed, 2) * float64(n) / float64(targets)
		}
		retained = kl(b, model.NoHooks{}, tr.bound, &tr.gradients.retained.plain, 1)
		return 0.4*entropy + 0.6*4*divergence + 0.5*retained
	}
	if want := want(); math.Abs(got-want) > 1e-5*(1+want) {
		t.Errorf("loss %v, expected %v", got, want)
	}
	for i := 0; i < len(tr.bound.Values); i += 1 + len(tr.bound.Values)/9 {
		const h = 2e-2
		was := tr.bound.Values[i]
		tr.bound.Values[i] = was + h
		up := want()
		tr.bound.Values[i] = was - h
		down := want()
		tr.bound.Values[i] = was
		if d := (up - down) / (2 * h); math.Abs(float64(grads[i])-d) > 1e-4+0.02*math.Abs(d) {
			t.Errorf("derivative %d is %v, expected %v", i, grads[i], d)
		}
	}
}

// TestTaught learns a teacher: the divergence from it falls to a small part.
func TestTaught(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	opt := taught(t, b, "")
	opt.Retain, opt.Teacher.Alpha, opt.Teacher.Temperature = nil, 1, 0
	opt.Epochs, opt.Steps, opt.LR, opt.Warmup = 0, 120, 1e-2, 0
	var losses []float64
	opt.Observer = OnStep(func(p Progress) { losses = append(losses, p.Loss) })
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 8, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), nil, opt); err != nil {
		t.Fatal(err)
	}
	if first, last := losses[0], losses[len(losses)-1]; !(last < first/10) {
		t.Errorf("the divergence from the teacher is %v at first and %v at last", first, last)
	}
}

// TestRetained learns a text with and without retaining another: the divergence from the base on that is smaller with.
func TestRetained(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	held := pefttest.TinyData(30, 9)
	after := func(retain *Retention) (divergence, firstLoss float64) {
		opt := trainOptions("")
		opt.Epochs, opt.Steps, opt.LR, opt.Warmup, opt.Retain = 0, 60, 1e-2, 0, retain
		firstLoss = -1
		opt.Observer = OnStep(func(p Progress) {
			if firstLoss < 0 {
				firstLoss = p.RetainLoss
			}
		})
		a, err := methods.NewLoRA(b, method.LoRA{Rank: 4, Seed: 3})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), nil, opt); err != nil {
			t.Fatal(err)
		}
		bound, err := a.Bind(b)
		if err != nil {
			t.Fatal(err)
		}
		return kl(b, model.NoHooks{}, bound, pefttest.Packed(held), 1), firstLoss
	}
	without, _ := after(nil)
	with, first := after(&Retention{Data: pefttest.Data(pefttest.TinyData(40, 8)), Weight: 2, Tokens: 100})
	if !(with < without/2) {
		t.Errorf("the divergence from the base is %v, and %v without retaining", with, without)
	}
	if first != 0 {
		t.Errorf("an adapter that changes nothing yet diverges by %v", first)
	}
}

// TestTaughtBytes: the same bytes for any number of threads, and of a run that was interrupted.
func TestTaughtBytes(t *testing.T) {
	defer kernels.SetThreads(0)
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	var whole []byte
	var steps int
	for threads := 1; threads <= 3; threads += 2 {
		kernels.SetThreads(threads)
		file, result := runTraining(t, b, taught(t, b, filepath.Join(t.TempDir(), "out.safetensors")))
		if whole == nil {
			whole, steps = file, result.Steps
		}
		if !bytes.Equal(file, whole) {
			t.Errorf("%d threads write other bytes than one", threads)
		}
	}
	for _, within := range []int{0, 9} {
		opt := taught(t, b, filepath.Join(t.TempDir(), "out.safetensors"))
		interrupt(t, b, opt, 3, within, steps)
		opt.Resume = CheckpointPath(opt.Out)
		for name, change := range map[string]func(*Options){
			"alpha":       func(o *Options) { o.Teacher = &Teacher{Base: o.Teacher.Base, Alpha: 0.7} },
			"no teacher":  func(o *Options) { o.Teacher = nil },
			"no data":     func(o *Options) { o.Retain = nil },
			"other data":  func(o *Options) { o.Retain = &Retention{Data: pefttest.Data(pefttest.TinyData(8, 5))} },
			"without all": func(o *Options) { o.Teacher, o.Retain = nil, nil },
		} {
			other := opt
			change(&other)
			a, err := methods.NewLoRA(b, method.LoRA{Rank: 4, Dropout: 0.1, Seed: 3})
			if err != nil {
				t.Fatal(err)
			}
			_, err = trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), pefttest.TinyData(6, 2), other)
			if err == nil || !strings.Contains(err.Error(), "the run had objective ") {
				t.Errorf("%s: %v, expected an error with the objective", name, err)
			}
		}
		if again, _ := runTraining(t, b, opt); !bytes.Equal(again, whole) {
			t.Errorf("interrupted %d operations after step 3, the run writes other bytes", within)
		}
	}
}

// TestTaughtMethods runs a step of every method.
func TestTaughtMethods(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	for _, c := range pefttest.MethodCases {
		t.Run(c.Name, func(t *testing.T) {
			a, err := c.New(b)
			if err != nil {
				t.Fatal(err)
			}
			opt := taught(t, b, "")
			opt.Epochs, opt.Steps = 0, 2
			_, err = trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), nil, opt)
			if a.Classifies() != (err != nil) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestTeacherRefused has teachers and texts that do not fit.
func TestTeacherRefused(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	wide := pefttest.Tiny
	wide.Vocab = 400
	other := pefttest.Base(pefttest.OpenBase(t, wide.WriteGGUF(t)))
	same := pefttest.Base(b)
	data := pefttest.Data(pefttest.TinyData(3, 1))
	for want, change := range map[string]func(*Options){
		"a vocabulary of":             func(o *Options) { o.Teacher = &Teacher{Base: other} },
		"share of the loss is 1.5":    func(o *Options) { o.Teacher = &Teacher{Base: same, Alpha: 1.5} },
		"share of the loss is NaN":    func(o *Options) { o.Teacher = &Teacher{Base: same, Alpha: math.NaN()} },
		"9999 likeliest tokens":       func(o *Options) { o.Teacher = &Teacher{Base: same, Top: 9999} },
		"temperature -1":              func(o *Options) { o.Teacher = &Teacher{Base: same, Temperature: -1} },
		"weight -1 of what is to be":  func(o *Options) { o.Retain = &Retention{Data: data, Weight: -1} },
		"1 tokens of a batch of what": func(o *Options) { o.Retain = &Retention{Data: data, Tokens: 1} },
	} {
		opt := trainOptions("")
		change(&opt)
		a := pefttest.Trained(t, b, method.LoRA{Rank: 2})
		_, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), nil, opt)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, expected an error with %q", err, want)
		}
	}
}
