package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/bench"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/reporting"
	"github.com/peftconv/peftconv/internal/dist"
	"github.com/peftconv/peftconv/internal/report"
	"github.com/peftconv/peftconv/peft/generate"
	"github.com/peftconv/peftconv/peft/train"
)

func init() { register(&benchVerb) }

var benchVerb = cli.Verb{
	Place: 190,
	Name:  "bench",
	Short: "measure this machine: its peak, products of quantized matrices, training steps",
	Long: `Measures the peak rates of the processor (multiply-adds in float32, bfloat16 and 8-bit integers, reading of memory), and
the share of the peak that products with quantized matrices and whole training steps reach. Training steps are those of
a LoRA on every linear map, over one sequence, on models of the named shapes with random weights in memory, or on
--model. Operations are counted as two for each multiply-add of the frozen matrices (forward, and gradients of their
inputs), the LoRA and the attention. What the backward pass computes again is not counted.

With --attention the attention of one layer is measured instead, as a share of the peak of what its operands are rounded
to, and the rate at which its inputs and results would be read and written, as a share of the memory's.

With --decode generating is measured instead, without an adapter and with a LoRA in turn: tokens a second, and the
rate at which weights, keys and values are read as a share of the memory's.

With --merge merging is measured instead: such a LoRA, of random values, into a file of the model, with opening and
hashing the base. Files of twice the model's size are in the directory for temporary files meanwhile.

With --scaling the ranks that mpirun or another launcher has started share training steps, of --parts sequences for each
rank. It shows what of a step is computing, waiting for other ranks, and moving gradients, and what a step would take on
more machines, with one such rank each, over networks of 1 and 10 Gbit/s. One process alone gives the predictions.

Nothing else should run at the same time. Without flags it takes less than a minute and measures the shape 110m.`,
	Examples: []string{
		"peftconv bench",
		"peftconv bench --shape tinyllama-1.1b --type q4_k --precision bf16",
		"peftconv bench --model model.gguf --tokens 1024 --rank 8 --no-gemm",
		"peftconv bench --decode --model model.gguf",
		"peftconv bench --merge --shape tinyllama-1.1b --type q4_k",
		"mpirun -n 2 peftconv bench --scaling --shape tinyllama-1.1b --type q4_k",
		"peftconv bench --report bench.html",
		"peftconv bench --json > bench.json",
	},
	Shared: true,
	New:    func() cli.Command { return new(benchOptions) },
}

type benchOptions struct {
	cli.Output
	report    string // file
	options   bench.Options
	precision []string
	threads   int
	json      bool
	profile   string // file
}

func (o *benchOptions) Flags(fs *pflag.FlagSet) {
	b := &o.options
	fs.StringSliceVar(&b.Shapes, "shape", nil,
		"`SHAPES` of models to train, separated by commas: "+strings.Join(bench.Shapes(), ", ")+"; none is 110m")
	fs.StringSliceVar(&b.Types, "type", nil,
		"`TYPES` of the random weights, separated by commas: q4_k, q8_0, …; none is a choice of common ones")
	fs.StringVarP(&b.Model, "model", "b", "", "measure a model instead of a shape: "+cli.ModelNames)
	cli.Models(fs, "model")
	fs.StringSliceVar(&o.precision, "precision", nil,
		"`PRECISIONS` of the products with frozen weights, separated by commas: f32, bf16, int8 or auto; "+
			"none is all that the processor has instructions for")
	fs.IntVar(&b.Tokens, "tokens", 512, "`N` tokens in the sequence of a training step, and rows of a product")
	fs.IntVarP(&b.Rank, "rank", "r", 16, "`RANK` of the LoRA")
	fs.IntVarP(&b.Steps, "steps", "n", 0, "measure `N` training steps, or tokens; 0 is some seconds, at least 2")
	fs.StringVar(&b.Recompute, "recompute", train.RecomputeAuto,
		"compute activations again in the backward pass: `WHEN` is always, never or auto")
	fs.BoolVar(&b.Attention, "attention", false,
		"measure the attention of one layer of each shape, forward and backward, and nothing else")
	fs.BoolVar(&b.Decode, "decode", false,
		"measure generating token by token, with the activations that generate has, and nothing else")
	fs.IntVar(&b.Context, "context", 0, "`N` tokens before those that --decode measures; 0 is 32")
	fs.StringVar(&b.Cache, "kv", generate.CacheF32, "`TYPE` in which --decode keeps keys and values: f32, f16 or q8_0")
	fs.BoolVar(&b.NoGemm, "no-gemm", false, "leave the products out")
	fs.BoolVar(&b.NoTrain, "no-train", false, "leave the training steps out")
	fs.BoolVar(&b.Merge, "merge", false,
		"measure merging the LoRA into a file of the model, and nothing else")
	fs.BoolVar(&b.Scaling, "scaling", false, "measure training steps that several ranks share, and nothing else")
	fs.IntVar(&b.Parts, "parts", 4, "`N` sequences of a shared step for each rank")
	fs.IntVarP(&o.threads, "threads", "t", 0, "`N` threads to compute with; 0 is one for each processor")
	fs.StringVar(&o.profile, "profile", "", "write a CPU profile to a `FILE`, for \"go tool pprof\"")
	fs.StringVar(&o.report, "report", "", "write a page of the results, an HTML `FILE`")
	o.AddForce(fs)
	fs.BoolVar(&o.json, "json", false, "print everything as one JSON document")
}

