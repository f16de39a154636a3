package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/imatrix"
	"github.com/peftconv/peftconv/gguf/quantize"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/kernels"
)

func init() { register(&quantizeVerb) }

var quantizeVerb = cli.Verb{
	Place:  110,
	Name:   "quantize",
	Args:   "IN OUT [TYPE]",
	Models: 1,
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
	in, out, fileType string
	imatrix           string
	tensorTypes       []string
	outputType        string
	embeddingType     string
	targetSize        cli.SizeFlag
	budget            quantize.Budget
	dryRun            bool
	threads           int
	json              bool
	options           quantize.Options
}

func (o *quantizeOptions) Flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.imatrix, "imatrix", "", "an importance matrix, a `FILE` in GGUF form or in the older .dat form")
	fs.Var(&o.targetSize, "target-size",
		"choose the types so that the file has at most `BYTES`: 700M, 4.5G (thousands), 4GiB")
	fs.Float64Var(&o.budget.Bits, "target-bpw", 0,
		"choose the types so that a weight takes at most `N` bits on average; 0 is no target")
	cli.Group(fs, "Types", func() {
		fs.BoolVar(&o.options.Pure, "pure", false, "give all matrices the same type, without the rules")
		fs.StringArrayVar(&o.tensorTypes, "tensor-type", nil,
			"`REGEX=TYPE`: the type of tensors whose names the expression matches somewhere; "+
				"may be repeated, the first that matches counts")
		fs.StringVar(&o.outputType, "output-tensor-type", "", "`TYPE` of the output head, output.weight")
		fs.StringVar(&o.embeddingType, "token-embedding-type", "", "`TYPE` of the token embedding, token_embd.weight")
		fs.BoolVar(&o.options.LeaveOutput, "leave-output-tensor", false, "leave the output head as it is")
		fs.BoolVar(&o.options.AllowRequantize, "allow-requantize", false,
			"requantize weights that are quantized already, which loses more than starting from the original")
	})
	fs.BoolVar(&o.options.KeepSplit, "keep-split", false,
		"of a model in several files make as many, named OUT-00001-of-0000N.gguf")
	fs.BoolVar(&o.dryRun, "dry-run", false,
		"write nothing: list the tensors with their types and sizes; OUT can be left out")
	fs.IntVarP(&o.threads, "threads", "t", 0,
		"`N` threads to compute with; 0 is one for each processor; the results are the same for any N")
	fs.BoolVar(&o.json, "json", false, "print the result as one JSON document")
}

func (o *quantizeOptions) Validate(args []string) error {
	if err := o.positional(args); err != nil {
		return err
	}
	if o.threads < 0 || o.threads > 1024 {
		return fmt.Errorf("--threads: %d, expected 0 to 1024", o.threads)
	}
	if o.outputType != "" && o.options.LeaveOutput {
		return errors.New("--leave-output-tensor: cannot be combined with --output-tensor-type")
	}
	return o.parseTypes()
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
	case o.targeted() && o.options.Pure:
		return errors.New("--pure: cannot be combined with a target, for which types are chosen one by one")
	}
	return nil
}

// parseTypes parses everything that names a type.
func (o *quantizeOptions) parseTypes() (err error) {
	if o.fileType != "" {
		if o.options.Type, err = quantize.ParseFileType(o.fileType); err != nil {
			return err
		}
	}
	for _, s := range o.tensorTypes {
		override, err := quantize.ParseOverride(s)
		if err != nil {
			return fmt.Errorf("--tensor-type: %w", err)
		}
		o.options.Overrides = append(o.options.Overrides, override)
	}
	if o.options.OutputType, err = optionalType("--output-tensor-type", o.outputType); err != nil {
		return err
	}
	o.options.EmbeddingType, err = optionalType("--token-embedding-type", o.embeddingType)
	return err
}

