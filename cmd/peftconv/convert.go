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
	"github.com/peftconv/peftconv/internal/cli/quantizing"
	"github.com/peftconv/peftconv/internal/names"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/export"
)

func init() { register(&convertVerb) }

var convertVerb = cli.Verb{
	Place:  105,
	Name:   "convert",
	Args:   "IN",
	Models: 1,
	Short:  "make a GGUF file of a Hugging Face model or adapter, or the reverse",
	Long: `Makes a GGUF file of the model IN: a Hugging Face directory with config.json, safetensors files and the files of
its tokenizer, or the name of one in the Hub's cache (hf:owner/name). The file that comes out is, byte for byte, the one
that llama.cpp's convert_hf_to_gguf.py makes of the same directory, without Python and in little memory.

--type is the type of most tensors:
  auto (that of the source), f32, f16, bf16, q8_0, tq1_0, tq2_0: as the converter of llama.cpp has them
  ` + strings.Join(cli.Wrap(strings.Join(quantizedOnly(), " "), cli.HelpWidth-2), "\n  ") + `:
  as if the converted file had been quantized with "peftconv quantize", in one pass

Weights in 8-bit floats (FP8) or in blocks of MXFP4 are read too.

With --to hf it makes a Hugging Face directory of a GGUF model: config.json, safetensors files, the files of the
tokenizer with chat templates, generation_config.json. It says what the GGUF file does not tell and what it took instead.

Where IN is an adapter, a LoRA of HF PEFT becomes the GGUF file that llama.cpp loads, and such a file a PEFT directory.
--base says which model it belongs to, where the adapter does not.`,
	Examples: []string{
		"peftconv convert ./SmolLM2-135M --out smollm2.gguf",
		"peftconv convert hf:HuggingFaceTB/SmolLM2-135M --out smollm2-q4.gguf --type Q4_K_M --imatrix imatrix.gguf",
		"peftconv convert smollm2.gguf --to hf --out ./SmolLM2",
		"peftconv convert ./peft-adapter --base ./SmolLM2-135M --out adapter.gguf",
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
	cli.Output
	in, out string
	to      string
	typ     string
	quantizing.Types
	convert convert.Options
	split   cli.SizeFlag
	dryRun  bool
	threads int
	json    bool

	dtype, ropeScaling, base string
	kind                     convertKind
	given                    func(flag string) bool
}

// convertKind is what is converted.
type convertKind int

const (
	modelToGGUF convertKind = iota
	modelToHF
	adapter
)

// flagsOf are the flags of each kind that others do not have.
var flagsOf = map[convertKind][]string{
	modelToGGUF: {"imatrix", "pure", "tensor-type", "output-tensor-type", "token-embedding-type", "leave-output-tensor",
		"metadata", "name", "pre-tokenizer", "vocab-only", "dry-run"},
	modelToHF: {"dtype", "rope-scaling"},
	adapter:   {"base"},
}

func (o *convertOptions) Flags(fs *pflag.FlagSet) {
	fs.StringVarP(&o.out, "out", "o", "", "the `PATH` to write: a file, or a directory for --to hf and for a PEFT adapter; "+
		"a GGUF file is named after its model in a directory that exists")
	fs.StringVar(&o.to, "to", "", "the `FORM` to make, gguf or hf (default: gguf for models; adapters become the other form)")
	fs.StringVar(&o.typ, "type", "auto", "`TYPE` of most tensors")
	o.Add(fs, func() {})
	cli.Group(fs, "Metadata", func() {
		fs.StringVar(&o.convert.Metadata, "metadata", "",
			"a JSON `FILE` with keys of general.* that count before what the model's files say")
		fs.StringVar(&o.convert.Name, "name", "", "the model's `NAME`, general.name")
		fs.StringVar(&o.convert.PreTokenizer, "pre-tokenizer", "",
			"`NAME` of the way in which text is cut before it becomes tokens, where that is not recognised; "+
				"auto takes one that cuts a reference text as the model's files do")
		fs.BoolVar(&o.convert.VocabOnly, "vocab-only", false, "write metadata and vocabulary without tensors")
	})
	cli.Group(fs, "Flags of --to hf", func() {
		fs.StringVar(&o.dtype, "dtype", "", "`TYPE` of all tensors: f32, f16 or bf16 (default: floats stay, others become bf16)")
		fs.StringVar(&o.ropeScaling, "rope-scaling", "",
			"rope_scaling for config.json, a `JSON` object, where the file has factors of which it is not known what makes them")
	})
	cli.Group(fs, "Flags for adapters", func() {
		fs.StringVar(&o.base, "base", "", "the model an adapter belongs to: "+cli.ModelNames+
			"; of a directory config.json is enough (default: the one the adapter names)")
		cli.Models(fs, "base")
	})
	fs.Var(&o.split, "split-max-size", "write several files with tensors of at most `BYTES` each: 4G, 500M")
	o.AddForce(fs)
	fs.BoolVar(&o.dryRun, "dry-run", false, "write nothing: list the tensors with their types and sizes")
	fs.IntVarP(&o.threads, "threads", "t", 0,
		"`N` threads to compute with; 0 is one for each processor; the results are the same for any N")
	fs.BoolVar(&o.json, "json", false, "print the result as one JSON document")
	o.given = fs.Changed
}

func (o *convertOptions) Validate(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("expected IN, found %s", cli.Plural(len(args), "argument"))
	}
	o.in = args[0]
	if o.out == "" && !o.dryRun {
		return errors.New("--out: missing, expected a path")
	}
	if o.threads < 0 || o.threads > 1024 {
		return fmt.Errorf("--threads: %d, expected 0 to 1024", o.threads)
	}
	if o.to != "" && o.to != "gguf" && o.to != "hf" {
		return fmt.Errorf("--to: %q, expected gguf or hf", o.to)
	}
	switch {
	case o.given("base") || export.IsAdapter(o.in):
		o.kind = adapter
	case o.to == "hf":
		o.kind = modelToHF
	}
	for kind, flags := range flagsOf {
		for _, flag := range flags {
			if kind != o.kind && o.given(flag) {
				return fmt.Errorf("--%s: has no effect here; %s", flag, kindTexts[kind])
			}
		}
	}
	return o.checkTypes()
}

