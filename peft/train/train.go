package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/dist"
	"github.com/peftconv/peftconv/internal/evaluate"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft"
)

// OptimizerAdamW is AdamW as PyTorch defines it.
const OptimizerAdamW = "adamw"

// Options says how Run trains. A zero field means what its comment says.
type Options struct {
	Steps       int // optimizer steps; 0: as many as Epochs give. Where both are set the smaller counts
	Epochs      int // passes over the data; 0: 1, or as many as Steps need
	SeqLen      int // > 0: an example with more tokens is an error
	BatchTokens int // the most tokens of a batch of several examples; 0: 2048
	// the most tokens that go through the model at once, of several examples: a batch with more goes in parts, whose
	// gradients are added up. 0: all where memory of 4 GB holds their activations, by the sizes of the model alone, or a
	// half, a quarter, …, at least 512
	MicroBatch  int
	NoPacking   bool    // each example is a batch of its own, whatever BatchTokens is
	Accumulate  int     // batches that make up one optimizer step; 0: 1
	LR          float64 // learning rate at its highest; 0: Adapter.SuggestLR
	Schedule    string  // ScheduleLinear ("" is the same), ScheduleCosine or ScheduleConstant
	Warmup      int     // steps in which the learning rate rises from zero
	WarmupRatio float64 // the same as a share of all steps, where Warmup is 0
	// > 0: factor of the learning rate of a LoRA's matrices B and of vectors (Hayou et al. 2024, "LoRA+")
	LRRatio float64
	// > 0: the load-balance loss of the routers, times this, is part of the loss: transformers' router_aux_loss_coef
	RouterAuxLoss float64
	// AdamW's decoupled decay; 0: the method's own (4 or 1 of method.QAT with ChannelAuto, without Teacher and Retain, and
	// else none), less than 0: none
	WeightDecay  float64
	Clip         float64    // the gradient is scaled down to this norm; 0: 1, less than 0: it is left as it is
	Beta1        float64    // 0: 0.9
	Beta2        float64    // 0: 0.999
	Eps          float64    // 0: 1e-8
	Optimizer    string     // OptimizerAdamW or ""
	Seed         uint64     // order of the data, dropout
	SaveEvery    int        // > 0: steps from one checkpoint to the next
	Keep         int        // > 0: the last Keep of these have names of their own (StepCheckpointPath), and stay
	EvalEvery    int        // > 0: steps from one evaluation to the next
	EarlyStop    int        // > 0: the run ends after so many evaluations in a row that were no better than the best
	KeepBest     bool       // the result is the adapter of the evaluation with the least loss, not of the last step
	Samples      *Samples   // nil: no prompts are answered
	Control      *Control   // nil: nothing is asked for in the course of the run
	Out          string     // the adapter's file; "" writes none, and no checkpoints
	Resume       string     // checkpoint to resume from
	Recompute    string     // RecomputeAuto (also ""), RecomputeAlways or RecomputeNever; the result is the same
	IgnoreMemory bool       // start even where more memory is needed than there is
	Teacher      *Teacher   // nil: the data's tokens alone are learned
	Retain       *Retention // nil: nothing is
	// PrecisionAuto ("" is the same), PrecisionF32, PrecisionBF16 or PrecisionInt8; evaluation is in float32
	Precision string
	// Store is what Out has of each weight of an adapter of method.QAT: StoreSmallest ("" is the same), StorePairs or
	// StoreBlocks. The adapter in memory has pairs.
	Store    string
	Observer Observer // gets the events of the run; may be nil
	// Beside are small files by their paths in the folder of Out, which get their names together with it: all are there,
	// or none.
	Beside map[string][]byte
	// BeforeEnd, where it is set, is called when the run begins, with a function for programs that end before Run has
	// returned. After ctx is cancelled that function waits, from any goroutine, until the run is saved, which it is
	// without waiting for the layer in work, and gives what Run will return: an *Interrupted, or nil where the run came
	// to its end. What BeforeEnd returns is called when the function is not needed any more.
	BeforeEnd func(saved func() error) (done func())

	adapter *peft.Adapter // for Samples
	comm    dist.World    // nil: that of the process
}

