package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/algebra"
)

func init() { register(&combineVerb) }

var combineVerb = cli.Verb{
	Place: 80,
	Name:  "combine",
	Args:  "ADAPTER[:WEIGHT]...",
	Short: "make one LoRA of several",
	Long: `Makes one adapter of several, each with a weight (1 where none is given; it may be negative), with the numbers of HF
PEFT's add_weighted_adapter. --type says how:

  cat              the pairs side by side: exactly the weighted sum of the changes, the ranks add up
  svd              that sum, cut to --rank
  linear           A and B themselves are added, weighted by roots: cheap, but not the sum of the changes
  ties             of A and of B: the values of largest magnitude (--density), signs elected, means of those that agree
  dare_linear      of A and of B: values dropped at random (--density is kept, --seed), the others rescaled, added
  dare_ties        dropped at random, then as in ties
  magnitude_prune  of A and of B: the values of largest magnitude, added

ties_svd, dare_linear_svd, dare_ties_svd and magnitude_prune_svd do the same with the changes B·A themselves and cut the
result to --rank. cat and the _svd types take adapters of different ranks. A module that only some of the adapters have
is combined of those. The adapters must have been trained over the same base.

The _svd types of PEFT multiply an adapter's change by its scale (alpha/r) twice; --scale-once does not.
The report says how far the result is from the weighted sum of the changes.`,
	Examples: []string{
		"peftconv combine style.safetensors facts.safetensors:0.5 --out both.safetensors",
		"peftconv combine a.safetensors b.safetensors --weights 0.7,0.3 " +
			"--type ties_svd --density 0.3 --rank 16 --out c.safetensors",
		"peftconv combine skill.safetensors toxic.safetensors:-1 --out adapter/",
	},
	New: func() cli.Command { return new(combineOptions) },
}

type combineOptions struct {
	cli.Output
	inputs  []adapterFlag
	base    string
	weights string
	out     string
	options algebra.CombineOptions
	threads int
	json    bool
}

const lowRankOutHelp = "the `FILE` to write: a name that ends in .safetensors, or else a PEFT directory"

func (o *combineOptions) Flags(fs *pflag.FlagSet) {
	fs.StringVarP(&o.out, "out", "o", "", lowRankOutHelp)
	addLowRankBase(fs, &o.base)
	fs.StringVar(&o.options.Type, "type", algebra.CombineCat, "how: a `TYPE` of those above")
	cli.Choices(fs, "type", algebra.CombineTypes()...)
	fs.StringVar(&o.weights, "weights", "",
		"a `LIST` of as many numbers as there are adapters, in place of :WEIGHT: 0.7,0.3")
	fs.IntVarP(&o.options.Rank, "rank", "r", 0,
		"`R` of the result, for the _svd types; 0 is the largest rank of the adapters")
	fs.Float64Var(&o.options.Density, "density", 0,
		"the share of values that is kept, for ties, dare and magnitude_prune: `D` above 0, at most 1")
	fs.StringVar(&o.options.MajoritySign, "majority-sign", algebra.MajorityTotal,
		"which sign is elected in the ties types: that of the sum (total) "+
			"or that of more values (frequency): `HOW`")
	fs.BoolVar(&o.options.ScaleOnce, "scale-once", false,
		"in the _svd types, multiply a change by its adapter's scale once, as the other types do")
	fs.Uint64Var(&o.options.Seed, "seed", 0, "the same `SEED` drops the same values and gives the same file")
	fs.BoolVar(&o.options.Force, "any-base", false, "combine adapters that were trained over different bases")
	o.AddForce(fs)
	cli.AddThreads(fs, &o.threads)
	fs.BoolVar(&o.json, "json", false, "print the report as one JSON document")
	cli.Require(fs, "out")
}

func (o *combineOptions) Validate(args []string) error {
	if len(args) == 0 {
		return errors.New("expected adapters, found no argument")
	}
	for _, arg := range args {
		in, err := parseLora(arg)
		if err != nil {
			return errors.New(strings.TrimPrefix(err.Error(), "--lora: "))
		}
		o.inputs = append(o.inputs, in)
	}
	if err := o.applyWeights(); err != nil {
		return err
	}
	if err := o.options.Check(); err != nil {
		return err
	}
	return cli.UseThreads(o.threads)
}

func (o *combineOptions) applyWeights() error {
	if o.weights == "" {
		return nil
	}
	list := strings.Split(o.weights, ",")
	if len(list) != len(o.inputs) {
		return fmt.Errorf("--weights: %s for %s", cli.Plural(len(list), "number"), cli.Plural(len(o.inputs), "adapter"))
	}
	for i, text := range list {
		weight, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil || !cli.IsFinite(weight) {
			return fmt.Errorf("--weights: %q, expected a finite number", text)
		}
		if o.inputs[i].scale != 1 {
			return fmt.Errorf("--weights: %s has a weight of its own, %v", o.inputs[i].path, o.inputs[i].scale)
		}
		o.inputs[i].scale = weight
	}
	return nil
}

