package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/quant"
)

var mergeVerb = verb{
	name:  "merge",
	short: "write the base with an adapter in its weights",
	long: `Writes a model whose weights are those of the base plus the changes of one or several adapters. Tensors that an adapter
changes are quantized to the type they have in the base, or to --type. All others are copied byte for byte, and so is the
metadata, in which the merge is recorded.

An adapter that was trained with --qat loses nothing: its tensors are written as training saw them, bit for bit, and
--verify checks it. Other adapters lose small changes when they are rounded to few bits. The table shows for each changed
tensor how much of the change is left (recovery: 1 is all of it, 0 is none) and the error (as a share of the change). With
--eval-data the loss shows what is left of the gain. --calibration names text like that which the model will see, best the
training text of the adapter: weights are then rounded so that their errors cancel in the outputs on that text, which
keeps more.

The base is found through the adapter, which records its path and SHA-256. Another base is refused without --force. A base
in Hugging Face's layout gives a directory.`,
	examples: []string{
		"peftconv merge --lora out.safetensors",
		"peftconv merge --base model.gguf --lora out.safetensors --out tuned.gguf",
		"peftconv merge --lora out.safetensors --calibration train.txt --eval-data valid.txt",
		"peftconv merge --lora style.safetensors:0.7 --lora facts.safetensors --type Q8_0 --out both.gguf",
	},
	new: func() command { return new(mergeOptions) },
}

type mergeOptions struct {
	modelFlags
	dataFlags
	out         string
	scale       float64
	options     peft.MergeOptions
	calibration string
	evalData    string
	verify      bool
	json        bool
}

func (o *mergeOptions) flags(fs *pflag.FlagSet) {
	o.addLora(fs)
	o.addBase(fs, "the model to merge into: a GGUF `FILE` or a Hugging Face directory (default: the one the adapter was trained over)")
	fs.StringVarP(&o.out, "out", "o", "", "the merged model's `FILE` (default: merged.gguf, or merged for a Hugging Face directory)")
	fs.Float64Var(&o.scale, "scale", 1, "multiply the effect of every adapter by `SCALE`")
	fs.StringVar(&o.options.Type, "type", "", "`TYPE` of the changed tensors, for example Q8_0, F16 or F32 (default: each keeps its own)")
	fs.BoolVar(&o.options.Force, "force", false, "merge into another base than the one the adapter was trained over")
	fs.StringVar(&o.options.Rounding, "rounding", peft.RoundAuto, "how a tensor that keeps its type is rounded: `WAY` is requantize, nearest, dither, "+
		"scales, scales+dither, compensate (with --calibration) or auto (what keeps most)")
	fs.StringVar(&o.calibration, "calibration", "", "a `FILE` of text or .jsonl, some of which the base with the adapter reads to measure which errors of "+
		"rounding matter")
	fs.StringVar(&o.options.Imatrix, "imatrix", "", "an importance matrix of the base, a `FILE`, to weight rounding errors")
	o.addThreads(fs)
	fs.BoolVar(&o.json, "json", false, "print the report as one JSON document")
	group(fs, "Checking the result", func() {
		fs.BoolVar(&o.verify, "verify", false, "evaluate the base, the base with the adapter, and the merged model, and compare its tensors with what was trained")
		fs.StringVar(&o.evalData, "eval-data", "", "a `FILE` of text or .jsonl to evaluate on: reports how much of the adapter's gain is kept")
		o.dataFlags.add(fs)
	})
	require(fs, "lora")
}

