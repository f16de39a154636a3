package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/healing"
	"github.com/peftconv/peftconv/internal/cli/input"
	"github.com/peftconv/peftconv/internal/cli/methods"
	"github.com/peftconv/peftconv/internal/cli/watching"
	"github.com/peftconv/peftconv/internal/dist"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/heal"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/peft/train"
)

func init() { register(&trainVerb) }

var trainVerb = cli.Verb{
	Place: 20,
	Name:  "train",
	Short: "train an adapter over a frozen model",
	Long: `Trains an adapter over a frozen model and writes it to --out. The model's file is only read: its quantized blocks are
dequantized piece by piece during the computation, so memory stays near the file's size.

Data is a text (.txt), cut into pieces of --seq-len tokens, or records (.jsonl, .json, .csv, .tsv, .parquet) with "text",
with "prompt" and "completion", or with "question" and "answer"; of the last two only the completion and the answer
carry loss. Conversations ("messages", ShareGPT, Alpaca) are rendered with the chat template of the base, and the turns
of the assistant carry loss; peftconv data shows them. Files may be compressed (.gz, .zst), a directory may hold train,
valid and test files, - is standard input, and several --data may have weights (a.jsonl:0.7). Data may be larger than
memory: token ids are then kept in a file beside --out until the end.

At the end it prints the loss on held-out data (--eval-data, --eval-split, or the valid files of a directory) without
and with the adapter. Without such data both are measured on a sample of the training data, where they are too low.
Ctrl-C saves a checkpoint and prints the command that resumes from it. The same seed gives the same bytes, whatever the
number of threads, and of processes: a build with MPI shares a run between machines (mpirun, srun; docs/cluster.md).

With --teacher the adapter learns the probabilities of another model with the same vocabulary, over all of the
vocabulary, beside the tokens of the data. With --retain it keeps those that the base has on another text, so that what
the base knew is not forgotten.

--method discrete-prompt trains no weights: it searches words for the [slot]s of --template and writes the prompt to
--out, a .json file that eval and generate take as --prompt-template.

Most methods fit every model; train says before it starts where one does not. prefix-tuning and p-tuning-v2 put keys and
values before those of every layer: not over recurrent layers, convolutions, latent attention, or layers that read the
keys of another. ia3 needs maps that make keys and values, ln-tuning norms with weights, bitfit biases. An adapter on
experts trains those that tokens of the data visit.`,
	Examples: []string{
		"peftconv train --base model.gguf --data notes.txt --out out.safetensors",
		"peftconv train --base model.gguf --data train.jsonl --eval-data valid.jsonl --rank 16 --out out.safetensors",
		"peftconv train --base model.gguf --data notes.txt --targets " +
			"attention --layers last:8 --steps 200 --out out.safetensors",
		"peftconv train --base model-q4_k_m.gguf --teacher model-f16.gguf+tuned.safetensors --data notes.txt " +
			"--out out.safetensors",
		"peftconv train --base model.gguf --data notes.txt --retain wiki.txt --out out.safetensors",
	},
	Topics: methods.Topics(),
	Config: true,
	Shared: true,
	New:    func() cli.Command { return new(trainOptions) },
}

type trainOptions struct {
	cli.Output
	modelFlags
	input.Data
	trainingFlags
	method       methods.Flags
	watch        watching.Flags
	teaching     teachingFlags
	then         healing.Then
	json, dryRun bool
	profile      string // file
	start        string // adapter
	adapterFlags []string
	flagSet      *pflag.FlagSet
	explained    sync.Once
	ranks        dist.World
}

