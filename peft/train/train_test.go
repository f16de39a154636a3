package train

import (
	"bytes"
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/dataset"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/eval"
	"github.com/peftconv/peftconv/peft/method"
)

// trainOptions is a short run with everything on.
func trainOptions(out string) Options {
	return Options{
		Epochs: 3, BatchTokens: 40, Accumulate: 2, LR: 0.01, Schedule: ScheduleCosine, Warmup: 2, WeightDecay: 0.01, Clip: 1,
		Seed: 7, Out: out,
	}
}

// runTraining trains a fresh adapter with dropout over a base and gives its file.
func runTraining(t *testing.T, b *attach.Base, opt Options) ([]byte, *Result) {
	t.Helper()
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 4, Dropout: 0.1, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	r, err := trainAdapter(context.Background(), b, a, pefttest.TinyData(24, 1), pefttest.TinyData(6, 2), plain(opt))
	if err != nil {
		t.Fatal(err)
	}
	return pefttest.FileBytes(t, opt.Out), r
}

// TestTrain looks at what a run reports and writes.
func TestTrain(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	opt := trainOptions(filepath.Join(t.TempDir(), "out.safetensors"))
	opt.Epochs, opt.EvalEvery = 5, 5
	var seen []Progress
	var told events
	opt.Observer = Observers{OnStep(func(p Progress) { seen = append(seen, p) }), &told}
	_, r := runTraining(t, b, opt)
	if r.BaseLoss == nil || r.EvalLoss == nil || *r.EvalLoss > *r.BaseLoss-0.3 {
		t.Fatalf("the evaluation loss went from %v to %v", r.BaseLoss, r.EvalLoss)
	}
	if r.Steps != len(seen) || r.Steps != seen[0].Steps || r.Tokens != 5*int64(pefttest.TinyData(24, 1).Tokens()) ||
		r.PeakRSS <= 0 || r.TokensPerSecond <= 0 {
		t.Errorf("the run reports %+v after %d steps", r, len(seen))
	}
	checkProgress(t, seen)
	checkEvaluations(t, told.evaluations, r)
	a, err := attach.Load(opt.Out)
	if err != nil {
		t.Fatal(err)
	}
	if tr := a.Origin.Training; tr == nil || tr.Steps != r.Steps || *tr.EvalLoss != *r.EvalLoss || tr.Warmup != 2 ||
		tr.Seed != 7 {
		t.Errorf("the file records %+v", tr)
	}
	if a.Origin.Base != filepath.Base(b.Path) || attach.CheckBase(a, b) != nil {
		t.Errorf("the file names the base %+v", a.Origin)
	}
	got, err := eval.Loss(context.Background(), pefttest.Base(b), pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}),
		pefttest.Data(pefttest.TinyData(6, 2)), 0)
	if err != nil || math.Abs(got.Loss-*r.EvalLoss) > 1e-6 {
		t.Errorf("loaded again the adapter has loss %+v, %v, expected %v", got, err, *r.EvalLoss)
	}
}

func checkProgress(t *testing.T, seen []Progress) {
	t.Helper()
	for i, p := range seen {
		if p.StepTokens < p.Targets || p.Targets <= 0 || p.Seconds <= 0 || p.RSS <= 0 {
			t.Errorf("report %d is %+v", i+1, p)
		}
		if p.Step != i+1 || !floats.Finite(p.Loss) || p.GradNorm <= 0 || p.PeakRSS <= 0 {
			t.Errorf("report %d is %+v", i+1, p)
		}
	}
	if first, last := seen[0], seen[len(seen)-1]; first.LR != 0 || last.Epoch != 5 || last.ETA != 0 ||
		last.Loss > first.Loss-0.3 {
		t.Errorf("first report %+v\nlast report %+v", first, last)
	}
}

// checkEvaluations wants the base, every fifth step and the last one measured.
func checkEvaluations(t *testing.T, seen []Evaluation, r *Result) {
	t.Helper()
	for i, e := range seen {
		if want := min(5*i, r.Steps); e.Step != want || e.Base != (i == 0) || e.Asked || e.Seconds <= 0 != e.Base {
			t.Errorf("evaluation %d is %+v", i, e)
		}
	}
	first, last := seen[0], seen[len(seen)-1]
	if len(seen) != 1+(r.Steps+4)/5 || first.Loss != *r.BaseLoss || last.Loss != *r.EvalLoss {
		t.Errorf("%d evaluations from %v to %v", len(seen), first.Loss, last.Loss)
	}
}