// Progress is what a training run reports after a step.
type Progress struct {
	Step, Steps     int
	Epoch           float64 // passes over the data so far
	Loss            float64 // mean over the step's targets
	GradNorm        float64 // before clipping
	LR              float64
	Tokens          int64         // seen so far
	StepTokens      int           // of this step
	Targets         int           // of these, those that carry loss
	Seconds         float64       // that this step took
	TokensPerSecond float64       // of all steps of this process
	ETA             time.Duration // until the last step
	RSS, PeakRSS    int64         // bytes: of now, where the system says it, and the most
	Examples        int           // sequences of this step
	// with Options.RouterAuxLoss, the mean load-balance loss of the layers' routers, which is not in Loss: as many as the
	// experts that a token visits, if all are visited equally
	RouterLoss float64
	RetainLoss float64 // with Options.Retain, the mean divergence from the base, which is not in Loss
}

// Result is the result of a finished run.
type Result struct {
	Steps  int     `json:"steps"`
	Tokens int64   `json:"tokens"`
	Loss   float64 `json:"loss"` // of the last step
	// on the evaluation data without the adapter; nil without such data
	BaseLoss        *float64 `json:"base_loss,omitempty"`
	EvalLoss        *float64 `json:"eval_loss,omitempty"` // on the evaluation data with it
	Accuracy        *float64 `json:"accuracy,omitempty"`  // likewise, of classified data
	Precision       string   `json:"precision"`           // of the products with frozen matrices
	TokensPerSecond float64  `json:"tokens_per_second"`   // of this process's steps, without evaluation
	PeakRSS         int64    `json:"peak_rss_bytes"`
	// Parts are the seconds that this process's steps took, by StepParts.
	Parts   map[string]float64 `json:"parts,omitempty"`
	Adapter string             `json:"adapter,omitempty"` // Options.Out
	Stored  *Stored            `json:"stored,omitempty"`  // of an adapter of method.QAT in a file
	// with Options.KeepBest, the step after which the adapter was as it is now; the loss on the evaluation data is its
	BestStep     int  `json:"best_step,omitempty"`
	StoppedEarly bool `json:"stopped_early,omitempty"` // by Options.EarlyStop
	// SHA-256 of the training data's token ids, and of the base; of runs that write a file
	DataSHA256 string `json:"data_sha256,omitempty"`
	BaseSHA256 string `json:"base_sha256,omitempty"`
}

// Interrupted is the error of a run that was cancelled and can go on: it unwraps to the context's error.
type Interrupted struct {
	Checkpoint  string // what to give as Options.Resume; "" where no file was asked for
	Step, Steps int    // steps done, of all
	cause       error
}

// Error says how far the run came and what it can be resumed from.
func (e *Interrupted) Error() string {
	if e.Checkpoint == "" {
		return fmt.Sprintf("training was interrupted after step %d of %d", e.Step, e.Steps)
	}
	return fmt.Sprintf("training was interrupted after step %d of %d; resume from %s", e.Step, e.Steps, e.Checkpoint)
}

// Unwrap is the error of the context.
func (e *Interrupted) Unwrap() error { return e.cause }

// Run trains an adapter over a frozen base and leaves the result in the adapter and in Options.Out. eval may be
// nil. When ctx is cancelled, the run writes a checkpoint of the last whole step at once, gives up the step in work
// after the layer that it is at, and returns an *Interrupted; that step is done again on resuming, with the same
// result. Before the first step there may be no checkpoint. Resuming needs the same data and options; only the number
// of steps may differ.
func Run(ctx context.Context, b *peft.Base, a *peft.Adapter, train, eval *peft.Data, opt Options) (_ *Result,
	err error) {
	defer mapped.Guard(&err)()
	opt.adapter = a
	opt.only()
	ctx, release := dist.Among(ctx, opt.comm)
	defer release()
	return trainAdapter(ctx, handle.Base(b), handle.Adapter(a), handle.Data(train), handle.Data(eval), opt)
}

