// Package healing is the verb heal.
package healing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/input"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/heal"
	"github.com/peftconv/peftconv/peft/train"
)

// Verb is heal.
var Verb = cli.Verb{
	Place: 115,
	Name:  "heal",
	Short: "give a quantized model back what quantizing has lost",
	Long: `Writes the GGUF model --base with blocks that make it nearer to --teacher, the model that it was quantized from: the
same types, the same size, no new task. The output runs wherever the base runs.

First the layers go one by one. The codes, scales and zero points of each matrix are searched for the least error of its
products with the inputs that it gets in the quantized model, while it reads --tokens of the text. Then, with --steps,
the whole model is trained end to end on the teacher's probabilities, and the result is merged bit for bit. Where the
divergence is larger after that, the model of the layers is kept.

After each stage the divergence from the teacher is measured, as peftconv eval --kl-base does, on text that is not used
otherwise: --eval-data, or a part of --data that is held back. Without --data a text that comes with the program is
used: tales, and this program's documentation. Text of the kind that the model will see is better.

An interrupted run keeps what is done beside --out; --resume goes on from it.`,
	Examples: []string{
		"peftconv heal --base model-Q2_K.gguf --teacher model-f16.gguf --data text.txt --out healed-Q2_K.gguf",
		"peftconv heal --base model-IQ3_XXS.gguf --teacher model-directory --data text.txt --steps 200",
	},
	New: func() cli.Command { return new(options) },
}

type options struct {
	cli.Output
	input.Data
	base, teacher, out string
	opt                heal.Options
	training           heal.Training
	ctx                input.Window
	threads            int
	json               bool
}

func (o *options) Flags(fs *pflag.FlagSet) {
	fs.StringVarP(&o.base, "base", "b", "", "the quantized model, a GGUF `FILE`")
	fs.StringVar(&o.teacher, "teacher", "",
		"the `MODEL` that it was quantized from, in floats or finer blocks: a GGUF file or a Hugging Face directory")
	cli.Models(fs, "base", "teacher")
	fs.StringVarP(&o.out, "out", "o", "", "the healed model's `FILE` (default: the base's name with -healed)")
	fs.IntVar(&o.opt.Tokens, "tokens", heal.DefaultTokens, "`TOKENS` of the text that each layer sees")
	fs.IntVar(&o.training.Options.Steps, "steps", 0, "`N` steps of training end to end after the layers; 0 is none")
	fs.IntVar(&o.training.Rank, "rank", 16, "`RANK` of the adapter that is trained")
	fs.Float64Var(&o.training.Options.LR, "lr", 0,
		"learning `RATE` of the training, at its highest; 0 is a fifth of what train would take")
	fs.IntVar(&o.training.Options.BatchTokens, "batch-tokens", 2048, "the most `TOKENS` of a step")
	fs.StringVar(&o.training.Options.Precision, "precision", train.PrecisionAuto,
		"`PRECISION` of the training: auto, f32, bf16 or int8")
	fs.Uint64Var(&o.training.Options.Seed, "seed", 1, "`SEED` of the training")
	o.ctx.Add(fs, "`TOKENS` of each window that is measured")
	fs.BoolVar(&o.opt.Resume, "resume", false, "go on from what an interrupted run has left beside --out")
	fs.IntVarP(&o.threads, "threads", "t", 0,
		"`N` threads to compute with; 0 is one for each processor; the results are the same for any N")
	o.AddForce(fs)
	fs.BoolVar(&o.json, "json", false, "print the result as one JSON document")
	o.Data.Add(fs)
	o.AddTraining(fs)
	cli.Require(fs, "base", "teacher")
	cli.Detail(fs, "rank", "lr", "batch-tokens", "precision", "seed", "ctx", "tokens")
}

func (o *options) Validate(args []string) error {
	t := &o.training
	switch {
	case len(args) > 0:
		return cli.NoArgs(args)
	case o.opt.Tokens < 64:
		return fmt.Errorf("--tokens: %d, expected 64 or more", o.opt.Tokens)
	case t.Options.Steps < 0:
		return fmt.Errorf("--steps: %d, expected 0 or more", t.Options.Steps)
	case t.Rank < 1:
		return fmt.Errorf("--rank: %d, expected 1 or more", t.Rank)
	case !(t.Options.LR >= 0) || !cli.IsFinite(t.Options.LR):
		return fmt.Errorf("--lr: %v, expected 0 or more", t.Options.LR)
	case t.Options.BatchTokens < 2:
		return fmt.Errorf("--batch-tokens: %d, expected 2 or more", t.Options.BatchTokens)
	case o.ctx.Tokens < 4:
		return fmt.Errorf("--ctx: %d, expected 4 tokens or more", o.ctx.Tokens)
	case o.threads < 0 || o.threads > 1024:
		return fmt.Errorf("--threads: %d, expected 0 to 1024", o.threads)
	}
	if _, err := train.ParsePrecision(t.Options.Precision); err != nil {
		return fmt.Errorf("--precision: %w", err)
	}
	if o.out == "" {
		o.out = strings.TrimSuffix(o.base, ".gguf") + "-healed.gguf"
	}
	return o.Data.Check()
}