func (o *trainOptions) Flags(fs *pflag.FlagSet) {
	o.flagSet = fs
	o.method.Classes = o.Classes
	cli.Group(fs, "Input and output", func() {
		o.addBase(fs, baseHelp)
		o.AddTraining(fs)
		fs.StringVarP(&o.train.Out, "out", "o", "", "the adapter's `FILE`, .safetensors")
		fs.StringVar(&o.train.Resume, "resume", "",
			"resume from the checkpoint `FILE` of an interrupted run with the same flags")
		fs.StringVar(&o.start, "resume-from", "",
			"train an adapter further in a new run: a `FILE` or directory as --lora takes, whose method, ranks and modules stay")
		methods.AddStore(fs, &o.train.Store)
		o.AddCache(fs)
		o.AddForce(fs)
		fs.BoolVar(&o.dryRun, "dry-run", false,
			"do one step, say what the run would take in memory and time, and write nothing")
		fs.BoolVar(&o.json, "json", false, "print the results as one JSON document")
	})
	cli.Group(fs, "Data", func() { o.Data.Add(fs); o.AddPromptTemplate(fs) })
	before := map[string]bool{}
	fs.VisitAll(func(f *pflag.Flag) { before[f.Name] = true })
	cli.Group(fs, "Adapter", func() { o.method.Add(fs) })
	fs.VisitAll(func(f *pflag.Flag) {
		if !before[f.Name] {
			o.adapterFlags = append(o.adapterFlags, f.Name)
		}
	})
	cli.Group(fs, "Training", func() { o.addTraining(fs) })
	cli.Group(fs, "While it runs", func() { o.addWatching(fs) })
	cli.Detail(fs, "resume-from")
	cli.Require(fs, "base", "data")
	cli.RequireUnless(fs, "dry-run", "out")
}

func (o *trainOptions) addTraining(fs *pflag.FlagSet) {
	o.addCommon(fs)
	o.teaching.add(fs)
	o.then.Add(fs)
	t := &o.train
	fs.Float64Var(&t.LR, "lr", 0, "learning `RATE` at its highest; 0 chooses by the model's width")
	fs.Float64Var(&t.LRRatio, "lr-ratio", 0,
		"give the matrices B of a LoRA `RATIO` times the learning rate (LoRA+); 0 is the same rate")
	fs.Float64Var(&t.RouterAuxLoss, "router-aux-loss", 0,
		"add the load-balance loss of a mixture of experts' routers, times `C` (transformers: router_aux_loss_coef)")
	fs.StringVar(&t.Optimizer, "optimizer", train.OptimizerAdamW, "`OPTIMIZER`: adamw")
	fs.StringVar(&o.profile, "profile", "", "write a CPU profile to a `FILE`, for \"go tool pprof\"")
	o.addThreads(fs)
	cli.Detail(fs, "lr-ratio", "router-aux-loss", "optimizer", "profile")
}