// TestTrainThreads: the number of threads changes no byte.
func TestTrainThreads(t *testing.T) {
	defer kernels.SetThreads(0)
	for name, path := range map[string]string{"float32": pefttest.Tiny.WriteGGUF(t), "K types": pefttest.WriteTinyK(t)} {
		b := pefttest.OpenBase(t, path)
		var files [3][]byte
		for i := range files {
			kernels.SetThreads(i + 1)
			files[i], _ = runTraining(t, b, trainOptions(filepath.Join(t.TempDir(), "out.safetensors")))
			if !bytes.Equal(files[i], files[0]) {
				t.Errorf("%s: %d threads write other bytes than one", name, i+1)
			}
		}
	}
}

// TestTrainRecompute: keeping activations changes no byte.
func TestTrainRecompute(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.WriteTinyK(t))
	var files [][]byte
	for _, mode := range []string{RecomputeAlways, RecomputeNever} {
		opt := trainOptions(filepath.Join(t.TempDir(), "out.safetensors"))
		opt.Recompute = mode
		file, _ := runTraining(t, b, opt)
		files = append(files, file)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("kept activations give other bytes than recomputed ones")
	}
}

// TestResume interrupts runs at every step, resumes them, and expects the bytes of a run that was not interrupted.
func TestResume(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	whole, result := runTraining(t, b, trainOptions(filepath.Join(t.TempDir(), "out.safetensors")))
	random := rand.New(rand.NewPCG(1, 2))
	for stop := 1; stop < result.Steps; stop++ {
		opt := trainOptions(filepath.Join(t.TempDir(), "out.safetensors"))
		within := 0
		if stop%2 == 0 {
			within = 1 + random.IntN(30)
		}
		interrupt(t, b, opt, stop, within, result.Steps)
		opt.Resume = CheckpointPath(opt.Out)
		again, r := runTraining(t, b, opt)
		if !bytes.Equal(again, whole) {
			t.Errorf("interrupted after step %d, the run writes other bytes", stop)
		}
		if r.Tokens != result.Tokens || r.Loss != result.Loss || *r.EvalLoss != *result.EvalLoss {
			t.Errorf("interrupted after step %d, the run reports %+v, expected %+v", stop, r, result)
		}
		if _, err := os.Stat(opt.Resume); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the checkpoint is still there: %v", err)
		}
	}
}

// countdown is a context that is cancelled when it has been asked a number of times whether it is.
type countdown struct {
	context.Context
	cancel context.CancelFunc
	left   atomic.Int64 // 0: it is not counted
}

func (c *countdown) Err() error {
	if c.left.Add(-1) == 0 {
		c.cancel()
	}
	return c.Context.Err()
}

// interrupt runs a training until step stop is done, or until so many more operations are, and checks the files that it
// leaves.
func interrupt(t *testing.T, b *attach.Base, opt Options, stop, within, steps int) {
	t.Helper()
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 4, Dropout: 0.1, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	counted := &countdown{Context: ctx, cancel: cancel}
	opt.Observer = OnStep(func(p Progress) {
		switch {
		case p.Step != stop:
		case within > 0:
			counted.left.Store(int64(within))
		default:
			cancel()
		}
	})
	_, err = trainAdapter(counted, b, a, pefttest.TinyData(24, 1), pefttest.TinyData(6, 2), plain(opt))
	var left *Interrupted
	if !errors.As(err, &left) || !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, expected an interruption", err)
	}
	if left.Step != stop || left.Steps != steps || left.Checkpoint != CheckpointPath(opt.Out) ||
		!strings.Contains(err.Error(), left.Checkpoint) {
		t.Errorf("interrupted: %+v", left)
	}
	if _, err := os.Stat(opt.Out); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an interrupted run left an adapter: %v", err)
	}
	half, err := attach.Load(left.Checkpoint)
	if err != nil || !slices.Equal(half.Flat, a.Flat) {
		t.Errorf("the checkpoint is no adapter as it stood: %v", err)
	}
}

// stuck computes gradients until it may go on, whatever its context says.
type stuck struct {
	gradients   *gradients
	begun, goOn chan struct{}
}

func (s *stuck) compute(ctx context.Context, b stepBatches) (float64, error) {
	if b.step == 3 {
		close(s.begun)
		<-s.goOn
	}
	return s.gradients.compute(context.WithoutCancel(ctx), b)
}