func (o *options) Run(ctx context.Context, s cli.Streams) error {
	kernels.SetThreads(o.threads)
	o.In, o.Err, o.Stop = s.In, s.Err, ctx.Err
	if err := o.CheckOutput("--out", o.out, append(o.Paths(), o.base, o.teacher)...); err != nil {
		return err
	}
	base, err := peft.OpenBase(o.base)
	if err != nil {
		return err
	}
	defer base.Close()
	teacher, err := peft.OpenBase(o.teacher)
	if err != nil {
		return fmt.Errorf("--teacher: %w", err)
	}
	defer teacher.Close()
	o.opt.Ctx = o.ctx.Of(base)
	data, err := o.text(base)
	if err != nil {
		return err
	}
	if o.training.Options.Steps > 0 {
		o.training.Options.Schedule = train.ScheduleCosine
		o.training.Options.WarmupRatio = 0.05
		o.opt.Training = &o.training
	}
	stop := o.watch(s.Err)
	over := waitedFor(s)
	r, err := heal.Run(ctx, base, teacher, data, o.out, o.opt)
	over()
	stop()
	if err != nil {
		return explain(err, s)
	}
	if o.json {
		return cli.PrintJSON(s.Out, struct {
			Output string `json:"output"`
			*heal.Result
			Seconds float64 `json:"seconds"`
		}{o.out, r, r.Took.Seconds()})
	}
	return o.print(s.Out, r)
}

// waitedFor has an interruption wait until what is done is saved, which over says.
func waitedFor(s cli.Streams) (over func()) {
	ended := make(chan struct{})
	done := s.BeforeEnd(func() { <-ended })
	return func() {
		close(ended)
		done()
	}
}

// explain says what an interrupted run has saved.
func explain(err error, s cli.Streams) error {
	var stopped *heal.Interrupted
	if !errors.As(err, &stopped) {
		return err
	}
	w := s.Err
	if s.Always != nil {
		w = s.Always
	}
	if stopped.Path == "" {
		fmt.Fprintf(w, "\nNothing saved: no layer was done.\n\n")
	} else {
		fmt.Fprintf(w, "\nSaved after layer %d of %d in %s. To go on, give the same command with --resume.\n\n", stopped.Done,
			stopped.Layers, stopped.Path)
	}
	return context.Canceled
}

// print prints what has become of the model.
func (o *options) print(w io.Writer, r *heal.Result) error {
	fmt.Fprintf(w, "written to %s in %s: %s, errors of products on average %.0f %% of those before\n", o.out,
		r.Took.Round(time.Second), cli.Plural(r.Matrices, "tensor"), 100*r.Error)
	if len(r.Stages) == 0 {
		return nil
	}
	fmt.Fprintf(w, "%-10s %22s %10s %12s\n", "after", "KL divergence", "same top", "perplexity")
	for _, stage := range r.Stages {
		f := stage.Figures
		fmt.Fprintf(w, "%-10s %12.6f ± %.6f %8.2f %% %12.4f\n", stage.Name, f.Divergence.Value, f.Divergence.Error,
			100*f.SameTop.Value, f.Perplexity.Value)
	}
	fmt.Fprintf(w, "of the teacher %41.4f\n", r.Stages[0].Figures.BasePerplexity.Value)
	if o.training.Options.Steps > 0 && r.Kept == heal.StageLayers {
		fmt.Fprintln(w, "training made it no better, so the model of the layers is kept: try a lower --lr, or more --steps")
	}
	return nil
}

// heldTokens is about how many tokens are held back to be measured.
const heldTokens = 16384

