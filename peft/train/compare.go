package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"time"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/evaluate"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/safetensors"
)

// Entry is one of the adapters that Compare trains.
type Entry struct {
	Name    string
	Adapter *peft.Adapter // untrained; Compare leaves the result in it
	Train   *peft.Data    // as the adapter wants it: in its template, with its classes
	Eval    *peft.Data
	LR      float64 // 0: Adapter.SuggestLR
	LRRatio float64 // see Options.LRRatio
}

// heldEntry is what an Entry holds.
type heldEntry struct {
	Name        string
	Adapter     *attach.Adapter
	Train, Eval *attach.Data
	LR, LRRatio float64
}

// CompareOptions is what all adapters of a comparison share.
type CompareOptions struct {
	// Train is the budget and everything else of the training. Of its fields LR, LRRatio, Out, Resume, EvalEvery,
	// Observer and what else happens between steps are not read.
	Train  Options
	Tokens int64 // > 0: train on this many tokens of data, in place of Train's steps and epochs
	Points int   // evaluations of each adapter, at equal intervals; 0: 10

	Started  func(i int, lr float64)    // before the training of entry i; may be nil
	Progress func(i int, p Progress)    // after each of its steps; may be nil
	Finished func(i int, c *Comparison) // after it, with what is finished, of which it is the last; may be nil
	Failed   func(i int, failure error) // in place of Finished; may be nil
}

// Comparison is what Compare found.
type Comparison struct {
	Base        string     `json:"base"`
	BatchTokens int        `json:"batch_tokens"`
	Accumulate  int        `json:"accumulate"`
	Schedule    string     `json:"schedule"`
	Seed        uint64     `json:"seed"`
	Methods     []Compared `json:"methods"` // those that were trained to the end, in the order of the entries
}

// Compared is one adapter of a comparison.
type Compared struct {
	Name            string   `json:"name"`
	Adapter         string   `json:"adapter"`    // Adapter.Describe, before the training
	Parameters      int      `json:"parameters"` // that were trained
	Bytes           int64    `json:"bytes"`      // of the adapter's file
	LR              float64  `json:"learning_rate"`
	Precision       string   `json:"precision"`
	Steps           int      `json:"steps"`
	Tokens          int64    `json:"tokens"`    // of data; virtual tokens do not count
	BaseLoss        float64  `json:"base_loss"` // on the evaluation data, of the base alone
	EvalLoss        float64  `json:"eval_loss"` // after the training
	BaseAccuracy    *float64 `json:"base_accuracy,omitempty"`
	Accuracy        *float64 `json:"accuracy,omitempty"` // of classified data
	Seconds         float64  `json:"seconds"`            // of the steps and the evaluations
	TokensPerSecond float64  `json:"tokens_per_second"`  // of the steps
	// while it was trained, without the values of the other adapters
	PeakRSS    int64        `json:"peak_rss_bytes"`
	TrainCurve []CurvePoint `json:"train_curve"` // means of neighbouring steps, at most curvePoints
	EvalCurve  []CurvePoint `json:"eval_curve"`
}

// CurvePoint is a loss at a step.
type CurvePoint struct {
	Step int     `json:"step"`
	Loss float64 `json:"loss"`
}

// curvePoints is the most points of a TrainCurve.
const curvePoints = 200

// Compare trains adapters one after the other over the same base with the same budget. All are checked before the first
// is trained. One whose training fails is left out of the result, and the others go on; the error names those that
// failed. When ctx is cancelled, what was finished is returned with the error.
func Compare(ctx context.Context, b *peft.Base, entries []Entry, opt CompareOptions) (_ *Comparison, err error) {
	defer mapped.Guard(&err)()
	held := make([]heldEntry, len(entries))
	for i, e := range entries {
		held[i] = heldEntry{e.Name, handle.Adapter(e.Adapter), handle.Data(e.Train), handle.Data(e.Eval), e.LR,
			e.LRRatio}
	}
	return compare(ctx, handle.Base(b), held, opt)
}