// trainAdapter is Run on what the arguments hold.
func trainAdapter(ctx context.Context, b *attach.Base, a *attach.Adapter, train, eval *attach.Data,
	opt Options) (*Result, error) {
	t, err := newTrainer(b, a, train, eval, opt)
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	if opt.Resume != "" {
		if err := t.resume(ctx, opt.Resume); err != nil {
			return nil, fmt.Errorf("train: resume from %s: %w", opt.Resume, err)
		}
	}
	if err := t.agree(ctx); err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	defer t.hash()()
	if opt.BeforeEnd != nil {
		defer opt.BeforeEnd(t.stopped)()
	}
	return t.runAll(ctx)
}

// runAll does all steps that are left and what follows them.
func (t *trainer) runAll(ctx context.Context) (*Result, error) {
	defer context.AfterFunc(ctx, func() { t.stop(ctx.Err()) })()
	defer t.end()
	if err := t.run(ctx); err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	return t.finish(ctx)
}

// trainer is a training run.
type trainer struct {
	base        *attach.Base
	adapter     *attach.Adapter
	bound       *attach.Bound
	train, eval *attach.Data
	opt         Options
	schedule    schedule
	tape        *autograd.Tape
	m, v        []float32 // moments of AdamW, as Bound.Values
	runs        []stretch // what of Bound.Values is trained
	state       trainState
	batches     [][]int        // of the current epoch
	packed      []*batch.Batch // kept from step to step
	group       []*batch.Batch // those of the step, nil where they are another rank's
	examples    [][]int        // of each batch of the group
	counts      []batchCounts  // of all batches of the step
	gradients   *gradients
	compute     func(ctx context.Context, s stepBatches) (float64, error) // that of gradients
	chosen      Chosen                                                    // the precision
	plan        *Memory
	clock       clock
	times       autograd.Times         // of the parts of this process's steps
	dataHash    func() (string, error) // of the training data, computed once
	objective   func() (string, error) // teacher and retained text by hashes, likewise; "": neither
	copies      []*batch.Batch         // kept from step to step
	plain       []*batch.Batch         // of these, those of group without virtual tokens, for a teacher
	best        *best                  // with Options.KeepBest, once there is one
	last        *Evaluation            // that counted; nil where it was in another process
	saved       int                    // the step of the last checkpoint that was due

	// mu is held while what a checkpoint holds changes (values, moments, state), and while it is written.
	mu          sync.Mutex
	ended       bool  // there is nothing to stop any more
	interrupted error // what Run returns, once the run is stopped
}

// trainState is where a run stands after a step; with the parameters and moments it is all that the rest of the run
// depends on.
type trainState struct {
	Step     int      `json:"step"`  // steps done
	Epoch    int      `json:"epoch"` // the epoch of the next batch
	Batch    int      `json:"batch"` // the next batch in it
	Tokens   int64    `json:"tokens"`
	Loss     float64  `json:"loss"`
	BaseLoss *float64 `json:"base_loss,omitempty"`
	// the next batch of what is retained, and its epoch
	RetainEpoch int `json:"retain_epoch,omitempty"`
	RetainBatch int `json:"retain_batch,omitempty"`

	Evaluated int `json:"evaluated,omitempty"` // the last step after which an evaluation was due and done
	Sampled   int `json:"sampled,omitempty"`   // one more than the last step after which prompts were; 0: none were yet
	// of the evaluations so far, the least loss, its accuracy and its step; how many there were since
	Best         *float64 `json:"best,omitempty"`
	BestAccuracy *float64 `json:"best_accuracy,omitempty"`
	BestStep     int      `json:"best_step,omitempty"`
	Worse        int      `json:"worse,omitempty"`
	StoppedEarly bool     `json:"stopped_early,omitempty"`
}

