package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/export"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/peft/train"
)

// Options configures the demonstration; the zero value is the default.
type Options struct {
	Dir      string         // where its files are put and stay; "": a temporary directory that is removed
	Steps    int            // training steps; 0: 160, which takes about a minute on two cores
	Threads  int            // 0: as many as there are processors
	Seed     uint64         // of the adapter and of the order of the data
	Observer train.Observer // of the training; may be nil

	quick bool // a tenth of the held-out data, for tests
}

// What the demonstration trains with, and prints as flags.
const (
	defaultSteps = 160
	rank         = 8
	learningRate = 2e-3
	warmup       = 10
	batchTokens  = 1024
	clip         = 1.0
)

// The files that the demonstration makes in its directory, beside Files.
const (
	AdapterFile = "owl.safetensors"
	MergedFile  = "merged.gguf"
	LoRAFile    = "owl.lora.gguf"
	PEFTDir     = "owl.peft"
)

// Result is the result of the demonstration.
type Result struct {
	Dir      string // where the files are; "" when they have been removed
	Before   Score  // of the base
	After    Score  // of base and adapter
	Merged   Score  // of the merged file
	Training *train.Result
	Merge    *merge.Report
	Samples  []Sample
	Elapsed  time.Duration
}

// Run runs all main features of peftconv on the built-in model and data, and reports on out.
func Run(ctx context.Context, opt Options, out io.Writer) (*Result, error) {
	if opt.Steps == 0 {
		opt.Steps = defaultSteps
	}
	kernels.SetThreads(opt.Threads)
	d := &demonstration{ctx: ctx, opt: opt, out: out, dir: opt.Dir, result: &Result{Dir: opt.Dir}}
	if opt.Dir == "" {
		dir, remove, err := atomicfile.ScratchDir("", "demo")
		if err != nil {
			return nil, fmt.Errorf("demo: %w", err)
		}
		defer remove()
		d.dir = dir
	}
	start := time.Now()
	err := d.run()
	d.result.Elapsed = time.Since(start)
	if err != nil {
		return nil, fmt.Errorf("demo: %w", err)
	}
	d.closing()
	return d.result, nil
}

// demonstration is one run.
type demonstration struct {
	ctx    context.Context
	opt    Options
	out    io.Writer
	dir    string
	base   *peft.Base
	exam   *exam
	train  *peft.Data
	eval   *peft.Data
	result *Result
}

func (d *demonstration) path(name string) string { return filepath.Join(d.dir, name) }

func (d *demonstration) run() (err error) {
	if err := WriteFiles(d.dir); err != nil {
		return err
	}
	if d.base, err = peft.OpenBase(d.path("base.gguf")); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.base.Close()) }()
	if err := d.load(); err != nil {
		return err
	}
	d.opening()
	if d.result.Before, err = d.examine("Before", d.base, nil); err != nil {
		return err
	}
	adapter, err := d.fineTune()
	if err != nil {
		return err
	}
	trained := []peft.Scaled{{Adapter: adapter, Scale: 1}}
	if d.result.After, err = d.examine("After", d.base, trained); err != nil {
		return err
	}
	if err := d.merge(trained); err != nil {
		return err
	}
	if err := d.export(adapter); err != nil {
		return err
	}
	return d.samples(trained)
}

func (d *demonstration) load() (err error) {
	opt := peft.DataOptions{SeqLen: d.base.ContextLength()}
	if d.train, err = peft.LoadData(d.path("train.jsonl"), d.base, opt); err != nil {
		return err
	}
	if d.eval, err = peft.LoadData(d.path("eval.jsonl"), d.base, opt); err != nil {
		return err
	}
	d.exam = newExam(d.eval)
	if d.opt.quick {
		d.exam.shorten()
	}
	return nil
}

func (d *demonstration) fineTune() (*peft.Adapter, error) {
	adapter, err := peft.New(d.base, method.LoRA{Rank: rank, Seed: d.opt.Seed})
	if err != nil {
		return nil, err
	}
	d.result.Training, err = train.Run(d.ctx, d.base, adapter, d.train, nil, train.Options{
		Steps: d.opt.Steps, BatchTokens: batchTokens, LR: learningRate, Schedule: train.ScheduleCosine, Warmup: warmup,
		Clip: clip, Precision: train.PrecisionF32, Seed: d.opt.Seed, Out: d.path(AdapterFile), Observer: d.opt.Observer,
	})
	return adapter, err
}

// merge writes the merged model and examines it.
func (d *demonstration) merge(trained []peft.Scaled) (err error) {
	if d.result.Merge, err = merge.Run(d.ctx, d.base, trained, d.path(MergedFile), merge.Options{}); err != nil {
		return err
	}
	merged, err := peft.OpenBase(d.path(MergedFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, merged.Close()) }()
	d.result.Merged, err = d.examine("Merged", merged, nil)
	return err
}

// examine scores a model and tells the score.
func (d *demonstration) examine(who string, b *peft.Base, adapters []peft.Scaled) (Score, error) {
	s, err := d.exam.score(d.ctx, b, adapters)
	if err == nil {
		d.tell(who, s)
	}
	return s, err
}

func (d *demonstration) export(adapter *peft.Adapter) error {
	if err := export.GGUF(adapter, d.base, d.path(LoRAFile)); err != nil {
		return err
	}
	return adapter.SaveDir(d.path(PEFTDir))
}