// text is the calibration text, as much of it as is read, without what is held back to be measured.
func (o *options) text(base *peft.Base) (_ *peft.Data, err error) {
	all, eval, err := o.load(base)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, all.Close()) }()
	needed := max(o.opt.Tokens, o.training.Options.Steps*o.training.Options.BatchTokens)
	if eval == nil {
		needed += heldTokens
	}
	some, err := sampled(all, needed)
	if err != nil {
		return nil, err
	}
	each := len(some) + 1 // none
	if eval == nil {
		tokens := 0
		for _, e := range some {
			tokens += len(e.IDs)
		}
		each = max(2, tokens/heldTokens)
	} else if o.opt.Held, err = o.held(base, eval); err != nil {
		return nil, err
	}
	var rest []peft.Example
	for i, e := range some {
		if i%each == each-1 {
			o.opt.Held = append(o.opt.Held, e.IDs...)
		} else {
			rest = append(rest, e)
		}
	}
	if len(rest) == 0 {
		return nil, fmt.Errorf("the text has %s, too little to hold some back: give more, or --eval-data",
			cli.Plural(all.Tokens(), "token"))
	}
	if len(o.opt.Held) < o.opt.Ctx {
		return nil, fmt.Errorf("%s to measure, less than one window of %d (--ctx): give more text, or --eval-data",
			cli.Plural(len(o.opt.Held), "token"), o.opt.Ctx)
	}
	return peft.NewData(rest), nil
}

// load reads --data and --eval-data, or the text that comes with the program.
func (o *options) load(base *peft.Base) (all, eval *peft.Data, err error) {
	if o.HasData() {
		if all, eval, err = o.LoadTraining(base, o.out); err != nil || o.Holds() {
			return all, eval, err
		}
		return all, nil, eval.Close() // a sample of what is read
	}
	ids, err := base.Tokenize(ownText())
	if err != nil {
		return nil, nil, err
	}
	var examples []peft.Example
	for piece := range slices.Chunk(ids, o.opt.Ctx) {
		if len(piece) > 1 {
			examples = append(examples, peft.Example{IDs: piece})
		}
	}
	if o.EvalData != "" {
		if eval, err = o.Load(o.EvalData, input.EvalSplits(), base); err != nil {
			return nil, nil, err
		}
	}
	return peft.NewData(examples), eval, nil
}

// held is the tokens to measure on: of a text those that peftconv eval measures on, otherwise those of all examples.
func (o *options) held(base *peft.Base, eval *peft.Data) (ids []int32, err error) {
	defer func() { err = errors.Join(err, eval.Close()) }()
	if o.EvalData != "" {
		if text, err := o.IsText(o.EvalData, input.EvalSplits()...); err != nil || text {
			if err != nil {
				return nil, err
			}
			return base.TokenizeData(o.EvalData, o.Options(o.EvalData, input.EvalSplits()...))
		}
	}
	return tokensOf(eval, math.MaxInt)
}

// tokensOf is the tokens of the first examples that together have as many, or of all.
func tokensOf(set *peft.Data, tokens int) (ids []int32, err error) {
	for i := 0; i < set.Len() && len(ids) < tokens; i++ {
		e, err := set.At(i)
		if err != nil {
			return nil, err
		}
		ids = append(ids, e.IDs...)
	}
	return ids, nil
}

// watch shows how far the run has come.
func (o *options) watch(w io.Writer) (stop func()) {
	p := &progress{w: w}
	o.opt.Progress = p.tensor
	o.opt.Measured = func(stage heal.Stage) {
		p.stop()
		fmt.Fprintf(w, "%s: KL divergence %.6f, perplexity %.4f\n", stage.Name, stage.Figures.Divergence.Value,
			stage.Figures.Perplexity.Value)
	}
	o.training.Options.Observer = train.OnStep(p.step)
	return p.stop
}

// progress shows how far healing has come.
type progress struct {
	w io.Writer
	m *cli.Meter
}

func (p *progress) stop() {
	p.m.Stop()
	p.m = nil
}

func (p *progress) tensor(t heal.Progress) {
	if p.m == nil {
		fmt.Fprintf(p.w, "%s in %s, about %s\n", cli.Plural(t.Matrices, "tensor"), cli.Plural(t.Layers, "layer"),
			t.Left.Round(time.Second))
		p.m = cli.NewMeter(p.w, "tensor")
	}
	p.m.Foresee(t.Left)
	p.m.Update(int64(t.Done), int64(t.Matrices),
		fmt.Sprintf("error %.0f %% in %s", 100*t.After/max(t.Before, 1e-30), t.Tensor))
	if t.Done == t.Matrices {
		p.stop()
	}
}

func (p *progress) step(t train.Progress) {
	if p.m == nil {
		p.m = cli.NewMeter(p.w, "step")
	}
	p.m.Update(int64(t.Step), int64(t.Steps), fmt.Sprintf("divergence %.5f", t.Loss))
}