// defaults fills zero fields in.
func (opt *Options) defaults(b *attach.Base, a *attach.Adapter) {
	set := func(p *float64, v float64) {
		if *p == 0 {
			*p = v
		}
	}
	if opt.comm == nil {
		opt.comm = dist.Now()
	}
	set(&opt.LR, a.SuggestLR(b))
	set(&opt.Beta1, 0.9)
	set(&opt.Beta2, 0.999)
	set(&opt.Eps, 1e-8)
	set(&opt.Clip, 1)
	set(&opt.WeightDecay, opt.ownDecay(a))
	if opt.BatchTokens == 0 {
		opt.BatchTokens = 2048
	}
	if opt.Accumulate == 0 {
		opt.Accumulate = 1
	}
	if opt.MicroBatch == 0 {
		opt.MicroBatch = microBatch(b, a, opt)
	}
	opt.MicroBatch = min(opt.MicroBatch, opt.BatchTokens)
	if opt.Precision == "" {
		opt.Precision = PrecisionAuto
	}
	if opt.Schedule == "" {
		opt.Schedule = ScheduleLinear
	}
	if opt.Optimizer == "" {
		opt.Optimizer = OptimizerAdamW
	}
	if opt.Steps == 0 && opt.Epochs == 0 {
		opt.Epochs = 1
	}
	if opt.Observer == nil {
		opt.Observer = Ignore{}
	}
	opt.teach()
}

// mostDecay is the largest share of a value that a method's own decay takes in one step.
const mostDecay = 0.05

// ownDecay is the weight decay of the adapter's method: none beside a teacher or a text to retain.
func (opt *Options) ownDecay(a *attach.Adapter) float64 {
	if opt.Teacher != nil || opt.Retain != nil {
		return 0
	}
	return min(a.Method.Traits().Decay, mostDecay/opt.LR)
}

// DecayOf is the weight decay that Run takes with these options, whose LR is set, for an adapter.
func (opt Options) DecayOf(a *peft.Adapter) float64 {
	if opt.WeightDecay == 0 {
		return opt.ownDecay(handle.Adapter(a))
	}
	return opt.decay()
}

// clip is the norm that gradients are scaled down to, 0 for none.
func (opt *Options) clip() float64 { return max(0, opt.Clip) }

// decay is the weight decay, 0 for none.
func (opt *Options) decay() float64 { return max(0, opt.WeightDecay) }

// check reports values that make no sense.
func (opt *Options) check() error {
	switch {
	case opt.Optimizer != OptimizerAdamW:
		return fmt.Errorf("optimizer %q is not known, expected %s", opt.Optimizer, OptimizerAdamW)
	case !(opt.LR > 0) || math.IsInf(opt.LR, 0):
		return fmt.Errorf("learning rate %v, expected more than 0", opt.LR)
	case opt.RouterAuxLoss > 0 && opt.MicroBatch < opt.BatchTokens:
		return errors.New("the loss of the routers is of a whole batch, which cannot go through the model in parts")
	case opt.Steps < 0, opt.Epochs < 0, opt.BatchTokens < 1, opt.MicroBatch < 1, opt.Accumulate < 1, opt.Warmup < 0,
		opt.SaveEvery < 0, opt.EvalEvery < 0:
		return errors.New("steps, epochs, batch tokens, accumulation, warm-up and intervals cannot be negative")
	case !(opt.WarmupRatio >= 0 && opt.WarmupRatio <= 1):
		return fmt.Errorf("warm-up ratio %v, expected 0 to 1", opt.WarmupRatio)
	case !(opt.LRRatio >= 0), math.IsInf(opt.LRRatio, 0):
		return fmt.Errorf("learning-rate ratio %v, expected a finite number, 0 or more", opt.LRRatio)
	case !(opt.RouterAuxLoss >= 0), math.IsInf(opt.RouterAuxLoss, 0):
		return fmt.Errorf("coefficient %v of the routers' loss, expected a finite number, 0 or more", opt.RouterAuxLoss)
	case math.IsNaN(opt.WeightDecay):
		return fmt.Errorf("weight decay %v, expected a number", opt.WeightDecay)
	case math.IsNaN(opt.Clip):
		return fmt.Errorf("clip %v, expected a number", opt.Clip)
	}
	return nil
}

