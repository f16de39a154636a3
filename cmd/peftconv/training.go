package main

import (
	"fmt"
	"slices"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/peft/train"
)

// trainingFlags are the flags that every training has, of one method or of several.
type trainingFlags struct {
	train    train.Options
	warmup   float64
	training *pflag.FlagSet // they are in it
}

func (o *trainingFlags) addCommon(fs *pflag.FlagSet) {
	t := &o.train
	o.training = fs
	fs.IntVarP(&t.Epochs, "epochs", "e", 0, "`N` passes over the data; 0 is 1, or as many as --steps take")
	fs.IntVarP(&t.Steps, "steps", "n", 0, "`N` optimizer steps; 0 is as many as --epochs take")
	fs.IntVar(&t.BatchTokens, "batch-tokens", 2048, "the most `TOKENS` of a packed batch: whole examples, end to end")
	fs.IntVar(&t.MicroBatch, "micro-batch-tokens", 0,
		"the most `TOKENS` that go through the model at once: the gradients of a batch's parts are added up; 0 is all, or "+
			"fewer where that takes more than 4 GB")
	fs.BoolVar(&t.NoPacking, "no-packing", false, "give each example a batch of its own, whatever --batch-tokens is")
	fs.IntVar(&t.Accumulate, "accumulate", 1, "accumulate gradients over `N` batches for each optimizer step")
	fs.StringVar(&t.Schedule, "schedule", train.ScheduleLinear,
		"`SCHEDULE` of the learning rate: constant, linear or cosine, the last two down to 0")
	fs.Float64Var(&o.warmup, "warmup", 0,
		"`STEPS` in which the rate rises from 0; a value below 1 is a share of all steps")
	fs.Float64Var(&t.WeightDecay, "weight-decay", 0,
		"AdamW's `DECAY` of the adapter's weights for each step, times the learning rate; where it is not given, 0, but 4 or "+
			"1 with --qat auto, if there is neither --retain nor --teacher")
	fs.Float64Var(&t.Clip, "clip", 1, "scale gradients down to this `NORM`; 0 is never")
	fs.Uint64Var(&t.Seed, "seed", 42, "`SEED` of the adapter's start, of the order of the data and of dropout")
	fs.StringVar(&t.Recompute, "recompute", train.RecomputeAuto,
		"compute activations again in the backward pass: `WHEN` is always (the least memory), never (the least "+
			"time) or auto (never, where they take less than half of the free memory); the results are the same")
	fs.StringVar(&t.Precision, "precision", train.PrecisionAuto, "`PRECISION` of the products with frozen weights: "+
		"f32, bf16, int8 or auto, which is int8 over quantized weights where the processor has instructions for it, the "+
		"rate is not high and a check before the first step finds little harm, and else bf16 where that is faster, or "+
		"f32; what --qat scale and row learn from is rounded alike (f32: to bf16 where that is faster); everything else, "+
		"and evaluation, is float32")
	fs.BoolVar(&t.IgnoreMemory, "ignore-memory", false, "start even if there is too little memory")
	cli.Detail(fs, "micro-batch-tokens", "accumulate", "schedule", "warmup", "weight-decay", "clip", "recompute",
		"precision", "ignore-memory")
	cli.Choices(fs, "schedule", train.ScheduleConstant, train.ScheduleLinear, train.ScheduleCosine)
	cli.Choices(fs, "recompute", train.RecomputeAuto, train.RecomputeAlways, train.RecomputeNever)
	cli.Choices(fs, "precision", train.PrecisionAuto, train.PrecisionF32, train.PrecisionBF16, train.PrecisionInt8)
}

func (o *trainingFlags) checkCommon() error {
	t := &o.train
	switch {
	case t.BatchTokens < 2:
		return fmt.Errorf("--batch-tokens: %d, expected 2 or more", t.BatchTokens)
	case t.MicroBatch < 0:
		return fmt.Errorf("--micro-batch-tokens: %d, expected 1 or more, or 0 to have it chosen", t.MicroBatch)
	case t.Accumulate < 1:
		return fmt.Errorf("--accumulate: %d, expected 1 or more", t.Accumulate)
	case !slices.Contains([]string{train.ScheduleConstant, train.ScheduleLinear, train.ScheduleCosine}, t.Schedule):
		return fmt.Errorf("--schedule: %q is not known, expected constant, linear or cosine", t.Schedule)
	case !slices.Contains([]string{train.RecomputeAuto, train.RecomputeAlways, train.RecomputeNever}, t.Recompute):
		return fmt.Errorf("--recompute: %q is not known, expected auto, always or never", t.Recompute)
	case !(o.warmup >= 0) || !cli.IsFinite(o.warmup):
		return fmt.Errorf("--warmup: %v, expected steps, or a share of all steps below 1", o.warmup)
	case !(t.WeightDecay >= 0) || !cli.IsFinite(t.WeightDecay):
		return fmt.Errorf("--weight-decay: %v, expected 0 or more", t.WeightDecay)
	case !(t.Clip >= 0) || !cli.IsFinite(t.Clip):
		return fmt.Errorf("--clip: %v, expected 0 or more", t.Clip)
	}
	if _, err := train.ParsePrecision(t.Precision); err != nil {
		return fmt.Errorf("--precision: %w", err)
	}
	return nil
}

// common are the library's options, with the warm-up as steps or as a share of them.
func (o *trainingFlags) common() train.Options {
	opt := o.train
	if o.warmup < 1 {
		opt.WarmupRatio = o.warmup
	} else {
		opt.Warmup = int(o.warmup)
	}
	if opt.Clip == 0 {
		opt.Clip = -1 // never, which is not the option's default
	}
	if opt.WeightDecay == 0 && o.training.Changed("weight-decay") {
		opt.WeightDecay = -1 // likewise
	}
	return opt
}
