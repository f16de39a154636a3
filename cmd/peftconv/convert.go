package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/gguf/convert"
	"github.com/peftconv/peftconv/gguf/quantize"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/kernels"
)

func init() { register(&convertVerb) }

var convertVerb = cli.Verb{
	Place: 105,
	Name:  "convert",
	Args:  "IN",
	Short: "make a GGUF file of a Hugging Face model, or the reverse",
	Long: `Makes a GGUF file of the model IN: a Hugging Face directory with config.json, safetensors files and the files of
its tokenizer. The file that comes out is, byte for byte, the one that llama.cpp's convert_hf_to_gguf.py makes of the
same directory, without Python and in little memory.

--type is the type of most tensors:
  auto (that of the source), f32, f16, bf16, q8_0, tq1_0, tq2_0: as the converter of llama.cpp has them
  ` + strings.Join(cli.Wrap(strings.Join(quantizedOnly(), " "), cli.HelpWidth-2), "\n  ") + `:
  as if the converted file had been quantized with "peftconv quantize", in one pass

Weights in 8-bit floats (FP8) or in blocks of MXFP4 are read too.`,
	Examples: []string{
		"peftconv convert ./SmolLM2-135M --out smollm2.gguf",
		"peftconv convert ./SmolLM2-135M --out smollm2-q4.gguf --type Q4_K_M --imatrix imatrix.gguf",
	},
	New: func() cli.Command { return new(convertOptions) },
}

// quantizedOnly are the file types that are more than a type for all matrices.
func quantizedOnly() []string {
	return slices.DeleteFunc(quantize.FileTypes(), func(name string) bool {
		return slices.Contains(convert.Types(), strings.ToLower(name))
	})
}

type convertOptions struct {
	in, out string
	typ     string
	typeFlags
	convert convert.Options
	split   cli.SizeFlag
	force   bool
	dryRun  bool
	threads int
	json    bool
}

func (o *convertOptions) Flags(fs *pflag.FlagSet) {
	fs.StringVarP(&o.out, "out", "o", "", "the `FILE` to write, or a directory for a file named after the model")
	fs.StringVar(&o.typ, "type", "auto", "`TYPE` of most tensors")
	o.typeFlags.add(fs, func() {})
	cli.Group(fs, "Metadata", func() {
		fs.StringVar(&o.convert.Metadata, "metadata", "",
			"a JSON `FILE` with keys of general.* that count before what the model's files say")
		fs.StringVar(&o.convert.Name, "name", "", "the model's `NAME`, general.name")
		fs.StringVar(&o.convert.PreTokenizer, "pre-tokenizer", "",
			"`NAME` of the way in which text is cut before it becomes tokens, where that is not recognised")
		fs.BoolVar(&o.convert.VocabOnly, "vocab-only", false, "write metadata and vocabulary without tensors")
	})
	fs.Var(&o.split, "split-max-size", "write several files with tensors of at most `BYTES` each: 4G, 500M")
	fs.BoolVar(&o.force, "force", false, "replace files that are there")
	fs.BoolVar(&o.dryRun, "dry-run", false, "write nothing: list the tensors with their types and sizes")
	fs.IntVarP(&o.threads, "threads", "t", 0,
		"`N` threads to compute with; 0 is one for each processor; the results are the same for any N")
	fs.BoolVar(&o.json, "json", false, "print the result as one JSON document")
}

func (o *convertOptions) Validate(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("expected IN, found %s", cli.Plural(len(args), "argument"))
	}
	o.in = args[0]
	if o.out == "" && !o.dryRun {
		return errors.New("--out: missing, expected a file")
	}
	if o.threads < 0 || o.threads > 1024 {
		return fmt.Errorf("--threads: %d, expected 0 to 1024", o.threads)
	}
	if err := convert.CheckType(o.typ); err != nil {
		return fmt.Errorf("--type: %w", err)
	}
	if flag := o.given(); flag != "" && slices.Contains(convert.Types(), strings.ToLower(o.typ)) {
		return fmt.Errorf("%s: has no effect on --type %s", flag, o.typ)
	}
	return o.typeFlags.parse()
}

func (o *convertOptions) Run(ctx context.Context, s cli.Streams) error {
	kernels.SetThreads(o.threads)
	if err := o.openImatrix(); err != nil {
		return err
	}
	o.convert.Type, o.convert.Quantize, o.convert.SplitBytes = o.typ, o.options, int64(o.split)
	plan, err := convert.NewPlan(o.in, o.convert)
	if err != nil {
		return o.hint(err)
	}
	defer plan.Close()
	for _, note := range plan.Notes() {
		fmt.Fprintf(s.Err, "note: %s\n", note)
	}
	o.warn(plan.Plan, s.Err)
	out, err := o.outputs(plan)
	if err != nil {
		return err
	}
	took, err := o.write(ctx, plan, s)
	if err != nil {
		return err
	}
	r, err := newQuantized(plan.Plan, out, took)
	if err != nil {
		return err
	}
	if o.json {
		return cli.PrintJSON(s.Out, r)
	}
	r.print(s.Out)
	return nil
}

// outputs are the files to write, none for a dry run.
func (o *convertOptions) outputs(plan *convert.Plan) ([]string, error) {
	if o.dryRun {
		return nil, nil
	}
	if info, err := os.Stat(o.out); err == nil && info.IsDir() {
		o.out = filepath.Join(o.out, plan.FileName())
	}
	paths := plan.Outputs(o.out)
	for _, path := range paths {
		if cli.Exists(path) && !o.force {
			return nil, fmt.Errorf("--out: %s is there already: choose another name, or --force to replace it", path)
		}
		if err := cli.CheckOutput("--out", path, plan.Inputs()...); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

// write writes the model, unless this is a dry run, and gives the time that took.
func (o *convertOptions) write(ctx context.Context, plan *convert.Plan, s cli.Streams) (time.Duration, error) {
	if o.dryRun {
		return 0, nil
	}
	start := time.Now()
	m := cli.NewMeter(s.Err, cli.InBytes, plan.DataBytes())
	err := plan.Write(ctx, o.out, func(p quantize.Progress) { m.Update(p.Bytes, p.Tensor) })
	m.Stop()
	return time.Since(start), err
}