// kindTexts say what the flags of each kind are for.
var kindTexts = map[convertKind]string{
	modelToGGUF: "it is for a model that becomes a GGUF file",
	modelToHF:   "it is for a GGUF model that becomes a Hugging Face directory, with --to hf",
	adapter:     "it is for adapters",
}

// checkTypes checks what names types.
func (o *convertOptions) checkTypes() error {
	if o.convert.PreTokenizer == "auto" {
		o.convert.PreTokenizer, o.convert.ForcePreTokenizer = "", true
	}
	switch o.kind {
	case modelToHF:
		if o.given("type") {
			return errors.New("--type: --dtype is the type of the tensors of a Hugging Face directory")
		}
		return nil
	case adapter:
		return nil
	}
	if err := convert.CheckType(o.typ); err != nil {
		return fmt.Errorf("--type: %w", err)
	}
	if flag := o.Types.Given(); flag != "" && slices.Contains(convert.Types(), strings.ToLower(o.typ)) {
		return fmt.Errorf("%s: has no effect on --type %s", flag, o.typ)
	}
	return o.Parse()
}

func (o *convertOptions) Run(ctx context.Context, s cli.Streams) error {
	kernels.SetThreads(o.threads)
	switch o.kind {
	case adapter:
		return o.runAdapter(ctx, s)
	case modelToHF:
		return o.runToHF(ctx, s)
	}
	return o.runToGGUF(ctx, s)
}

func (o *convertOptions) runToGGUF(ctx context.Context, s cli.Streams) error {
	if err := o.OpenImatrix(); err != nil {
		return err
	}
	o.convert.Type, o.convert.Quantize, o.convert.SplitBytes = o.typ, o.Options, int64(o.split)
	o.convert.ID = names.Repository(o.in)
	plan, err := convert.NewPlan(o.in, o.convert)
	if err != nil {
		return o.Hint(err)
	}
	defer plan.Close()
	for _, note := range plan.Notes() {
		fmt.Fprintf(s.Err, "note: %s\n", cli.Line(note))
	}
	o.Warn(plan.Plan, s.Err)
	out, err := o.outputs(plan)
	if err != nil {
		return err
	}
	took, err := o.write(ctx, plan, s)
	if err != nil {
		return err
	}
	r, err := quantizing.NewResult(plan.Plan, out, took)
	if err != nil {
		return err
	}
	if o.json {
		return cli.PrintJSON(s.Out, r)
	}
	r.Print(s.Out)
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
		if err := o.CheckOutput("--out", path, plan.Inputs()...); err != nil {
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
	m := cli.NewMeter(s.Err, cli.InBytes)
	err := plan.Write(ctx, o.out, func(p quantize.Progress) { m.Update(p.Bytes, plan.DataBytes(), p.Tensor) })
	m.Stop()
	return time.Since(start), err
}
