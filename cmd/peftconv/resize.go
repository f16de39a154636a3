package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/peft/algebra"
)

func init() { register(&resizeVerb) }

var resizeVerb = cli.Verb{
	Place: 100,
	Name:  "resize",
	Args:  "IN OUT",
	Short: "change the rank of a LoRA",
	Long: `Writes the adapter IN with another rank to OUT (a .safetensors file, or a PEFT directory under any other name). Of each
module's change B·A the largest singular values are kept, which is the nearest change of that rank there is.

--rank alone gives every module the same rank. --energy and --sv-ratio give each module the lowest rank that keeps
enough, at most --rank; the ranks are then in the adapter's rank pattern. A higher rank than before does not change the
model: it gives further training more room.

  energy  the share of the change's squared singular values that is kept
  error   |Δ-Δ'|/|Δ| in Frobenius' norm: how far the smaller change Δ' is from Δ`,
	Examples: []string{
		"peftconv resize out.safetensors small.safetensors --rank 4",
		"peftconv resize out.safetensors small.safetensors --energy 0.95",
		"peftconv resize adapter/ small/ --sv-ratio 20 --rank 32",
	},
	New: func() cli.Command { return new(resizeOptions) },
}

type resizeOptions struct {
	cli.Output
	in, out string
	base    string
	options algebra.ResizeOptions
	threads int
	json    bool
}

func (o *resizeOptions) Flags(fs *pflag.FlagSet) {
	addLowRankBase(fs, &o.base)
	fs.IntVarP(&o.options.Rank, "rank", "r", 0, "the rank `R` of every module, or the highest with --energy or --sv-ratio")
	fs.Float64Var(&o.options.Energy, "energy", 0,
		"the lowest rank of each module that keeps this `SHARE` of the squared singular values: 0.95")
	fs.Float64Var(&o.options.Ratio, "sv-ratio", 0, "keep singular values down to the largest of the module divided by `X`")
	fs.Uint64Var(&o.options.Seed, "seed", 0, "`SEED` of the rows that come in where the rank grows")
	cli.AddThreads(fs, &o.threads)
	o.AddForce(fs)
	fs.BoolVar(&o.json, "json", false, "print the report as one JSON document")
}

func (o *resizeOptions) Validate(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("expected IN and OUT, found %s", cli.Plural(len(args), "argument"))
	}
	o.in, o.out = args[0], args[1]
	if err := o.options.Check(); err != nil {
		return err
	}
	return cli.UseThreads(o.threads)
}

func (o *resizeOptions) Run(ctx context.Context, s cli.Streams) error {
	if err := checkLowRankOutput(&o.Output, o.out, o.in); err != nil {
		return err
	}
	a, err := loadLowRank(o.in, o.base)
	if err != nil {
		return err
	}
	m := cli.NewMeter(s.Err, "module")
	o.options.Progress = modules(m)
	small, report, err := algebra.Resize(ctx, a, o.options)
	m.Stop()
	if err != nil {
		return fmt.Errorf("%s: %w", o.in, err)
	}
	if err := saveLowRank(small, o.out); err != nil {
		return err
	}
	if o.json {
		return cli.PrintJSON(s.Out, struct {
			Output string `json:"output"`
			*algebra.ResizeReport
		}{o.out, report})
	}
	o.print(s.Out, report)
	return nil
}

func (o *resizeOptions) print(w io.Writer, r *algebra.ResizeReport) {
	table := cli.NewTable(w)
	fmt.Fprint(table, "module\trank\tenergy\terror\n")
	for _, m := range r.Modules {
		fmt.Fprintf(table, "%s\t%d → %d\t%.4f\t%.4f\n", cli.Name(m.Module), m.Was, m.Rank, m.Energy, m.Error)
	}
	table.Flush()
	fmt.Fprintf(w, "\n%s written (%s): %s values, were %s; %.2f %% of the change's energy is in it, error %.4f\n",
		o.out, cli.BytesText(cli.PathSize(o.out)), cli.CountText(r.Parameters), cli.CountText(r.Was), 100*r.Energy, r.Error)
}
