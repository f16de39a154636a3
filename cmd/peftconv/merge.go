package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/input"
	"github.com/peftconv/peftconv/internal/cli/reporting"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/quant"
)

func init() { register(&mergeVerb) }

var mergeVerb = cli.Verb{
	Place: 60,
	Name:  "merge",
	Short: "write the base with an adapter in its weights",
	Long: `Writes a model whose weights are those of the base plus the changes of one or several adapters. Tensors that an adapter
changes are quantized to the type they have in the base, or to --type. All others are copied byte for byte, and so is
the metadata, in which the merge is recorded.

An adapter that was trained with --qat loses nothing: its tensors are written as training saw them, bit for bit, and
--verify checks it. Other adapters lose small changes when they are rounded to few bits. The table shows for each
changed tensor how much of the change is left (recovery: 1 is all of it, 0 is none) and the error (as a share of the
change). With --eval-data the loss shows what is left of the gain. --calibration names text like that which the model
will see, best the training text of the adapter: weights are then rounded so that their errors cancel in the outputs on
that text, which keeps more.

The base is found through the adapter, which records its path and SHA-256. Another base is refused without --any-base. A
base in Hugging Face's layout gives a directory.`,
	Examples: []string{
		"peftconv merge --lora out.safetensors",
		"peftconv merge --base model.gguf --lora out.safetensors --out tuned.gguf --report tuned.html",
		"peftconv merge --lora out.safetensors --calibration train.txt --eval-data valid.txt",
		"peftconv merge --lora style.safetensors:0.7 --lora facts.safetensors --type Q8_0 --out both.gguf",
	},
	Lean: true,
	New:  func() cli.Command { return new(mergeOptions) },
}

type mergeOptions struct {
	cli.Output
	modelFlags
	input.Data
	out         string
	scale       float64
	options     merge.Options
	calibration string
	verify      bool
	json        bool
	report      string // file
}

func (o *mergeOptions) Flags(fs *pflag.FlagSet) {
	o.addLora(fs)
	o.addBase(fs, "the model to merge into: "+cli.ModelNames+" (default: the one the adapter was trained over)")
	fs.StringVarP(&o.out, "out", "o", "",
		"the merged model's `FILE` (default: merged.gguf, or merged for a Hugging Face directory)")
	fs.Float64Var(&o.scale, "scale", 1, "multiply the effect of every adapter by `SCALE`")
	fs.StringVar(&o.options.Type, "type", "",
		"`TYPE` of the touched tensors, for example Q8_0, F16 or F32, or a mixture as quantize has them, as Q4_K_M, of all "+
			"tensors that are floats or touched (default: each keeps its own)")
	fs.BoolVar(&o.options.Force, "any-base", false,
		"merge into a base that is not the one the adapter was trained over")
	o.AddForce(fs)
	fs.StringVar(&o.options.Rounding, "rounding", merge.RoundAuto,
		"how a tensor that keeps its type takes the change: `WAY` is requantize, nearest, dither, "+
			"scales, scales+dither, compensate or descent (with --calibration) or auto (what keeps most)")
	fs.StringVar(&o.calibration, "calibration", "",
		"a `FILE` of text or records as train takes, some of which the base with the "+
			"adapter reads to measure which errors of rounding matter")
	fs.StringVar(&o.options.Imatrix, "imatrix", "",
		"an importance matrix of the base, a `FILE`, to weight rounding errors")
	o.addThreads(fs)
	fs.BoolVar(&o.json, "json", false, "print the report as one JSON document")
	fs.StringVar(&o.report, "report", "", "write a page of what survived, with the adapters' runs, an HTML `FILE`")
	cli.Group(fs, "Checking the result", func() {
		fs.BoolVar(&o.verify, "verify", false,
			"evaluate the base, the base with the adapter, and the merged model, and compare its tensors with what was trained")
		fs.StringVar(&o.EvalData, "eval-data", "",
			"a `FILE` of text or records to evaluate on: reports how much of the adapter's gain is kept")
		o.Data.Add(fs)
	})
	cli.Require(fs, "lora")
}

