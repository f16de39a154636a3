package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/quantize"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/quantizing"
	"github.com/peftconv/peftconv/kernels"
)

func init() { register(&quantizeVerb) }

var quantizeVerb = cli.Verb{
	Place:  110,
	Name:   "quantize",
	Args:   "IN OUT [TYPE]",
	Models: 1,
	Lean:   true,
	Short:  "write a GGUF model in smaller types",
	Long: `Writes the GGUF model IN with its matrices in other types. The file that comes out is, byte for byte, the one that
llama.cpp's llama-quantize makes of the same model: metadata, order of tensors, choice of types, and every block.

TYPE is one type for most tensors, with rules that give more bits to the more important ones:
  ` + strings.Join(cli.Wrap(strings.Join(quantize.FileTypes(), " "), cli.HelpWidth-2), "\n  ") + `
Norms, biases and other small tensors keep their type. Where the rows of a tensor are not a whole number of blocks, a
type with shorter blocks or F16 is used instead.

With an importance matrix (--imatrix), which peftconv imatrix and llama-imatrix measure, errors are weighted by their
effect on the model's outputs. Types below 3 bits are refused without one.

Instead of TYPE, --target-size or --target-bpw limits the size of the model. Then each matrix gets a type of its own:
the quantization error of some of its rows is measured in each type, and the types are chosen so that the model fits the
target and the weighted sum of the errors is smallest.

IN holds F32, F16 or BF16 weights. It may be one of several files that hold a model together; OUT is a single file then,
unless --keep-split says otherwise. Memory stays small whatever the size of the model.`,
	Examples: []string{
		"peftconv quantize model-f16.gguf model-q4.gguf Q4_K_M",
		"peftconv quantize model-f16.gguf model-iq2.gguf IQ2_M --imatrix imatrix.gguf",
		"peftconv quantize model-f16.gguf model.gguf Q5_K_M --tensor-type attn_v=Q8_0 --tensor-type 'blk\\.[0-3]\\.ffn=Q6_K'",
		"peftconv quantize model-f16.gguf Q3_K_L --dry-run",
		"peftconv quantize model-f16.gguf model-6g.gguf --target-size 6GB --imatrix imatrix.gguf",
	},
	New: func() cli.Command { return new(quantizeOptions) },
}

type quantizeOptions struct {
	cli.Output
	in, out, fileType string
	quantizing.Types
	targetSize cli.SizeFlag
	budget     quantize.Budget
	dryRun     bool
	threads    int
	json       bool
}

func (o *quantizeOptions) Flags(fs *pflag.FlagSet) {
	o.Add(fs, func() {
		fs.BoolVar(&o.Options.AllowRequantize, "allow-requantize", false,
			"requantize weights that are quantized already, which loses more than starting from the original")
	})
	fs.Var(&o.targetSize, "target-size",
		"choose the types so that the file has at most `BYTES`: 700M, 4.5G (thousands), 4GiB")
	fs.Float64Var(&o.budget.Bits, "target-bpw", 0,
		"choose the types so that a weight takes at most `N` bits on average; 0 is no target")
	fs.BoolVar(&o.Options.KeepSplit, "keep-split", false,
		"of a model in several files make as many, named OUT-00001-of-0000N.gguf")
	fs.BoolVar(&o.dryRun, "dry-run", false,
		"write nothing: list the tensors with their types and sizes; OUT can be left out")
	fs.IntVarP(&o.threads, "threads", "t", 0,
		"`N` threads to compute with; 0 is one for each processor; the results are the same for any N")
	o.AddForce(fs)
	fs.BoolVar(&o.json, "json", false, "print the result as one JSON document")
}

func (o *quantizeOptions) Validate(args []string) error {
	if err := o.positional(args); err != nil {
		return err
	}
	if o.threads < 0 || o.threads > 1024 {
		return fmt.Errorf("--threads: %d, expected 0 to 1024", o.threads)
	}
	if o.fileType != "" {
		var err error
		if o.Options.Type, err = quantize.ParseFileType(o.fileType); err != nil {
			return err
		}
	}
	return o.Parse()
}