// TestInterruptedWithinALayer saves while a layer is computed that takes long, and resumes.
func TestInterruptedWithinALayer(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	whole, _ := runTraining(t, b, trainOptions(filepath.Join(t.TempDir(), "out.safetensors")))
	opt := trainOptions(filepath.Join(t.TempDir(), "out.safetensors"))
	a, err := methods.NewLoRA(b, method.LoRA{Rank: 4, Dropout: 0.1, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	tr, err := newTrainer(b, a, pefttest.TinyData(24, 1), pefttest.TinyData(6, 2), plain(opt))
	if err != nil {
		t.Fatal(err)
	}
	defer tr.hash()()
	layer := &stuck{tr.gradients, make(chan struct{}), make(chan struct{})}
	tr.compute = layer.compute
	ctx, cancel := context.WithCancel(t.Context())
	returned := make(chan error)
	go func() {
		_, err := tr.runAll(ctx)
		returned <- err
	}()
	<-layer.begun
	cancel()
	var left *Interrupted
	if err := tr.stopped(); !errors.As(err, &left) || left.Step != 3 || left.Checkpoint == "" {
		t.Fatalf("within a layer of step 4: %v", err)
	}
	saved := pefttest.FileBytes(t, left.Checkpoint)
	close(layer.goOn)
	if err := <-returned; !errors.As(err, &left) || left.Step != 3 {
		t.Errorf("the run ended with %v", err)
	}
	if !bytes.Equal(pefttest.FileBytes(t, left.Checkpoint), saved) {
		t.Error("the step that was given up is in the checkpoint")
	}
	opt.Resume = left.Checkpoint
	if again, _ := runTraining(t, b, opt); !bytes.Equal(again, whole) {
		t.Error("the resumed run writes other bytes")
	}
}

// TestSaveEvery resumes from a checkpoint of a run that was killed later on.
func TestSaveEvery(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	opt := trainOptions(filepath.Join(t.TempDir(), "out.safetensors"))
	opt.SaveEvery = 3
	var kept []byte
	opt.Observer = OnStep(func(p Progress) {
		if p.Step == 5 { // the checkpoint of step 3
			kept = pefttest.FileBytes(t, CheckpointPath(opt.Out))
		}
	})
	whole, _ := runTraining(t, b, opt)
	opt.Observer = nil
	opt.Resume = filepath.Join(t.TempDir(), "kept.safetensors")
	if err := os.WriteFile(opt.Resume, kept, 0o644); err != nil {
		t.Fatal(err)
	}
	if again, _ := runTraining(t, b, opt); !bytes.Equal(again, whole) {
		t.Error("resumed from step 3, the run writes other bytes")
	}
}

// TestResumeOrder reads a checkpoint back: parameters and moments of a GGUF base are in the order of its rows, those of
// the file in the order of Hugging Face.
func TestResumeOrder(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	opt := trainOptions(filepath.Join(t.TempDir(), "out.safetensors"))
	interrupt(t, b, opt, 4, 0, 12)
	a, err := attach.Load(CheckpointPath(opt.Out))
	if err != nil {
		t.Fatal(err)
	}
	tr, err := newTrainer(b, a, pefttest.TinyData(24, 1), nil, plain(opt))
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.resume(t.Context(), CheckpointPath(opt.Out)); err != nil {
		t.Fatal(err)
	}
	f := pefttest.OpenTensors(t, CheckpointPath(opt.Out))
	for i, p := range tr.inHFOrder(tr.m) {
		want, err := f.Tensor(attach.FirstMoment + p.Name).Float32s()
		if err != nil || !slices.Equal(p.Data, want) {
			t.Errorf("the first moment of %s differs, %v", p.Name, err)
		}
		bound := attach.Views(a.Tensors, tr.bound.Values)[i]
		if permuted := !slices.Equal(bound.Data, a.Tensors[i].Data); permuted != isPermuted(p.Name) {
			t.Errorf("%s stands permuted: %v", p.Name, permuted)
		}
	}
}

func isPermuted(name string) bool {
	return strings.HasSuffix(name, "q_proj.lora_B.weight") || strings.HasSuffix(name, "k_proj.lora_B.weight")
}

// TestResumeRefused changes one thing at a time.
func TestResumeRefused(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	opt := trainOptions(filepath.Join(t.TempDir(), "out.safetensors"))
	interrupt(t, b, opt, 2, 0, 12)
	opt.Resume = CheckpointPath(opt.Out)
	for name, test := range map[string]struct {
		change func(*Options, *method.LoRA, **dataset.Set)
		reason string
	}{
		"seed": {func(o *Options, _ *method.LoRA, _ **dataset.Set) { o.Seed++ }, "seed 7, this one has 8"},
		"rate": {func(o *Options, _ *method.LoRA, _ **dataset.Set) { o.LR = 1 }, "learning rate 0.01"},
		"precision": {func(o *Options, _ *method.LoRA, _ **dataset.Set) {
			o.Precision = PrecisionBF16
		}, "precision f32, this one has bf16"},
		"schedule": {func(o *Options, _ *method.LoRA, _ **dataset.Set) { o.Schedule = "linear" }, "schedule cosine"},
		"data":     {func(_ *Options, _ *method.LoRA, d **dataset.Set) { *d = pefttest.TinyData(24, 9) }, "training data"},
		"rank":     {func(_ *Options, l *method.LoRA, _ **dataset.Set) { l.Rank = 5 }, `"r":4`},
		"alpha":    {func(_ *Options, l *method.LoRA, _ **dataset.Set) { l.Alpha = 1 }, `"lora_alpha":8`},
		"targets": {func(_ *Options, l *method.LoRA, _ **dataset.Set) {
			l.Targets = []string{"q_proj"}
		}, "the run had the adapter"},
		"file": {func(o *Options, _ *method.LoRA, _ **dataset.Set) { o.Resume = b.Path }, "resume from"},
	} {
		o, l, d := opt, method.LoRA{Rank: 4, Dropout: 0.1, Seed: 3}, pefttest.TinyData(24, 1)
		test.change(&o, &l, &d)
		a, err := methods.NewLoRA(b, l)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := trainAdapter(context.Background(), b, a, d, nil, plain(o)); err == nil ||
			!strings.Contains(err.Error(), test.reason) {
			t.Errorf("%s: error %v, expected one with %q", name, err, test.reason)
		}
	}
}

// TestAccumulate: the gradient of a group is that of one batch with all its sequences, though they have different
// numbers of targets.
func TestAccumulate(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	a := pefttest.Trained(t, b, method.LoRA{})
	set := pefttest.TinyData(7, 4)
	tr, err := newTrainer(b, a, set, nil, plain(Options{}))
	if err != nil {
		t.Fatal(err)
	}
	gradient := func(groups ...[]int) (float64, []float32) {
		var group []*batch.Batch
		for _, examples := range groups {
			packed := &batch.Batch{}
			for _, i := range examples {
				packed.Append(set.Examples[i].IDs, set.Examples[i].Loss)
			}
			group = append(group, packed)
		}
		loss, err := tr.gradients.compute(context.Background(), stepBatches{batches: group})
		if err != nil {
			t.Fatal(err)
		}
		return loss, slices.Clone(tr.bound.Grads)
	}
	loss, grads := gradient([]int{0, 1, 2, 3, 4, 5, 6})
	inParts, partGrads := gradient([]int{0, 1}, []int{2}, []int{3, 4, 5, 6})
	if math.Abs(loss-inParts) > 1e-6 {
		t.Errorf("loss %v in parts, %v at once", inParts, loss)
	}
	if err := pefttest.Relative(partGrads, grads); err > 1e-5 {
		t.Errorf("the gradient in parts is off by %.2g", err)
	}
}

// TestClip: after clipping the update is that of the gradient scaled to the norm.
func TestClip(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	first := func(clip float64) (float64, []float32) {
		tr, err := newTrainer(b, pefttest.Trained(t, b, method.LoRA{}), pefttest.TinyData(4, 1), nil,
			plain(Options{Clip: clip}))
		if err != nil {
			t.Fatal(err)
		}
		_, norm, err := tr.step(context.Background(),
			stepBatches{batches: []*batch.Batch{pefttest.Packed(pefttest.TinyData(4, 1))}}, 1e-3)
		if err != nil {
			t.Fatal(err)
		}
		return norm, tr.bound.Grads
	}
	norm, grads := first(0)
	clippedNorm, clipped := first(norm / 3)
	if norm != clippedNorm {
		t.Errorf("the reported norm is %v with clipping, %v without", clippedNorm, norm)
	}
	kernels.Scale(1.0/3, grads)
	if err := pefttest.Relative(clipped, grads); err > 1e-4 {
		t.Errorf("the clipped gradient is off by %.2g", err)
	}
	if _, loose := first(norm * 2); math.Abs(math.Sqrt(kernels.SumSquares(loose))-norm) > 1e-6*norm {
		t.Error("a gradient below the limit was scaled")
	}
}

// TestTrainRefused trains with invalid options and data.
func TestTrainRefused(t *testing.T) {
	b := pefttest.OpenBase(t, pefttest.Tiny.WriteGGUF(t))
	set := func(e ...dataset.Example) *dataset.Set { return &dataset.Set{Examples: e} }
	ids := func(ids ...int32) dataset.Example { return dataset.Example{IDs: ids} }
	for name, test := range map[string]struct {
		train, eval *dataset.Set
		opt         Options
		reason      string
	}{
		"no data":   {set(), nil, Options{}, "training data: there is no token to predict"},
		"one token": {set(ids(3)), nil, Options{}, "no token to predict"},
		"masked": {set(dataset.Example{IDs: []int32{3, 4}, Loss: make([]bool, 2)}), nil, Options{},
			"no token to predict"},
		"an id too large":     {set(ids(1, 2), ids(3, 9999)), nil, Options{}, "example 2: token 2 has id 9999"},
		"a negative id":       {set(ids(-1, 2)), nil, Options{}, "has id -1"},
		"too long":            {set(ids(make([]int32, 65)...)), nil, Options{}, "has 65 tokens, but"},
		"longer than asked":   {set(ids(make([]int32, 9)...)), nil, Options{SeqLen: 8}, "9 tokens, more than 8"},
		"bad evaluation data": {set(ids(1, 2)), set(), Options{}, "evaluation data"},
		"optimizer":           {set(ids(1, 2)), nil, Options{Optimizer: "sgd"}, `"sgd"`},
		"schedule":            {set(ids(1, 2)), nil, Options{Schedule: "step"}, `"step"`},
		"rate":                {set(ids(1, 2)), nil, Options{LR: -1}, "learning rate -1"},
		"rate NaN":            {set(ids(1, 2)), nil, Options{LR: math.NaN()}, "learning rate NaN"},
		"warm-up":             {set(ids(1, 2)), nil, Options{WarmupRatio: 2}, "warm-up ratio 2"},
		"no directory": {set(ids(1, 2)), nil, Options{Out: filepath.Join(t.TempDir(), "none", "out.safetensors")},
			"none"},
		"steps": {set(ids(1, 2)), nil, Options{Steps: -1}, "cannot be negative"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := trainAdapter(context.Background(), b, pefttest.Trained(t, b, method.LoRA{}), test.train, test.eval,
				plain(test.opt))
			if err == nil || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("error %v, expected one with %q", err, test.reason)
			}
		})
	}
}