func (o *mergeOptions) Validate(args []string) error {
	if err := cli.NoArgs(args); err != nil {
		return err
	}
	if !cli.IsFinite(o.scale) {
		return fmt.Errorf("--scale: %v, expected a finite number", o.scale)
	}
	for _, check := range []func() error{
		o.checkCalibration,
		func() error { return checkType(o.options.Type, o.options.Imatrix) },
		o.options.Check, o.Data.Check, o.modelFlags.check,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// checkCalibration checks --calibration together with --rounding.
func (o *mergeOptions) checkCalibration() error {
	switch {
	case o.calibration == "-" && o.EvalData == "-":
		return errors.New("--calibration and --eval-data: standard input (-) can be read only once")
	case o.calibration == "" && merge.NeedsCalibration(o.options.Rounding):
		return fmt.Errorf("--rounding %s: needs --calibration", o.options.Rounding)
	case o.calibration != "" && !merge.NeedsCalibration(o.options.Rounding) && o.options.Rounding != merge.RoundAuto:
		return fmt.Errorf("--calibration: cannot be combined with --rounding %s, only with compensate, descent and auto",
			o.options.Rounding)
	}
	return nil
}

// checkType is the check of --type; "" is no type.
func checkType(name, imatrix string) error {
	if name == "" {
		return nil
	}
	t, err := gguf.ParseType(name)
	if err != nil {
		return fmt.Errorf("--type: %w", err)
	}
	switch {
	case !quant.Supported(t):
		return fmt.Errorf("--type: %v cannot be written", t)
	case quant.NeedsImportance(t) && imatrix == "":
		return fmt.Errorf("--type: %v cannot be made without an importance matrix (--imatrix)", t)
	}
	return nil
}

func (o *mergeOptions) Run(ctx context.Context, s cli.Streams) error {
	opened, err := o.open(s.Err)
	if err != nil {
		return err
	}
	defer opened.Close()
	if err := o.chooseOutput(opened.base); err != nil {
		return err
	}
	if o.report != "" {
		if err := o.CheckOutput("--report", o.report, append(o.inputs(opened.base), o.out)...); err != nil {
			return err
		}
	}
	for i := range opened.adapters {
		opened.adapters[i].Scale *= o.scale
	}
	o.In = s.In
	data, err := o.readEvalData(opened)
	if err != nil {
		return err
	}
	report, err := o.merge(ctx, s, opened)
	if err != nil {
		return err
	}
	if err := o.check(ctx, opened, data, report); err != nil {
		return err
	}
	if o.json {
		err = cli.PrintJSON(s.Out, report)
	} else {
		o.printMerge(s, report)
		o.printVerification(s, report.Verification)
	}
	if o.report != "" {
		err = errors.Join(err, o.writeReport(ctx, opened.base, report))
	}
	if v := report.Verification; err == nil && o.verify && len(v.Tensors) > 0 && !v.Matches {
		err = errDiffers
	}
	return err
}

// errDiffers is the error of a --verify that found a difference from what was trained.
var errDiffers = errors.New("the merged model is not, bit for bit, what the adapter was trained with")

// chooseOutput fills in the default name and checks that it can be written.
func (o *mergeOptions) chooseOutput(base *peft.Base) error {
	if !base.IsGGUF() {
		if o.out == "" {
			o.out = "merged"
		}
		if filepath.Ext(o.out) == ".gguf" {
			return fmt.Errorf("--out: %s is named as a GGUF file, and a Hugging Face base becomes a directory: "+
				"\"peftconv convert\" makes a GGUF file of that", o.out)
		}
		return o.CheckPlace("--out", o.out, o.inputs(base)...)
	}
	if o.out == "" {
		o.out = "merged.gguf"
	}
	return o.CheckOutput("--out", o.out, o.inputs(base)...)
}

// inputs are the files that an output must not replace.
func (m *modelFlags) inputs(base *peft.Base) []string {
	paths := []string{base.Path(), m.latent}
	for _, a := range m.adapters {
		paths = append(paths, a.path)
	}
	return paths
}

func (o *mergeOptions) merge(ctx context.Context, s cli.Streams, opened *opened) (*merge.Report, error) {
	opt := o.options
	if o.calibration != "" {
		set, err := o.Load(o.calibration, []string{peft.SplitTrain}, opened.base)
		if err != nil {
			return nil, err
		}
		defer set.Close()
		opt.Calibration = set
	}
	m := cli.NewMeter(s.Err, cli.InBytes)
	opt.Progress = func(p merge.Progress) { m.Update(p.Bytes, p.Size, p.Tensor) }
	report, err := merge.Run(ctx, opened.base, opened.adapters, o.out, opt)
	m.Stop()
	for _, a := range opened.adapters {
		if err != nil && !opt.Force && peft.CheckBase(a.Adapter, opened.base) != nil {
			return nil, fmt.Errorf("%w (--any-base merges all the same)", err)
		}
	}
	return report, err
}

// writeReport writes the page of a merge whose output is written.
func (o *mergeOptions) writeReport(ctx context.Context, base *peft.Base, r *merge.Report) error {
	var paths []string
	for _, a := range o.adapters {
		paths = append(paths, a.path)
	}
	if err := reporting.WriteMerge(ctx, o.report, paths, base, r); err != nil {
		return fmt.Errorf("%s is written, but not the report %s: %w", o.out, o.report, err)
	}
	return nil
}

// printMerge prints the table, the sum and, where they are due, warnings.
func (o *mergeOptions) printMerge(s cli.Streams, r *merge.Report) {
	table := cli.NewTable(s.Out)
	fmt.Fprint(table, "tensor\ttype\trecovery\terror\n")
	little, noisy := 0, 0
	for _, t := range r.Tensors {
		mark := ""
		switch {
		case t.BitExact:
			fmt.Fprintf(table, "%s\t%s\tbit-exact\t0\n", cli.Name(t.Name), t.Type)
			continue
		case t.Little:
			little++
			mark = "\t  little is left"
		case strings.Contains(t.Rounding, merge.RoundCompensate):
			mark = "\t  compensated"
		case strings.Contains(t.Rounding, merge.RoundDescent): // what matters is what the inputs make of it
			mark = "\t  by descent"
		case strings.Contains(t.Rounding, merge.RoundDither): // the error is large, but the mean is right
			mark = "\t  dithered"
		case t.Noise > 1:
			noisy++
			mark = "\t  drowned in rounding"
		}
		fmt.Fprintf(table, "%s\t%s\t%.3f\t%.3f%s\n", cli.Name(t.Name), t.Type, t.Recovery, t.Noise, mark)
	}
	table.Flush()
	kept := fmt.Sprintf("%.1f %% of the adapter's change is in it", 100*r.Recovery)
	if r.BitExact {
		kept = "bit-exact: the weights are those that the adapter was trained with"
	}
	fmt.Fprintf(s.Out, "\n%s written (%s): %s changed, %d copied as they are; %s\n",
		r.Output, cli.BytesText(cli.PathSize(r.Output)), cli.Plural(len(r.Tensors), "tensor"), r.Copied, kept)
	o.warnRounding(s.Err, little, noisy, len(r.Tensors))
}

// warnRounding warns where rounding to a tensor's type loses much of an adapter.
func (o *mergeOptions) warnRounding(w io.Writer, little, noisy, all int) {
	calibrate, look := "", ""
	if o.calibration == "" {
		calibrate, look = "--calibration TEXT, ", "give --calibration TEXT, or "
	}
	if little > 0 {
		fmt.Fprintf(w, "warning: in %d of %d tensors less than half of the adapter's change is left after rounding: "+
			"the merged file answers much like\nthe base. What keeps more: %straining with --qat, --type Q8_0 (or "+
			"F16), or leaving the adapter apart (peftconv export --to gguf).\n", little, all, calibrate)
	}
	if noisy > 0 {
		fmt.Fprintf(w, "warning: in %d of %d tensors the rounding changed more than the adapter did (error above 1): "+
			"%slook at the merged file with\npeftconv eval before you rely on it.\n", noisy, all, look)
	}
}