func newTrainer(b *attach.Base, a *attach.Adapter, train, eval *attach.Data, opt Options) (*trainer, error) {
	opt.defaults(b, a)
	if err := errors.Join(opt.check(), opt.checkStore(a)); err != nil {
		return nil, err
	}
	if opt.RouterAuxLoss > 0 && b.Model.Routers() == 0 {
		return nil, fmt.Errorf("a loss of the routers was asked for, but %s (architecture %s) has no experts", b.Path,
			b.Architecture())
	}
	if err := attach.CheckSet(b, train, opt.SeqLen, a); err != nil {
		return nil, fmt.Errorf("training data: %w", err)
	}
	if eval != nil {
		if err := attach.CheckSet(b, eval, 0, a); err != nil {
			return nil, fmt.Errorf("evaluation data: %w", err)
		}
	}
	if err := checkWritable(opt.Out); err != nil {
		return nil, err
	}
	t := &trainer{
		base: b, adapter: a, train: train, eval: eval, opt: opt, tape: autograd.NewTape(),
		dataHash: sync.OnceValues(train.Hash),
	}
	plan, err := planMemory(b, a, train, opt)
	if err != nil {
		return nil, err
	}
	if plan.Short() && !opt.IgnoreMemory {
		return nil, &ShortOfMemory{*plan}
	}
	t.tape.Keep(!plan.Recompute)
	precision, chosen, err := choose(b, a, &opt)
	if err != nil {
		return nil, err
	}
	t.chosen = chosen
	if t.bound, err = a.Attach(b, 1, true); err != nil {
		return nil, err
	}
	t.plan = plan
	t.gradients = &gradients{
		comm: opt.comm, base: b, bound: t.bound, tape: t.tape, precision: precision, seed: opt.Seed,
	}
	t.gradients.balance.Coefficient = opt.RouterAuxLoss
	t.compute = t.gradients.compute
	t.objective = sync.OnceValues(t.opt.objective)
	if err := t.checkBetween(); err != nil {
		return nil, err
	}
	if err := t.guided(); err != nil {
		return nil, err
	}
	t.m, t.v = make([]float32, len(t.bound.Values)), make([]float32, len(t.bound.Values))
	t.runs = trainedRuns(a.Tensors, opt.LRRatio)
	steps := t.countSteps()
	warmup := opt.Warmup
	if warmup == 0 {
		warmup = int(math.Ceil(opt.WarmupRatio * float64(steps)))
	}
	if t.schedule, err = newSchedule(opt.Schedule, opt.LR, warmup, steps); err != nil {
		return nil, err
	}
	t.bound.Stepped(0, steps)
	return t, nil
}

// checkWritable checks before a long run that its result can be written.
func checkWritable(path string) error {
	if path == "" {
		return nil
	}
	f, err := atomicfile.Create(path)
	if err == nil {
		f.Abort()
	}
	return err
}