// compare is Compare on what the arguments hold.
func compare(ctx context.Context, b *attach.Base, entries []heldEntry, opt CompareOptions) (*Comparison, error) {
	c := &comparison{base: b, entries: entries, opt: opt, before: map[*attach.Data]*evaluate.Result{}}
	if c.opt.Points == 0 {
		c.opt.Points = 10
	}
	if len(entries) == 0 {
		return nil, errors.New("compare: there is nothing to compare")
	}
	for i := range entries {
		if entries[i].Eval == nil {
			return nil, fmt.Errorf("compare: %s: there is no evaluation data", entries[i].Name)
		}
		if _, err := c.trainer(i); err != nil {
			return nil, fmt.Errorf("compare: %s: %w", entries[i].Name, err)
		}
	}
	t := &opt.Train
	t.defaults(b, entries[0].Adapter)
	result := &Comparison{Base: b.Path, BatchTokens: t.BatchTokens, Accumulate: t.Accumulate, Schedule: t.Schedule,
		Seed: t.Seed}
	var failures []error
	for i := range entries {
		r, err := c.train(ctx, i)
		switch {
		case ctx.Err() != nil:
			return result, fmt.Errorf("compare: %s: %w", entries[i].Name, errors.Join(err, ctx.Err()))
		case err != nil:
			failures = append(failures, fmt.Errorf("compare: %s: %w", entries[i].Name, err))
			if opt.Failed != nil {
				opt.Failed(i, err)
			}
			continue
		}
		result.Methods = append(result.Methods, *r)
		if opt.Finished != nil {
			finished := *result
			finished.Methods = slices.Clone(result.Methods)
			opt.Finished(i, &finished)
		}
	}
	return result, errors.Join(failures...)
}

// comparison is a run of Compare.
type comparison struct {
	base    *attach.Base
	entries []heldEntry
	opt     CompareOptions
	before  map[*attach.Data]*evaluate.Result // of the base
}

// trainer is the training of an entry, checked and ready to begin.
func (c *comparison) trainer(i int) (*trainer, error) {
	e, opt := &c.entries[i], c.opt.Train
	opt.LR, opt.LRRatio = e.LR, e.LRRatio
	opt.Out, opt.Resume, opt.SaveEvery, opt.EvalEvery, opt.Observer = "", "", 0, 0, nil
	opt.Keep, opt.EarlyStop, opt.KeepBest, opt.Samples, opt.Control = 0, 0, false, nil, nil
	if c.opt.Tokens > 0 {
		opt.defaults(c.base, e.Adapter)
		opt.Epochs, opt.Steps = 0, stepsOf(e.Train, &opt, c.opt.Tokens)
	}
	return newTrainer(c.base, e.Adapter, e.Train, e.Eval, opt)
}

// stepsOf is the number of steps that train on the given number of tokens.
func stepsOf(train *attach.Data, opt *Options, tokens int64) (steps int) {
	if train.Tokens() == 0 {
		return 0
	}
	for epoch := 0; tokens > 0; epoch++ {
		batches := opt.batches(train, epoch)
		for len(batches) > 0 && tokens > 0 {
			n := min(opt.Accumulate, len(batches))
			for _, examples := range batches[:n] {
				for _, example := range examples {
					tokens -= int64(train.Size(example))
				}
			}
			batches = batches[n:]
			steps++
		}
	}
	return steps
}