func (o *mergeOptions) validate(args []string) error {
	if err := noArgs(args); err != nil {
		return err
	}
	if !isFinite(o.scale) {
		return fmt.Errorf("--scale: %v, expected a finite number", o.scale)
	}
	for _, check := range []func() error{
		o.checkCalibration, func() error { return checkType(o.options.Type, o.options.Imatrix) }, o.options.Check, o.dataFlags.check, o.modelFlags.check,
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
	case o.calibration == "" && o.options.Rounding == peft.RoundCompensate:
		return errors.New("--rounding compensate: needs --calibration")
	case o.calibration != "" && o.options.Rounding != peft.RoundCompensate && o.options.Rounding != peft.RoundAuto:
		return fmt.Errorf("--calibration: cannot be combined with --rounding %s, only with compensate and auto", o.options.Rounding)
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

func (o *mergeOptions) run(ctx context.Context, s streams) error {
	opened, err := o.open()
	if err != nil {
		return err
	}
	defer opened.Close()
	if err := o.chooseOutput(opened.base); err != nil {
		return err
	}
	for i := range opened.adapters {
		opened.adapters[i].Scale *= o.scale
	}
	report, err := o.merge(ctx, s, opened)
	if err != nil {
		return err
	}
	if err := o.check(ctx, opened, report); err != nil {
		return err
	}
	if o.json {
		err = printJSON(s.out, report)
	} else {
		printMerge(s, report)
		o.printVerification(s, report.Verification)
	}
	if err == nil && o.verify && !report.Verification.Matches {
		err = errDiffers
	}
	return err
}

// errDiffers is the error of a --verify that found a difference from what was trained.
var errDiffers = errors.New("the merged model is not, bit for bit, what the adapter was trained with")

// chooseOutput fills in the default name and checks that it can be written.
func (o *mergeOptions) chooseOutput(base *peft.Base) error {
	if base.GGUF == nil {
		if o.out == "" {
			o.out = "merged"
		}
		return checkPlace("--out", o.out, o.inputs(base)...)
	}
	if o.out == "" {
		o.out = "merged.gguf"
	}
	return checkOutput("--out", o.out, o.inputs(base)...)
}

// inputs are the files that an output must not replace.
func (m *modelFlags) inputs(base *peft.Base) []string {
	paths := []string{base.Path, m.latent}
	for _, a := range m.adapters {
		paths = append(paths, a.path)
	}
	return paths
}

func (o *mergeOptions) merge(ctx context.Context, s streams, opened *opened) (*peft.MergeReport, error) {
	var m *meter
	opt := o.options
	if o.calibration != "" {
		set, err := o.load(o.calibration, opened.base)
		if err != nil {
			return nil, err
		}
		opt.Calibration = set
	}
	opt.Progress = func(p peft.MergeProgress) {
		if m == nil {
			m = newMeter(s.err, inBytes, p.Size)
		}
		m.update(p.Bytes, p.Tensor)
	}
	report, err := peft.Merge(ctx, opened.base, opened.adapters, o.out, opt)
	m.stop()
	return report, err
}

// printMerge prints the table, the sum and, where they are due, warnings.
func printMerge(s streams, r *peft.MergeReport) {
	table := newTable(s.out)
	fmt.Fprint(table, "tensor\ttype\trecovery\terror\n")
	little, noisy := 0, 0
	for _, t := range r.Tensors {
		mark := ""
		switch {
		case t.BitExact:
			fmt.Fprintf(table, "%s\t%s\tbit-exact\t0\n", printable(t.Name, 0), t.Type)
			continue
		case t.Little:
			little++
			mark = "\t  little is left"
		case t.Rounding == peft.RoundDither || t.Rounding == peft.RoundBoth: // the mean is right, and that is what counts
			mark = "\t  dithered"
		case t.Rounding == peft.RoundCompensate:
			mark = "\t  compensated"
		case t.Noise > 1:
			noisy++
			mark = "\t  drowned in rounding"
		}
		fmt.Fprintf(table, "%s\t%s\t%.3f\t%.3f%s\n", printable(t.Name, 0), t.Type, t.Recovery, t.Noise, mark)
	}
	table.Flush()
	kept := fmt.Sprintf("%.1f %% of the adapter's change is in it", 100*r.Recovery)
	if r.BitExact {
		kept = "bit-exact: the weights are those that the adapter was trained with"
	}
	fmt.Fprintf(s.out, "\n%s written (%s): %s changed, %d copied as they are; %s\n",
		r.Output, bytesText(sizeOf(r.Output)), plural(len(r.Tensors), "tensor"), r.Copied, kept)
	warnRounding(s.err, little, noisy, len(r.Tensors))
}

// warnRounding warns where rounding to a tensor's type loses much of an adapter.
func warnRounding(w io.Writer, little, noisy, all int) {
	if little > 0 {
		fmt.Fprintf(w, "warning: in %d of %d tensors less than half of the adapter's change is left after rounding: the merged file answers much like\n"+
			"the base. What keeps more: training with --qat, --type Q8_0 (or F16), or leaving the adapter apart (peftconv export --to gguf).\n", little, all)
	}
	if noisy > 0 {
		fmt.Fprintf(w, "warning: in %d of %d tensors the rounding changed more than the adapter did (error above 1): look at the merged file with\n"+
			"peftconv eval before you rely on it.\n", noisy, all)
	}
}

// sizeOf is the size of a file, or of the files of a directory.
func sizeOf(path string) int64 {
	files, _ := filepath.Glob(filepath.Join(path, "*"))
	total := int64(0)
	for _, file := range append(files, path) {
		total += fileSize(file)
	}
	return total
}