// countSteps is the number of optimizer steps of the whole run.
func (t *trainer) countSteps() int {
	if t.opt.Epochs == 0 {
		return t.opt.Steps
	}
	steps := 0
	for epoch := range t.opt.Epochs {
		steps += ceilDiv(len(t.epochBatches(epoch)), t.opt.Accumulate)
		if t.opt.Steps > 0 && steps >= t.opt.Steps {
			return t.opt.Steps
		}
	}
	return steps
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// epochBatches lists the examples of each batch of an epoch.
func (t *trainer) epochBatches(epoch int) [][]int {
	return t.opt.batches(t.train, epoch)
}

// batches lists the examples of each batch of an epoch over a set.
func (opt *Options) batches(train *attach.Data, epoch int) [][]int {
	order := train.Order(epoch, opt.Seed)
	if opt.NoPacking {
		return train.Pack(order, 0)
	}
	return train.Pack(order, opt.BatchTokens)
}

// packedTokens is the most tokens that go through the model at once, of several examples.
func (opt *Options) packedTokens() int {
	if opt.NoPacking {
		return 0
	}
	return opt.MicroBatch
}

// packing names how batches are made.
func (opt *Options) packing() string {
	if opt.NoPacking {
		return "none"
	}
	return "best fit"
}

// run does all steps that are left.
func (t *trainer) run(ctx context.Context) error {
	var baseFiles []peft.FileLoss
	if t.eval != nil && t.state.BaseLoss == nil {
		r, err := evaluate.SharedLoss(ctx, t.opt.comm, t.base, nil, t.eval, t.opt.BatchTokens, t.tape)
		if err != nil {
			return t.failed(err)
		}
		t.mu.Lock()
		t.state.BaseLoss = &r.Loss
		t.mu.Unlock()
		baseFiles = filesOf(r)
	}
	if err := t.settle(ctx); err != nil {
		return t.failed(err)
	}
	t.batches = t.epochBatches(t.state.Epoch)
	if bytes := layerCacheBytes(t.base, t.adapter, t.train, &t.opt); bytes > 0 {
		t.gradients.cache = newLayerCache(t.base, t.train, t.opt.Out)
	}
	defer t.gradients.close()
	t.opt.Observer.Begin(Start{
		Step: t.state.Step, Steps: t.schedule.steps, LR: t.opt.LR, Parameters: t.adapter.Parameters(), Memory: *t.plan,
		BaseLoss: t.state.BaseLoss, Chosen: t.chosen, Evaluated: t.state.Evaluated, Sampled: t.state.Sampled - 1,
	})
	if t.state.Step == 0 && t.state.BaseLoss != nil {
		t.opt.Observer.Evaluated(Evaluation{Loss: *t.state.BaseLoss, Base: true, Files: baseFiles})
	}
	t.clock.start()
	for {
		if err := t.between(ctx); err != nil {
			return err
		}
		if t.over() {
			return nil
		}
		if err := t.next(ctx); err != nil {
			return err
		}
	}
}

// next does one step.
func (t *trainer) next(ctx context.Context) error {
	next := t.state
	if err := t.fill(ctx, &next); err != nil {
		return t.failed(err)
	}
	lr := t.schedule.at(t.state.Step)
	t.tape.Measure(&t.times)
	loss, norm, err := t.gradient(ctx, t.stepBatches(), lr)
	if err != nil {
		return t.failed(err)
	}
	t.tape.Measure(nil)
	tokens := next.Tokens - t.state.Tokens
	next.Step++
	next.Loss = loss
	if err := t.advance(next, lr); err != nil {
		return err
	}
	t.clock.stepped(tokens)
	t.opt.Observer.Step(t.progress(int(tokens), loss, norm, lr))
	return nil
}

// fill makes the batches of the next step, in parts, and moves the state over them. The last step of an epoch may have
// fewer.
func (t *trainer) fill(ctx context.Context, s *trainState) error {
	if s.Batch == len(t.batches) {
		s.Epoch, s.Batch = s.Epoch+1, 0
		t.batches = t.epochBatches(s.Epoch)
	}
	n := min(t.opt.Accumulate, len(t.batches)-s.Batch)
	t.examples = t.examples[:0]
	for _, examples := range t.batches[s.Batch : s.Batch+n] {
		t.examples = t.opt.split(t.examples, t.train, examples)
	}
	s.Batch += n
	for len(t.packed) < len(t.examples) {
		t.packed = append(t.packed, &batch.Batch{})
	}
	t.group, t.counts = t.group[:0], t.counts[:0]
	for i := range t.examples {
		b, counts, err := t.fillOne(i)
		if err != nil {
			return err
		}
		t.group, t.counts = append(t.group, b), append(t.counts, counts)
	}
	if err := t.countBatches(ctx); err != nil {
		return err
	}
	s.Tokens += sumCounts(t.counts).tokens
	if t.gradients.retained != nil {
		return t.gradients.retained.fill(&t.opt, t.bound, s)
	}
	return nil
}

// fillOne makes batch number i of the step, if it is this rank's.
func (t *trainer) fillOne(i int) (*batch.Batch, batchCounts, error) {
	if !t.mine(i) {
		return nil, batchCounts{}, nil
	}
	b := t.packed[i]
	b.Reset()
	if err := t.train.Batch(b, t.examples[i]); err != nil {
		return nil, batchCounts{}, err
	}
	tokens := b.Tokens()
	t.keepPlain(i, b)
	t.bound.Expand(b)
	return b, batchCounts{int64(tokens), int64(b.TargetCount()), int64(b.Sequences())}, nil
}

// stepBatches are those of the step that was filled.
func (t *trainer) stepBatches() stepBatches {
	return stepBatches{t.state.Step, t.group, t.examples, t.counts, true, t.plain}
}

// keepPlain keeps a copy of a batch without virtual tokens, where a teacher needs one.
func (t *trainer) keepPlain(i int, b *batch.Batch) {
	if t.gradients.teacher == nil {
		return
	}
	for len(t.copies) <= i {
		t.copies = append(t.copies, &batch.Batch{})
	}
	t.copies[i].Copy(b)
	t.plain = t.copies[:i+1]
}

// split appends the parts of a batch that go through the model one after the other.
func (opt *Options) split(parts [][]int, train *attach.Data, examples []int) [][]int {
	if opt.MicroBatch >= opt.BatchTokens {
		return append(parts, examples)
	}
	from, tokens := 0, 0
	for i, example := range examples {
		n := train.Size(example)
		if i > from && tokens+n > opt.MicroBatch {
			parts = append(parts, examples[from:i])
			from, tokens = i, 0
		}
		tokens += n
	}
	return append(parts, examples[from:])
}

// step is one optimizer step, without what keeps count of steps.
func (t *trainer) step(ctx context.Context, s stepBatches, lr float64) (loss, norm float64, err error) {
	if loss, norm, err = t.gradient(ctx, s, lr); err == nil {
		t.update(lr)
	}
	return loss, norm, err
}

// gradient is the mean loss over all targets of the group and its gradient, clipped.
func (t *trainer) gradient(ctx context.Context, s stepBatches, lr float64) (loss, norm float64, err error) {
	if loss, err = t.compute(ctx, s); err != nil {
		return 0, 0, err
	}
	norm = math.Sqrt(kernels.SumSquares(t.bound.Grads))
	if !floats.Finite(loss) || !floats.Finite(norm) {
		return 0, 0, t.diagnose(loss, norm, lr)
	}
	if limit := t.opt.clip(); limit > 0 && norm > 0 {
		if factor := limit / (norm + 1e-6); factor < 1 {
			kernels.Scale(float32(factor), t.bound.Grads)
		}
	}
	return loss, norm, nil
}

// advance moves the parameters along the gradient and the run to its next state. A run that is stopped stays as it was
// saved.
func (t *trainer) advance(next trainState, lr float64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.interrupted == nil {
		t.update(lr)
		t.state = next
	}
	return t.interrupted
}

// update moves the parameters along the gradient.
func (t *trainer) update(lr float64) {
	o := kernels.AdamW{
		Beta1: float32(t.opt.Beta1), Beta2: float32(t.opt.Beta2), Eps: float32(t.opt.Eps),
		WeightDecay: float32(t.opt.decay()), Step: t.state.Step + 1,
	}
	for _, r := range t.runs {
		o.LR = float32(lr * r.rate)
		o.Update(t.bound.Values[r.from:r.to], t.bound.Grads[r.from:r.to], t.m[r.from:r.to], t.v[r.from:r.to])
	}
	t.bound.Stepped(t.state.Step+1, t.schedule.steps)
}

// stretch is a piece of an adapter's values that are trained at one rate.
type stretch struct {
	from, to int
	rate     float64 // multiplies the learning rate
}

// trainedRuns are the stretches of values that are not frozen. ratio is Options.LRRatio.
func trainedRuns(params []attach.Param, ratio float64) []stretch {
	var runs []stretch
	at := 0
	for i := range params {
		p := &params[i]
		from, rate := at, p.Rate
		at += len(p.Data)
		if rate == 0 {
			rate = 1
		}
		if ratio > 0 && (len(p.Shape) == 1 || strings.HasSuffix(p.Name, "_B.weight")) {
			rate *= ratio
		}
		switch last := len(runs) - 1; {
		case p.Frozen:
		case last >= 0 && runs[last].to == from && runs[last].rate == rate:
			runs[last].to = at
		default:
			runs = append(runs, stretch{from, at, rate})
		}
	}
	return runs
}

// finish evaluates the trained parameters, stores them and writes the adapter.
func (t *trainer) finish(ctx context.Context) (*Result, error) {
	s, o := &t.state, &t.opt
	r := &Result{
		Steps: s.Step, Tokens: s.Tokens, Loss: s.Loss, BaseLoss: s.BaseLoss, TokensPerSecond: t.clock.rate(), Adapter: o.Out,
		Precision: t.chosen.Precision,
	}
	if t.eval != nil {
		if err := t.evaluateEnd(ctx); err != nil {
			return nil, t.failed(err)
		}
		r.EvalLoss, r.Accuracy = &t.last.Loss, t.last.Accuracy
	}
	if err := t.writeOnce(r); err != nil {
		return nil, err
	}
	if o.Samples != nil {
		if err := t.sampleAll(ctx); err != nil && ctx.Err() == nil {
			return nil, err
		} // the adapter is written: an interruption loses nothing but samples
	}
	r.PeakRSS, r.Parts = PeakRSS(), secondsOf(&t.times, t.clock.spent)
	o.Observer.End(r)
	return r, nil
}

// evaluateEnd measures the adapter of the last step.
func (t *trainer) evaluateEnd(ctx context.Context) error {
	if t.last != nil && t.last.Step == t.state.Step {
		return nil
	}
	e, err := t.measure(ctx)
	if err != nil {
		return err
	}
	counted := t.state.Evaluated == t.state.Step // before the run was resumed
	if counted {
		t.last = &e
		return nil
	}
	if err := t.count(&e); err != nil {
		return err
	}
	t.opt.Observer.Evaluated(e)
	return nil
}

// writeOnce writes the result of a run that is not stopped. After that there is nothing to stop.
func (t *trainer) writeOnce(r *Result) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.interrupted != nil {
		return t.interrupted
	}
	s := &t.state
	r.StoppedEarly = s.StoppedEarly
	if t.opt.KeepBest {
		if s.BestStep != s.Step {
			t.restoreBest()
		}
		r.EvalLoss, r.Accuracy, r.BestStep = s.Best, s.BestAccuracy, s.BestStep
	}
	if err := t.write(r); err != nil {
		return err
	}
	t.ended = true
	return nil
}

