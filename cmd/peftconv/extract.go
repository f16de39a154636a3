package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/algebra"
)

func init() { register(&extractVerb) }

var extractVerb = cli.Verb{
	Place: 90,
	Name:  "extract",
	Short: "make a LoRA out of the difference between two models",
	Long: `Makes the adapter that turns one model into another, as nearly as its rank allows: it keeps the largest singular values
of the difference of each linear map's weights (by random projection). The models may be GGUF files or Hugging Face
directories in any mixture of types, as long as they have the same shape. One weight at a time is in memory. The
difference of quantized weights includes their rounding errors, which have no low rank: extract from unquantized models
where you can.

With --energy each weight gets the lowest rank that keeps that share of its difference. The table says for each weight

  change  |Δ|/|W|: how far the tuned weight is from the base's
  energy  the share of the squared singular values of Δ that is in the adapter
  error   |Δ-B·A|/|Δ| in Frobenius' norm, of the matrices as they are saved

Differences that a LoRA of linear maps cannot hold (norms, embeddings, the output head, biases, weights that are not
targets) are listed.`,
	Examples: []string{
		"peftconv extract --base model.gguf --tuned tuned.gguf --rank 16 --out lora.safetensors",
		"peftconv extract --base base-hf/ --tuned tuned-hf/ --energy 0.9 --rank 64 --out adapter/",
		"peftconv extract --base model.gguf --tuned tuned.gguf --targets q_proj,v_proj --layers 8- --out lora.safetensors",
	},
	New: func() cli.Command { return new(extractOptions) },
}

type extractOptions struct {
	cli.Output
	base, tuned, out string
	options          algebra.ExtractOptions
	full             string
	threads          int
	json             bool
}

func (o *extractOptions) Flags(fs *pflag.FlagSet) {
	fs.StringVarP(&o.base, "base", "b", "", baseHelp)
	fs.StringVar(&o.tuned, "tuned", "", "the `MODEL` that the adapter shall make of the base: likewise")
	fs.StringVarP(&o.out, "out", "o", "", lowRankOutHelp)
	fs.IntVarP(&o.options.Rank, "rank", "r", 0, "the rank `R`, or the highest with --energy; 0 is 16, with --energy 128")
	fs.Float64Var(&o.options.Energy, "energy", 0,
		"the lowest rank of each weight that keeps this `SHARE` of its squared singular values: 0.9")
	fs.StringSliceVar(&o.options.Targets, "targets", nil,
		"a `LIST` of the weights to extract, as in peftconv train (default: all-linear)")
	fs.StringVar(&o.options.Layers, "layers", "", "only these `LAYERS`, from 0: 0-7,12 or 8- (default: all)")
	fs.StringVar(&o.full, "full", "",
		"also write what differs and is not in the adapter, whole, to this safetensors `FILE`, under Hugging Face's names")
	fs.IntVar(&o.options.Iterations, "iterations", 0,
		"`N` multiplications by the difference that sharpen the search; 0 is 4")
	fs.StringVar(&o.options.BaseModel, "base-model", "",
		"the `NAME` that HF PEFT shall load the adapter onto (default: what the base's metadata say, or its path)")
	fs.Uint64Var(&o.options.Seed, "seed", 0, "`SEED` of the projection: the same seed, the same file")
	cli.AddThreads(fs, &o.threads)
	fs.BoolVar(&o.json, "json", false, "print the report as one JSON document")
	o.AddForce(fs)
	cli.Require(fs, "base", "tuned", "out")
	cli.Models(fs, "base", "tuned")
}

func (o *extractOptions) Validate(args []string) error {
	if err := cli.NoArgs(args); err != nil {
		return err
	}
	if o.full != "" && filepath.Clean(o.full) == filepath.Clean(o.out) {
		return fmt.Errorf("--full: %s is the adapter's file", o.full)
	}
	if err := o.options.Check(); err != nil {
		return err
	}
	return cli.UseThreads(o.threads)
}

func (o *extractOptions) Run(ctx context.Context, s cli.Streams) error {
	if err := checkLowRankOutput(&o.Output, o.out, o.base, o.tuned); err != nil {
		return err
	}
	if o.full != "" {
		if err := o.CheckOutput("--full", o.full, o.base, o.tuned); err != nil {
			return err
		}
	}
	base, err := peft.OpenBase(o.base)
	if err != nil {
		return err
	}
	defer base.Close()
	tuned, err := peft.OpenBase(o.tuned)
	if err != nil {
		return err
	}
	defer tuned.Close()
	m := cli.NewMeter(s.Err, "module")
	o.options.Progress = modules(m)
	a, report, err := algebra.Extract(ctx, base, tuned, o.options)
	m.Stop()
	if err != nil {
		return err
	}
	if err := o.save(a, report); err != nil {
		return err
	}
	cli.RememberBase(a.Origin().BaseSHA256, o.base)
	if o.json {
		return cli.PrintJSON(s.Out, struct {
			Output string `json:"output"`
			Full   string `json:"full,omitempty"`
			*algebra.ExtractReport
		}{o.out, o.full, report})
	}
	o.print(s, report)
	return nil
}

func (o *extractOptions) save(a *peft.Adapter, report *algebra.ExtractReport) error {
	if err := saveLowRank(a, o.out); err != nil {
		return err
	}
	if o.full == "" || len(report.Left) == 0 {
		o.full = ""
		return nil
	}
	return report.SaveLeft(o.full)
}

func (o *extractOptions) print(s cli.Streams, r *algebra.ExtractReport) {
	table := cli.NewTable(s.Out)
	fmt.Fprint(table, "module\trank\tchange\tenergy\terror\n")
	for _, m := range r.Modules {
		fmt.Fprintf(table, "%s\t%d\t%.4f\t%.4f\t%.4f\n", cli.Name(m.Module), m.Rank, m.Change, m.Energy, m.Error)
	}
	table.Flush()
	fmt.Fprintf(s.Out, "\n%s written (%s): rank %d, %s values; %.2f %% of the difference's energy is in it, error %.4f\n",
		o.out, cli.BytesText(cli.PathSize(o.out)), r.Rank, cli.CountText(r.Parameters), 100*r.Energy, r.Error)
	if o.full != "" {
		fmt.Fprintf(s.Out, "%s written (%s): %s that the adapter does not change, whole\n", o.full,
			cli.BytesText(cli.PathSize(o.full)), cli.Plural(len(r.Left), "tensor"))
		return
	}
	warnLeft(s.Err, r.Left)
}

// warnLeft names what differs and is not in the adapter.
func warnLeft(w io.Writer, left []algebra.LeftTensor) {
	if len(left) == 0 {
		return
	}
	const most = 20
	fmt.Fprintf(w, "warning: %s differ and are not in the adapter (--full FILE saves them):\n",
		cli.Plural(len(left), "tensor"))
	for _, t := range left[:min(most, len(left))] {
		fmt.Fprintf(w, "  %s: %s, changed by %.4f\n", cli.Name(t.Name), t.Reason, t.Change)
	}
	if n := len(left) - most; n > 0 {
		fmt.Fprintf(w, "  and %d more\n", n)
	}
}