func optionalType(flag, name string) (*gguf.Type, error) {
	if name == "" {
		return nil, nil
	}
	t, err := quantize.ParseType(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return &t, nil
}

func (o *quantizeOptions) Run(ctx context.Context, s cli.Streams) error {
	kernels.SetThreads(o.threads)
	if o.imatrix != "" {
		m, err := imatrix.Open(o.imatrix)
		if err != nil {
			return err
		}
		o.options.Imatrix = m
	}
	f, err := gguf.Open(o.in)
	if err != nil {
		return err
	}
	defer f.Close()
	plan, err := o.plan(ctx, f, s)
	if err != nil {
		return fmt.Errorf("%s: %w", o.in, o.hint(err))
	}
	o.warn(plan, s.Err)
	took, err := o.write(ctx, plan, f, s)
	if err != nil {
		return err
	}
	r, err := newQuantized(plan, o, took)
	if err != nil {
		return err
	}
	if o.json {
		return cli.PrintJSON(s.Out, r)
	}
	r.print(s.Out)
	return nil
}

// hint adds to an error the flag that would help.
func (o *quantizeOptions) hint(err error) error {
	switch {
	case errors.Is(err, quantize.ErrQuantized):
		return fmt.Errorf("%w (--allow-requantize)", err)
	case errors.Is(err, quantize.ErrNeedsImportance) && o.imatrix == "":
		return fmt.Errorf("%w (--imatrix, which peftconv imatrix makes)", err)
	}
	return err
}

func (o *quantizeOptions) plan(ctx context.Context, f *gguf.File, s cli.Streams) (*quantize.Plan, error) {
	if !o.targeted() {
		return quantize.NewPlan(f, o.options)
	}
	var m *cli.Meter
	plan, err := quantize.NewBudgetPlan(ctx, f, o.options, o.budget, func(done, tensors int) {
		if m == nil {
			m = cli.NewMeter(s.Err, "tensor", int64(tensors))
		}
		m.Update(int64(done), "trying types")
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
		if err := cli.CheckOutput("OUT", path, append([]string{f.Path, o.imatrix}, f.Shards...)...); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	m := cli.NewMeter(s.Err, cli.InBytes, plan.DataBytes())
	err := plan.Write(ctx, o.out, func(p quantize.Progress) { m.Update(p.Bytes, p.Tensor) })
	m.Stop()
	return time.Since(start), err
}

// warn reports what differs from what was asked for.
func (o *quantizeOptions) warn(plan *quantize.Plan, w io.Writer) {
	if list := plan.Fallbacks(); len(list) > 0 {
		fmt.Fprintf(w, "warning: the rows of %s do not fit their type, for example %s: they get another\n",
			cli.Plural(len(list), "tensor"), cli.Printable(list[0].Name, 0))
	}
	if o.imatrix == "" {
		return
	}
	if list := plan.Unweighted(); len(list) > 0 {
		fmt.Fprintf(w, "warning: %s has no entry for %s, for example %s: all their columns get the same importance\n",
			o.imatrix, cli.Plural(len(list), "quantized tensor"), cli.Printable(list[0].Name, 0))
	}
}

// quantized is the result as --json shows it.
type quantized struct {
	Outputs   []string          `json:"outputs,omitempty"`
	FileType  string            `json:"file_type"`
	Size      int64             `json:"size"` // of the files, in bytes
	InputData int64             `json:"input_data_bytes"`
	Data      int64             `json:"data_bytes"`
	Weights   int64             `json:"weights"`
	Bits      float64           `json:"bits_per_weight"`
	Seconds   float64           `json:"seconds,omitempty"`
	Target    bool              `json:"target,omitempty"` // the types were chosen for a size
	Tensors   []quantizedTensor `json:"tensors"`
}

type quantizedTensor struct {
	Name     string  `json:"name"`
	Shape    []int64 `json:"shape"`
	From     string  `json:"from"`
	To       string  `json:"to"`
	Bytes    int64   `json:"bytes"`
	Weighted bool    `json:"weighted,omitempty"`
	Fallback bool    `json:"fallback,omitempty"`
}

func newQuantized(plan *quantize.Plan, o *quantizeOptions, took time.Duration) (*quantized, error) {
	size, err := plan.Size()
	if err != nil {
		return nil, err
	}
	r := &quantized{FileType: plan.FileType().Name, Size: size, InputData: plan.InputBytes(), Data: plan.DataBytes(),
		Weights: plan.Weights(), Bits: plan.BitsPerWeight(), Seconds: took.Seconds(), Target: o.targeted()}
	if !o.dryRun {
		r.Outputs = plan.Outputs(o.out)
	}
	for _, t := range plan.Tensors {
		r.Tensors = append(r.Tensors, quantizedTensor{t.Name, t.Shape, t.From.String(), t.To.String(), t.Bytes, t.Weighted,
			t.Fallback})
	}
	return r, nil
}

func (r *quantized) print(w io.Writer) {
	if len(r.Outputs) == 0 {
		r.printTensors(w)
	}
	mostly := ""
	if r.Target {
		mostly = "mostly "
	}
	fmt.Fprintf(w, "%s%s: %s, %.2f bits a weight, of %s before; %s\n", mostly, r.FileType, cli.BytesText(r.Size), r.Bits,
		cli.BytesText(r.InputData), r.types())
	if len(r.Outputs) > 0 {
		fmt.Fprintf(w, "written to %s in %.1f s, %s a second\n", strings.Join(r.Outputs, ", "), r.Seconds,
			cli.BytesText(int64(float64(r.InputData)/r.Seconds)))
	}
}

func (r *quantized) printTensors(w io.Writer) {
	table := cli.NewTable(w)
	fmt.Fprint(table, "tensor\tshape\tfrom\tto\tbytes\n")
	for _, t := range r.Tensors {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", cli.Printable(t.Name, 0), cli.ShapeText(t.Shape), t.From, t.To,
			cli.CountText(t.Bytes))
	}
	table.Flush()
	fmt.Fprintln(w)
}

// types is "156 Q4_K, 25 Q6_K", in the order in which they first occur.
func (r *quantized) types() string {
	counts := map[string]int{}
	var names []string
	for _, t := range r.Tensors {
		if counts[t.To]++; counts[t.To] == 1 {
			names = append(names, t.To)
		}
	}
	for i, name := range names {
		names[i] = fmt.Sprintf("%d %s", counts[name], name)
	}
	return strings.Join(names, ", ")
}