// write stores the result in the adapter and in its file.
func (t *trainer) write(r *Result) error {
	s, o := &t.state, &t.opt
	t.bound.Store()
	if finish := t.bound.Effect.Finish; finish != nil {
		if err := finish(t.adapter); err != nil {
			return err
		}
	}
	if err := t.adapter.Collapse(t.base); err != nil {
		return err
	}
	sum, err := t.base.SHA256()
	if err != nil {
		return err
	}
	objective, err := t.objective()
	if err != nil {
		return err
	}
	if o.Out != "" {
		r.BaseSHA256 = sum
		if r.DataSHA256, err = t.dataHash(); err != nil {
			return err
		}
	}
	t.adapter.Origin = attach.Origin{
		Base: attach.Absolute(t.base.Path), BaseSHA256: sum, Architecture: t.base.Architecture(), Version: attach.Version,
		Master: t.adapter.Origin.Master,
		Training: &attach.Training{
			Steps: s.Step, Tokens: s.Tokens, LearningRate: o.LR, Schedule: o.Schedule, Warmup: t.schedule.warmup,
			WeightDecay: o.decay(), Clip: o.clip(), BatchTokens: o.BatchTokens, Accumulate: o.Accumulate,
			Seed:      o.Seed,
			Precision: t.gradients.precision.String(), Objective: objective,
			Loss: s.Loss, BestStep: r.BestStep, BaseLoss: r.BaseLoss, EvalLoss: r.EvalLoss, BlockHashes: t.bound.BlockHashes(),
		},
	}
	if o.Out != "" {
		if err := t.writeFile(r); err != nil {
			return err
		}
		os.Remove(CheckpointPath(o.Out)) // not needed any more; there may be none
	}
	return nil
}
