package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/gguf/imatrix"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/input"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/eval"
)

func init() { register(&imatrixVerb) }

var imatrixVerb = cli.Verb{
	Place: 120,
	Name:  "imatrix",
	Short: "measure which columns of the weights matter, for quantize",
	Long: `Runs a model over windows of a text and measures, for each linear map, the sum of the squares of every input: the
importance matrix by which peftconv quantize --imatrix and llama-quantize weight the errors of a weight's columns. The
file and the values are those of llama-imatrix. Text of the kind that the model will see is best; some hundred windows
are enough.

--from adds earlier measurements, in this form or in the older .dat form. Without --base it only combines such files.`,
	Examples: []string{
		"peftconv imatrix --base model-f16.gguf --data calibration.txt --out imatrix.gguf",
		"peftconv imatrix --base model-f16.gguf --data code.txt --from imatrix.gguf --out both.gguf --chunks 100",
		"peftconv imatrix --from old.dat --out imatrix.gguf",
	},
	New: func() cli.Command { return new(imatrixOptions) },
}

type imatrixOptions struct {
	cli.Output
	base, data, out string
	from            []string
	ctx             input.Window
	options         eval.ImportanceOptions
	threads         int
	json            bool
}

func (o *imatrixOptions) Flags(fs *pflag.FlagSet) {
	fs.StringVarP(&o.base, "base", "b", "", baseHelp)
	cli.Models(fs, "base")
	fs.StringVarP(&o.data, "data", "d", "", "what to measure on: a `FILE` of text, plain or compressed, or - for standard input")
	fs.StringVarP(&o.out, "out", "o", "imatrix.gguf", "the importance matrix's `FILE`")
	fs.StringArrayVar(&o.from, "from", nil, "an importance matrix `FILE` whose figures are added; may be repeated")
	o.ctx.Add(fs, "`TOKENS` of each window of the text")
	fs.IntVar(&o.options.Chunks, "chunks", 0, "the most windows, `N`; 0 is all of the text")
	fs.BoolVar(&o.options.Head, "process-output", false,
		"measure the output head, too: output.weight, or token_embd.weight where that is the head")
	fs.BoolVar(&o.options.ExactActivations, "exact-activations", false,
		"multiply quantized weights with activations as they are, not rounded as llama.cpp's CPU backend rounds them")
	fs.IntVarP(&o.threads, "threads", "t", 0,
		"`N` threads to compute with; 0 is one for each processor; the results are the same for any N")
	o.AddForce(fs)
	fs.BoolVar(&o.json, "json", false, "print the result as one JSON document")
}

func (o *imatrixOptions) Validate(args []string) error {
	switch {
	case len(args) > 0:
		return cli.NoArgs(args)
	case (o.base == "") != (o.data == ""):
		return errors.New("--base and --data: one needs the other")
	case o.base == "" && len(o.from) == 0:
		return errors.New("missing required flags --base and --data (or --from, to put measured matrices together)")
	case o.ctx.Tokens < 4:
		return fmt.Errorf("--ctx: %d, expected 4 tokens or more", o.ctx.Tokens)
	case o.options.Chunks < 0:
		return fmt.Errorf("--chunks: %d, expected 0 or more", o.options.Chunks)
	case o.threads < 0 || o.threads > 1024:
		return fmt.Errorf("--threads: %d, expected 0 to 1024", o.threads)
	}
	return nil
}

func (o *imatrixOptions) Run(ctx context.Context, s cli.Streams) error {
	kernels.SetThreads(o.threads)
	if err := o.CheckOutput("--out", o.out, append([]string{o.base, o.data}, o.from...)...); err != nil {
		return err
	}
	o.options.Ctx = o.ctx.Tokens
	var base *peft.Base
	if o.base != "" {
		var err error
		if base, err = peft.OpenBase(o.base); err != nil {
			return err
		}
		defer base.Close()
		o.options.Ctx = o.ctx.Of(base)
	}
	m, err := o.earlier()
	if err != nil {
		return err
	}
	if base != nil {
		measured, err := o.measure(ctx, s, base)
		if err != nil {
			return err
		}
		if err := m.Merge(measured); err != nil {
			return err
		}
	}
	if err := m.WriteFile(o.out); err != nil {
		return err
	}
	warnUnvisited(s.Err, m)
	return o.print(s.Out, m)
}

// warnUnvisited warns of experts about which nothing is known.
func warnUnvisited(w io.Writer, m *imatrix.Matrix) {
	for _, e := range m.Entries() {
		if n := e.Unvisited(); n > 0 {
			fmt.Fprintf(w, "warning: %s: no token of the text went through %d of its %d experts; quantizing weighs their "+
				"columns alike\n", cli.Name(e.Name), n, len(e.Counts))
		}
	}
}

// earlier is the matrices of --from.
func (o *imatrixOptions) earlier() (*imatrix.Matrix, error) {
	m := &imatrix.Matrix{ChunkSize: o.options.Ctx}
	for _, path := range o.from {
		next, err := imatrix.Open(path)
		if err != nil {
			return nil, err
		}
		if err := m.Merge(next); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return m, nil
}

func (o *imatrixOptions) measure(ctx context.Context, s cli.Streams, base *peft.Base) (*imatrix.Matrix, error) {
	ids, err := base.TokenizeData(o.data, peft.DataOptions{Stdin: s.In})
	if err != nil {
		return nil, err
	}
	m := cli.NewMeter(s.Err, "window")
	o.options.Progress = func(done, windows int) {
		m.Update(int64(done), int64(windows), "")
	}
	measured, err := eval.Importance(ctx, base, ids, o.options)
	m.Stop()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.data, err)
	}
	measured.Datasets = []string{o.data}
	return measured, nil
}

func (o *imatrixOptions) print(w io.Writer, m *imatrix.Matrix) error {
	if o.json {
		return cli.PrintJSON(w, struct {
			Output    string   `json:"output"`
			Datasets  []string `json:"datasets"`
			Entries   int      `json:"entries"`
			Chunks    int      `json:"chunks"`
			ChunkSize int      `json:"chunk_size"`
		}{o.out, m.Datasets, len(m.Entries()), m.Chunks, m.ChunkSize})
	}
	_, err := fmt.Fprintf(w, "%s written: %s, measured on %s of %d tokens of %s\n", o.out,
		cli.Plural(len(m.Entries()), "tensor"),
		cli.Plural(m.Chunks, "window"), m.ChunkSize, cli.Line(strings.Join(m.Datasets, ", ")))
	return err
}