func (o *trainOptions) Validate(args []string) error {
	t := &o.train
	switch {
	case len(args) > 0:
		return cli.NoArgs(args)
	case !(t.LR >= 0) || !cli.IsFinite(t.LR):
		return fmt.Errorf("--lr: %v, expected more than 0, or 0 to have it chosen", t.LR)
	case !(t.LRRatio >= 0) || !cli.IsFinite(t.LRRatio):
		return fmt.Errorf("--lr-ratio: %v, expected 0 or more", t.LRRatio)
	case !(t.RouterAuxLoss >= 0) || !cli.IsFinite(t.RouterAuxLoss):
		return fmt.Errorf("--router-aux-loss: %v, expected 0 or more", t.RouterAuxLoss)
	case t.Optimizer != train.OptimizerAdamW:
		return fmt.Errorf("--optimizer: %q is not known, expected adamw", t.Optimizer)
	}
	taught := func() error { return o.teaching.check(o.flagSet) }
	then := func() error { return o.then.Check(o.flagSet, o.train.Out) }
	form := func() error { return o.method.CheckStore(&o.train.Store, o.start != "") }
	for _, check := range []func() error{o.checkStart, o.checkCommon, taught, then, o.method.Validate, form, o.checkCounts,
		o.Data.Check, o.modelFlags.check, o.watch.Check} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// checkStart refuses flags of a new adapter beside one that is trained further.
func (o *trainOptions) checkStart() error {
	for _, name := range o.adapterFlags {
		if o.start != "" && o.flagSet.Changed(name) {
			return fmt.Errorf("--%s: is of a new adapter and cannot be combined with --resume-from", name)
		}
	}
	return nil
}

// adapter is a new one, or the one that is trained further.
func (o *trainOptions) adapter(base *peft.Base) (*peft.Adapter, error) {
	if o.start != "" {
		return peft.Continue(o.start, base)
	}
	o.method.Seed = o.train.Seed
	return o.method.Adapter(base)
}

func (o *trainOptions) checkCounts() error {
	t := &o.train
	for _, c := range []struct {
		flag       string
		value, min int
	}{
		{"epochs", t.Epochs, 0}, {"steps", t.Steps, 0}, {"save-every", t.SaveEvery, 0}, {"eval-every", t.EvalEvery, 0},
		{"keep", t.Keep, 0}, {"early-stop", t.EarlyStop, 0},
	} {
		if c.value < c.min {
			return fmt.Errorf("--%s: %d, expected %d or more", c.flag, c.value, c.min)
		}
	}
	switch {
	case t.EvalEvery > 0 && !o.Holds():
		return errors.New("--eval-every: needs --eval-data or --eval-split")
	case t.EarlyStop > 0 && t.EvalEvery == 0:
		return errors.New("--early-stop: counts evaluations, and needs --eval-every")
	case t.KeepBest && t.EvalEvery == 0:
		return errors.New("--keep-best: chooses among evaluations, and needs --eval-every")
	case t.Keep > 0 && t.SaveEvery == 0:
		return errors.New("--keep: is of the checkpoints of --save-every, which is missing")
	}
	return nil
}

// checkFiles checks the output before hours of work.
func (o *trainOptions) checkFiles() error {
	if filepath.Ext(o.train.Out) != ".safetensors" {
		return cli.Usagef("--out: %s, expected a name that ends in .safetensors", o.train.Out)
	}
	inputs := append(o.Paths(), o.base, o.train.Resume, o.start, o.method.QAT.Latent)
	inputs = append(append(inputs, o.teaching.inputs()...), o.watch.Inputs()...)
	if o.profile != "" {
		if err := o.CheckOutput("--profile", o.profile, append(inputs, o.train.Out)...); err != nil {
			return err
		}
	}
	if err := o.CheckOutput("--out", o.train.Out, inputs...); err != nil {
		return err
	}
	if err := o.checkCheckpoints(); err != nil {
		return err
	}
	if err := o.watch.CheckFiles(&o.Output, o.train.Out, o.train.Resume != "", inputs...); err != nil {
		return err
	}
	if err := o.checkReport(inputs...); err != nil {
		return err
	}
	if err := o.then.CheckFiles(&o.Output, inputs...); err != nil {
		return err
	}
	return cli.CheckConfig(o.flagSet, o.train.Out, o.Force)
}

func (o *trainOptions) Run(ctx context.Context, s cli.Streams) error {
	o.ranks = dist.Now()
	first := o.ranks.Rank() == 0
	switch search := o.method.Chosen().Search; {
	case search != nil && o.ranks.Size() > 1:
		return cli.Usagef("--method: a prompt is searched by one process, not by %d", o.ranks.Size())
	case search != nil:
		return discreteSearch{search}.run(ctx, s, o)
	case o.dryRun && !first:
		return nil
	}
	if !o.dryRun && first {
		if err := o.checkFiles(); err != nil {
			return err
		}
	}
	opened, err := o.open(s.Err)
	if err != nil {
		return err
	}
	defer opened.Close()
	base := opened.base
	if err := o.then.CheckBase(base); err != nil {
		return err
	}
	adapter, err := o.adapter(base)
	if err != nil {
		return err
	}
	o.In, o.Err, o.Stop = s.In, s.Err, ctx.Err
	beside := o.train.Out
	if !first {
		beside = "" // the file is on another machine, or another rank's
	}
	set, evalSet, err := o.LoadTraining(base, beside, adapter)
	if err != nil {
		return err
	}
	defer set.Close()
	defer evalSet.Close()
	if o.train.LR == 0 {
		o.train.LR = adapter.SuggestLR(base)
	}
	opt := o.options()
	o.announce(s, base, adapter, set, evalSet)
	closed, err := o.teaching.open(o, s.Err, base, adapter, &opt)
	if err != nil {
		return err
	}
	defer closed()
	if d := opt.DecayOf(adapter); d > 0 {
		fmt.Fprintf(s.Err, "decay    %.4g towards the base (--weight-decay)\n", d)
	}
	if plan, err := train.PlanMemory(base, adapter, set, opt); err == nil {
		watching.Idle(s.Err, plan, o.train.Accumulate)
		fmt.Fprintf(s.Err, "memory   %s\n", watching.MemoryText(plan))
		if plan.TeacherTop > 0 {
			fmt.Fprintf(s.Err, "teacher  its %s of each position are kept: %s\n",
				cli.Plural(opt.Teacher.Top, "likeliest token"), cli.BytesText(plan.TeacherTop))
		}
		more := watching.MoreMemory(plan, func(change func(*train.Options)) (*train.Memory, error) {
			changed := opt
			change(&changed)
			return train.PlanMemory(base, adapter, set, changed)
		})
		if more != "" {
			fmt.Fprintf(s.Err, "note: %s\n", more)
		}
	}
	if o.dryRun {
		trial, err := train.Try(ctx, base, adapter, set, opt)
		switch {
		case err != nil:
			return watching.ShortOfMemory(err, base, adapter, set, opt)
		case o.json:
			return cli.PrintJSON(s.Out, trial)
		}
		cli.PrintTrial(s.Out, trial)
		return nil
	}
	if !first {
		_, err := train.Run(ctx, base, adapter, set, evalSet, opt)
		return err
	}
	if opt.Beside, err = o.beside(s); err != nil {
		return err
	}
	result, err := o.runTraining(ctx, s, base, adapter, set, evalSet, opt)
	if err != nil {
		return o.explain(watching.ShortOfMemory(err, base, adapter, set, opt), s)
	}
	unreported := o.writeReport(ctx, base)
	var retain *peft.Data
	if opt.Retain != nil {
		retain = opt.Retain.Data
	}
	stages, err := o.then.Run(ctx, s, base, adapter, set, evalSet, retain, opt)
	if err != nil {
		return err
	}
	if o.json {
		return errors.Join(cli.PrintJSON(s.Out, struct {
			*train.Result
			Then []heal.Losses `json:"then,omitempty"`
		}{result, stages}), unreported)
	}
	o.report(s, adapter, set, result)
	return errors.Join(o.then.Print(s.Out, stages), unreported)
}

func (o *trainOptions) announce(s cli.Streams, base *peft.Base, a *peft.Adapter, set, evalSet *peft.Data) {
	fmt.Fprintf(s.Err, "base     %s: %s, %s of width %d, %s\n", base.Path(), base.Architecture(),
		cli.Plural(base.Layers(), "layer"),
		base.Width(), cli.BytesText(cli.PathSize(base.Path())))
	if o.ranks.Size() > 1 {
		fmt.Fprintf(s.Err, "ranks    %s, %s each\n", cli.RanksText(o.ranks), cli.Plural(kernels.Threads(), "thread"))
	}
	fmt.Fprintf(s.Err, "adapter  %s, %s\n", a.Describe(), cli.Plural(a.Parameters(), "parameter"))
	fmt.Fprintf(s.Err, "training at a learning rate of %.4g (%s), %s a batch, seed %d\n", o.train.LR, o.train.Schedule,
		cli.Plural(o.train.BatchTokens, "token"), o.train.Seed)
	fmt.Fprintf(s.Err, "data     %s, %s", cli.Plural(set.Len(), "example"), cli.Plural(set.Tokens(), "token"))
	if o.Holds() {
		fmt.Fprintf(s.Err, "; evaluation %s, %s", cli.Plural(evalSet.Len(), "example"),
			cli.Plural(evalSet.Tokens(), "token"))
	}
	fmt.Fprintln(s.Err)
	for _, note := range slices.Concat(set.Notes(), evalSet.Notes()) {
		fmt.Fprintf(s.Err, "note: %s\n", cli.Line(note))
	}
	if kept := set.CacheFile(); kept != "" {
		fmt.Fprintf(s.Err, "note: the token ids are in %s, for runs over the same data with --keep-cache\n", kept)
	}
	if o.train.Resume == "" && !o.dryRun {
		fmt.Fprintf(s.Err, "measuring the base on %s first\n", cli.Plural(evalSet.Tokens(), "token"))
	}
}

// options are those of the library.
func (o *trainOptions) options() train.Options {
	opt := o.common()
	opt.SeqLen = o.SeqLen
	if opt.Epochs == 0 && opt.Steps == 0 {
		opt.Epochs = 1
	}
	return opt
}

// runTraining trains behind a progress display.
func (o *trainOptions) runTraining(ctx context.Context, s cli.Streams, base *peft.Base, a *peft.Adapter, set,
	evalSet *peft.Data,
	opt train.Options) (_ *train.Result, err error) {
	watch, err := o.watched(s, base, a, set, evalSet, &opt)
	if err != nil {
		return nil, err
	}
	var result *train.Result
	defer func() { watch.Stop(err) }()
	defer context.AfterFunc(ctx, func() {
		watch.Say("interrupted: the step in work is given up")
	})()
	opt.BeforeEnd = func(saved func() error) func() {
		return s.BeforeEnd(func() {
			stop := saved()
			watch.StopDisplay(stop)
			if err := o.explain(stop, s); err != nil && !errors.Is(err, context.Canceled) {
				fmt.Fprintf(s.Err, "warning: %s\n", cli.ErrorText(err))
			}
		})
	}
	err = cli.Profiled(o.profile, func() (err error) {
		result, err = train.Run(ctx, base, a, set, evalSet, opt)
		return err
	})
	return result, err
}

// beside is the configuration file that repeats the run, which is written with its result.
func (o *trainOptions) beside(s cli.Streams) (map[string][]byte, error) {
	path, text, err := cli.RunConfig(o.flagSet, o.train.Out, version(), map[string]string{
		"lr": fmt.Sprint(o.train.LR), "seq-len": fmt.Sprint(o.SeqLen),
	}, s.Err)
	if err != nil || path == "" {
		return nil, err
	}
	return map[string][]byte{path: text}, nil
}

// explain adds the command that resumes a run to the error of its interruption, once.
func (o *trainOptions) explain(err error, s cli.Streams) error {
	var stop *train.Interrupted
	if !errors.As(err, &stop) {
		return err
	}
	o.explained.Do(func() { o.sayHowToResume(stop, s) })
	return context.Canceled
}

func (o *trainOptions) sayHowToResume(stop *train.Interrupted, s cli.Streams) {
	w := s.Err
	if s.Always != nil {
		w = s.Always
	}
	if stop.Checkpoint == "" {
		fmt.Fprintf(w, "\nNothing saved: no step was done.\n\n")
		return
	}
	fmt.Fprintf(w, "\nSaved after step %d of %d. To resume:\n\n  %s\n\n", stop.Step, stop.Steps,
		cli.ResumeCommand(program(), "train", o.flagSet, stop.Checkpoint))
}

// program is the name that this program was called by.
func program() string {
	if name := filepath.Base(os.Args[0]); name == "peftconv" || name == "peftconv.exe" {
		return os.Args[0]
	}
	return "peftconv"
}

// report prints the results and what can be done with them.
func (o *trainOptions) report(s cli.Streams, a *peft.Adapter, set *peft.Data, r *train.Result) {
	cli.RememberBase(a.Origin().BaseSHA256, o.base)
	where := "evaluation data"
	if !o.Holds() {
		where = "a sample of the training data"
	}
	fmt.Fprintf(s.Out, "%s written: %s, %s\n", r.Adapter, cli.Plural(r.Steps, "step"), cli.Plural(int(r.Tokens), "token"))
	if r.StoppedEarly {
		fmt.Fprintf(s.Out, "stopped early: the evaluation loss fell no more in %s\n",
			cli.Plural(o.train.EarlyStop, "evaluation"))
	}
	if r.BestStep > 0 && r.BestStep < r.Steps {
		fmt.Fprintf(s.Out, "the adapter is that of step %d, the best on the evaluation data\n", r.BestStep)
	}
	cli.PrintStored(s.Out, r.Stored)
	if r.BaseLoss != nil && r.EvalLoss != nil {
		fmt.Fprintf(s.Out, "loss on %s: base %.4f, adapter %.4f (perplexity %.3f, %.3f)\n", where, *r.BaseLoss, *r.EvalLoss,
			math.Exp(*r.BaseLoss), math.Exp(*r.EvalLoss))
	}
	if r.Accuracy != nil {
		fmt.Fprintf(s.Out, "accuracy %.2f %%\n", 100**r.Accuracy)
	}
	fmt.Fprintf(s.Out, "%s tokens/s, peak memory %s\n", cli.CountText(int64(r.TokensPerSecond)), cli.BytesText(r.PeakRSS))
	fmt.Fprint(s.Out, "\nNext:\n")
	for _, words := range o.nextSteps(a, r.Adapter, set) {
		fmt.Fprintf(s.Out, "  %s\n", cli.CommandLine(append([]string{program(), words[0], "--base", o.base, "--lora",
			r.Adapter}, words[1:]...)...))
	}
}

// nextSteps are what can be done with an adapter: verbs and flags.
func (o *trainOptions) nextSteps(a *peft.Adapter, file string, set *peft.Data) [][]string {
	stem := strings.TrimSuffix(file, ".safetensors")
	merged := stem + "-merged"
	if info, err := os.Stat(o.base); err == nil && !info.IsDir() {
		merged += ".gguf"
	}
	chat := o.TemplateWords()
	generate, eval := []string{"generate", "--prompt", "…"}, append([]string{"eval", "--data", o.EvalPath()}, chat...)
	if set.Conversations() > 0 {
		generate = append([]string{"generate", "--chat"}, chat...)
	}
	switch {
	case a.Classifies():
		return [][]string{eval, {"export", "--to", "peft", "--out", stem + "-peft"}}
	case a.Method() == method.BitFit{}.Method() || a.Method() == method.LNTuning{}.Method():
		return [][]string{generate, eval, {"merge", "--out", merged}}
	case a.Method() == method.Bottleneck{}.Method() && strings.Contains(a.Describe(), method.SerialHoulsby):
		return [][]string{generate, eval, {"export", "--to", "adapterhub", "--out", stem + "-adapterhub"}}
	case a.Method() == method.Bottleneck{}.Method():
		return [][]string{generate, eval, {"export", "--to", "model", "--out", stem + "-model.gguf"}}
	case a.VirtualTokens() > 0 && a.Method() == method.PrefixTuning{}.Method():
		return [][]string{generate, eval, {"export", "--to", "state", "--out", stem + ".session"}}
	case a.VirtualTokens() > 0:
		return [][]string{generate, eval, {"export", "--to", "model", "--out", stem + "-model.gguf"}}
	}
	return [][]string{
		generate, eval, {"merge", "--out", merged}, {"export", "--to", "gguf", "--out", stem + "-lora.gguf"},
	}
}