// positional takes the arguments: TYPE is there unless there is a target, OUT unless this is a dry run.
func (o *quantizeOptions) positional(args []string) error {
	if err := o.parseTarget(); err != nil {
		return err
	}
	names, to := []string{"IN", "OUT", "TYPE"}, []*string{&o.in, &o.out, &o.fileType}
	if o.targeted() {
		names, to = names[:2], to[:2]
	}
	if o.dryRun && len(args) == len(to)-1 {
		names, to = slices.Delete(names, 1, 2), slices.Delete(to, 1, 2)
	}
	if len(args) != len(to) {
		return fmt.Errorf("expected %s, found %s", strings.Join(names, " and "), cli.Plural(len(args), "argument"))
	}
	for i, arg := range args {
		*to[i] = arg
	}
	return nil
}

func (o *quantizeOptions) targeted() bool { return o.budget != quantize.Budget{} }

func (o *quantizeOptions) parseTarget() error {
	o.budget.Bytes = int64(o.targetSize)
	switch {
	case o.targetSize != 0 && o.budget.Bits != 0:
		return errors.New("--target-size: cannot be combined with --target-bpw")
	case !cli.IsFinite(o.budget.Bits) || o.budget.Bits < 0:
		return fmt.Errorf("--target-bpw: %v, expected a number of bits", o.budget.Bits)
	case o.targeted() && o.Options.Pure:
		return errors.New("--pure: cannot be combined with a target, for which types are chosen one by one")
	}
	return nil
}

func (o *quantizeOptions) Run(ctx context.Context, s cli.Streams) error {
	kernels.SetThreads(o.threads)
	if err := o.OpenImatrix(); err != nil {
		return err
	}
	f, err := gguf.Open(o.in)
	if err != nil {
		return err
	}
	defer f.Close()
	plan, err := o.plan(ctx, f, s)
	if err != nil {
		return fmt.Errorf("%s: %w", o.in, o.Hint(err))
	}
	o.Warn(plan, s.Err)
	took, err := o.write(ctx, plan, f, s)
	if err != nil {
		return err
	}
	var outputs []string
	if !o.dryRun {
		outputs = plan.Outputs(o.out)
	}
	r, err := quantizing.NewResult(plan, outputs, took)
	if err != nil {
		return err
	}
	r.Target = o.targeted()
	if o.json {
		return cli.PrintJSON(s.Out, r)
	}
	r.Print(s.Out)
	return nil
}

func (o *quantizeOptions) plan(ctx context.Context, f *gguf.File, s cli.Streams) (*quantize.Plan, error) {
	if !o.targeted() {
		return quantize.NewPlan(f, o.Options)
	}
	m := cli.NewMeter(s.Err, "tensor")
	plan, err := quantize.NewBudgetPlan(ctx, f, o.Options, o.budget, func(done, tensors int) {
		m.Update(int64(done), int64(tensors), "trying types")
	})
	m.Stop()
	return plan, err
}

// write writes the model, unless this is a dry run, and gives the time that took.
func (o *quantizeOptions) write(ctx context.Context, plan *quantize.Plan, f *gguf.File,
	s cli.Streams) (time.Duration, error) {
	if o.dryRun {
		return 0, nil
	}
	for _, path := range plan.Outputs(o.out) {
		if err := o.CheckOutput("OUT", path, append([]string{f.Path, o.Imatrix}, f.Shards...)...); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	m := cli.NewMeter(s.Err, cli.InBytes)
	err := plan.Write(ctx, o.out, func(p quantize.Progress) { m.Update(p.Bytes, plan.DataBytes(), p.Tensor) })
	m.Stop()
	return time.Since(start), err
}