// TestNonFinite: a NaN in the base is named, and where there is none the learning rate is.
func TestNonFinite(t *testing.T) {
	poison := func(name string) pefttest.TinyModel {
		m := pefttest.Tiny
		m.Edit = func(n string, x []float32) {
			if n == name {
				x[len(x)-1] = float32(math.NaN())
			}
		}
		return m
	}
	for name, test := range map[string]struct {
		model  pefttest.TinyModel
		lr     float64
		reason string
	}{
		"a linear map": {poison("blk.1.attn_output.weight"), 1e-3, "blk.1.attn_output.weight is NaN in row 31, column 31"},
		"the head":     {poison("output.weight"), 1e-3, "output.weight is NaN"},
		"a norm":       {poison("blk.0.ffn_norm.weight"), 1e-3, "blk.0.ffn_norm.weight"},
		"the rate":     {pefttest.Tiny, 1e30, "try a lower learning rate"},
	} {
		t.Run(name, func(t *testing.T) {
			b := pefttest.OpenBase(t, test.model.WriteGGUF(t))
			dir := t.TempDir()
			opt := Options{Steps: 20, LR: test.lr, Out: filepath.Join(dir, "out.safetensors")}
			_, err := trainAdapter(context.Background(), b, pefttest.Trained(t, b, method.LoRA{}), pefttest.TinyData(8, 1), nil,
				plain(opt))
			if err == nil || !strings.Contains(err.Error(), test.reason) {
				t.Errorf("error %v, expected one with %q", err, test.reason)
			}
			pefttest.CheckEmpty(t, dir)
		})
	}
}