// train trains and evaluates an entry.
func (c *comparison) train(ctx context.Context, i int) (*Compared, error) {
	e := &c.entries[i]
	debug.FreeOSMemory() // of the entry before
	ResetPeakRSS()
	before, err := c.evalBase(ctx, e.Eval)
	if err != nil {
		return nil, err
	}
	t, err := c.trainer(i)
	if err != nil {
		return nil, err
	}
	r := &Compared{
		Name: e.Name, Adapter: e.Adapter.Describe(), Parameters: e.Adapter.Parameters(), LR: t.opt.LR,
		BaseLoss: before.Loss, BaseAccuracy: before.Accuracy,
	}
	if c.opt.Started != nil {
		c.opt.Started(i, t.opt.LR)
	}
	t.state.BaseLoss = &before.Loss
	t.opt.EvalEvery = max(1, ceilDiv(t.schedule.steps, c.opt.Points))
	group := ceilDiv(t.schedule.steps, curvePoints)
	t.opt.Observer = Observers{&curves{r: r, group: group}, OnStep(func(p Progress) {
		if c.opt.Progress != nil {
			c.opt.Progress(i, p)
		}
	})}
	start := time.Now()
	if err := t.run(ctx); err != nil {
		return nil, err
	}
	result, err := t.finish(ctx)
	if err != nil {
		return nil, err
	}
	r.Seconds = time.Since(start).Seconds()
	r.finish(result)
	r.PeakRSS = max(0, r.PeakRSS-c.otherValues(i))
	inFile, _, err := methods.InForm(e.Adapter, t.bound, StoreSmallest)
	if err != nil {
		return nil, err
	}
	r.Bytes, err = fileSize(inFile)
	return r, err
}

// evalBase measures the base on evaluation data, once.
func (c *comparison) evalBase(ctx context.Context, set *attach.Data) (*evaluate.Result, error) {
	if r := c.before[set]; r != nil {
		return r, nil
	}
	batchTokens := c.opt.Train.BatchTokens
	if batchTokens == 0 {
		batchTokens = evaluate.Tokens
	}
	r, err := evaluate.LossOf(ctx, c.base, nil, set, batchTokens, autograd.NewTape())
	if err == nil {
		c.before[set] = r
	}
	return r, err
}

// otherValues is the bytes of the values of all entries but one.
func (c *comparison) otherValues(i int) (bytes int64) {
	for j := range c.entries {
		if j != i {
			bytes += 4 * int64(len(c.entries[j].Adapter.Flat))
		}
	}
	return bytes
}

// curves is an Observer that draws the curves of a training.
type curves struct {
	Ignore
	r     *Compared
	group int // how many steps make up a point of the training curve
}

// Step puts a step onto the training curve.
func (c *curves) Step(p Progress) {
	r, at := c.r, (p.Step-1)%c.group // steps of the point before this one
	if at == 0 {
		r.TrainCurve = append(r.TrainCurve, CurvePoint{})
	}
	point := &r.TrainCurve[len(r.TrainCurve)-1]
	point.Step = p.Step
	point.Loss += (p.Loss - point.Loss) / float64(at+1)
}

// Evaluated puts a measurement onto the evaluation curve.
func (c *curves) Evaluated(e Evaluation) {
	if !e.Base {
		c.r.EvalCurve = append(c.r.EvalCurve, CurvePoint{e.Step, e.Loss})
	}
}

// finish takes over the results of the training.
func (r *Compared) finish(t *Result) {
	r.Precision = t.Precision
	r.Steps, r.Tokens, r.EvalLoss, r.Accuracy = t.Steps, t.Tokens, *t.EvalLoss, t.Accuracy
	r.TokensPerSecond, r.PeakRSS = t.TokensPerSecond, t.PeakRSS
}

// fileSize is the size of the file that Save writes.
func fileSize(a *attach.Adapter) (int64, error) {
	meta, err := a.Metadata()
	if err != nil {
		return 0, err
	}
	var w countingWriter
	err = safetensors.Write(&w, meta, append(attach.Items(a.Tensors, ""), a.BlockItems()...))
	return int64(w), err
}

// countingWriter counts what is written to it.
type countingWriter int64

var _ io.Writer = (*countingWriter)(nil)

func (w *countingWriter) Write(p []byte) (int, error) {
	*w += countingWriter(len(p))
	return len(p), nil
}