func (o *combineOptions) Run(ctx context.Context, s cli.Streams) error {
	var adapters []peft.Scaled
	var paths []string
	for _, in := range o.inputs {
		a, err := loadLowRank(in.path, o.base)
		if err != nil {
			return err
		}
		adapters, paths = append(adapters, peft.Scaled{Adapter: a, Scale: in.scale}), append(paths, in.path)
	}
	if err := checkLowRankOutput(&o.Output, o.out, paths...); err != nil {
		return err
	}
	m := cli.NewMeter(s.Err, "module")
	o.options.Progress = modules(m)
	result, report, err := algebra.Combine(ctx, adapters, o.options)
	m.Stop()
	if err != nil {
		return err
	}
	if err := saveLowRank(result, o.out); err != nil {
		return err
	}
	if o.json {
		return cli.PrintJSON(s.Out, struct {
			Output string `json:"output"`
			Type   string `json:"type"`
			*algebra.CombineReport
		}{o.out, o.options.Type, report})
	}
	o.print(s.Out, report)
	o.warn(s.Err, adapters)
	return nil
}

func (o *combineOptions) print(w io.Writer, r *algebra.CombineReport) {
	table := cli.NewTable(w)
	fmt.Fprint(table, "adapter\tweight\trank\tmodules\tchange\n")
	for i, in := range r.Inputs {
		fmt.Fprintf(table, "%s\t%g\t%d\t%d\t%.4f\n", cli.Name(filepath.Base(o.inputs[i].path)), in.Weight, in.Rank,
			in.Modules, in.Norm)
	}
	fmt.Fprintf(table, "%s\t\t%d\t%d\t%.4f\n", cli.Name(filepath.Base(o.out)), r.Rank, r.Modules, r.Norm)
	table.Flush()
	fmt.Fprintf(w,
		"\n%s written (%s, %s values): it differs by %.1f %% from the weighted sum of the changes, whose norm is %.4f\n",
		o.out, cli.BytesText(cli.PathSize(o.out)), cli.CountText(r.Parameters), 100*r.Difference, r.Sum)
}

// warn warns where PEFT's double scale makes the result stronger than the weights say.
func (o *combineOptions) warn(w io.Writer, adapters []peft.Scaled) {
	if !strings.HasSuffix(o.options.Type, "svd") || o.options.ScaleOnce || len(adapters) == 1 {
		return
	}
	for i, a := range handle.Scaled(adapters) {
		if scale := a.Adapter.Config.Alpha / float64(a.Adapter.Config.Rank); scale != 1 || a.Adapter.Config.RSLoRA {
			fmt.Fprintf(w, "warning: the scale of %s (alpha/r) is %.3g and counts twice, as in PEFT: "+
				"with --scale-once it counts once, as in the\nother types\n", o.inputs[i].path, scale)
			return
		}
	}
}

// modules shows the current module on a meter.
func modules(m *cli.Meter) func(done, all int, module string) {
	return func(done, all int, module string) { m.Update(int64(done), int64(all), module) }
}

// addLowRankBase adds --base, for adapters in GGUF files.
func addLowRankBase(fs *pflag.FlagSet, base *string) {
	fs.StringVarP(base, "base", "b", "",
		"the model that adapters in GGUF files belong to, which says in which order their rows are: "+
			"a GGUF `FILE` or a Hugging Face directory")
}

// loadLowRank loads an adapter; base is "" or the path of a model, which a GGUF file needs.
func loadLowRank(path, base string) (*peft.Adapter, error) {
	a, err := peft.Load(path)
	if base == "" || !errors.Is(err, peft.ErrNeedsBase) {
		return a, err
	}
	b, err := peft.OpenBase(base)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return peft.LoadOver(path, b)
}

// checkLowRankOutput refuses an output that could not be written, before any work is done.
func checkLowRankOutput(o *cli.Output, path string, inputs ...string) error {
	if isSafetensors(path) {
		return o.CheckOutput("--out", path, inputs...)
	}
	return o.CheckPlace("--out", filepath.Clean(path), inputs...)
}

// saveLowRank writes an adapter as one file or, under a name without .safetensors, as a PEFT directory.
func saveLowRank(a *peft.Adapter, path string) error {
	if isSafetensors(path) {
		return a.Save(path)
	}
	return a.SaveDir(filepath.Clean(path))
}

func isSafetensors(path string) bool { return strings.EqualFold(filepath.Ext(path), ".safetensors") }