func (o *benchOptions) Validate(args []string) error {
	b := &o.options
	for _, name := range b.Shapes {
		if !slices.Contains(bench.Shapes(), strings.ToLower(name)) {
			return fmt.Errorf("--shape: %q is not known, expected one of %s", name, strings.Join(bench.Shapes(), ", "))
		}
	}
	for _, name := range b.Types {
		if _, err := bench.ParseType(name); err != nil {
			return fmt.Errorf("--type: %w", err)
		}
	}
	switch {
	case b.Attention && b.Model != "":
		return fmt.Errorf("--attention and --model: expected one of them; attention is measured by --shape")
	case b.Model != "" && len(b.Shapes) > 0:
		return fmt.Errorf("--model and --shape: expected one of them")
	case b.Model != "" && len(b.Types) > 0 && b.NoGemm:
		return fmt.Errorf("--type: the model's weights have types of their own")
	case b.Parts < 1:
		return fmt.Errorf("--parts: %d, expected 1 or more", b.Parts)
	case dist.Now().Size() > 1 && !b.Scaling:
		return fmt.Errorf("%d processes were started: only --scaling is measured by several", dist.Now().Size())
	case b.Tokens < 2:
		return fmt.Errorf("--tokens: %d, expected 2 or more", b.Tokens)
	case b.Context < 0:
		return fmt.Errorf("--context: %d, expected 0 or more", b.Context)
	case !slices.Contains([]string{generate.CacheF32, generate.CacheF16, generate.CacheQ8_0}, b.Cache):
		return fmt.Errorf("--kv: %q is not known, expected f32, f16 or q8_0", b.Cache)
	case b.Rank < 1:
		return fmt.Errorf("--rank: %d, expected 1 or more", b.Rank)
	case b.Steps < 0:
		return fmt.Errorf("--steps: %d, expected 0 or more", b.Steps)
	case !slices.Contains([]string{train.RecomputeAuto, train.RecomputeAlways, train.RecomputeNever}, b.Recompute):
		return fmt.Errorf("--recompute: %q is not known, expected auto, always or never", b.Recompute)
	}
	if err := o.parsePrecisions(); err != nil {
		return err
	}
	if err := cli.UseThreads(o.threads); err != nil {
		return err
	}
	return cli.NoArgs(args)
}

func (o *benchOptions) parsePrecisions() error {
	o.options.Precisions = nil
	for _, name := range o.precision {
		p, err := train.ParsePrecision(name)
		if err != nil {
			return fmt.Errorf("--precision: %w", err)
		}
		if name == train.PrecisionAuto {
			p = train.AutoPrecision()
		}
		o.options.Precisions = append(o.options.Precisions, p)
	}
	return nil
}

func (o *benchOptions) Run(ctx context.Context, s cli.Streams) error {
	if o.report != "" && dist.Now().Rank() == 0 {
		if err := o.CheckOutput("--report", o.report, o.options.Model); err != nil {
			return err
		}
	}
	if !o.json {
		o.options.Progress = func(doing string) { fmt.Fprintf(s.Err, "measuring %s\n", doing) }
	}
	var r *bench.Report
	err := cli.Profiled(o.profile, func() (err error) {
		r, err = bench.Run(ctx, o.options)
		return err
	})
	if err != nil {
		return err
	}
	if dist.Now().Rank() > 0 {
		return nil
	}
	if o.report != "" {
		if err := reporting.Write(o.report, report.BenchPage(r)); err != nil {
			return err
		}
	}
	if o.json {
		return cli.PrintJSON(s.Out, r)
	}
	report.PrintBench(s.Out, r)
	return nil
}
