package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/names"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/train"
)

// Values of --objective.
const (
	objectiveTokens  = "cross-entropy"
	objectiveDistill = "distill"
)

// teachingFlags are the flags of train for what is learned beside the tokens of the data.
type teachingFlags struct {
	objective    string
	teacher      string
	alpha        float64
	temperature  float64
	top          int
	retain       string
	retainWeight float64
	retainTokens int
}

func (f *teachingFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.objective, "objective", "",
		"`WHAT` is learned: cross-entropy (the tokens of the data) or distill (the probabilities of --teacher, too); "+
			"default: distill with --teacher")
	fs.StringVar(&f.teacher, "teacher", "",
		"learn the probabilities of another `MODEL[+ADAPTER…]` with the same vocabulary, with adapters as --lora takes "+
			"them")
	fs.Float64Var(&f.alpha, "teacher-alpha", train.DefaultAlpha,
		"the `SHARE` in the loss of the divergence from the teacher; the rest is that of the tokens")
	fs.Float64Var(&f.temperature, "teacher-temperature", 1, "divide the logits of teacher and model by `T` in the divergence")
	fs.IntVar(&f.top, "teacher-top", 0,
		"count the teacher's `N` likeliest tokens, and all others as one, and keep them: the teacher then runs in the "+
			"first epoch only (default: the whole vocabulary, in each epoch)")
	fs.StringVar(&f.retain, "retain", "",
		"keep the probabilities that the base has on another text: a `FILE` as --data takes")
	fs.Float64Var(&f.retainWeight, "retain-weight", 1, "`WEIGHT` of the divergence from the base on that text")
	fs.IntVar(&f.retainTokens, "retain-tokens", train.DefaultRetained, "the most `TOKENS` of that text in each step")
	cli.Detail(fs, "objective", "teacher-alpha", "teacher-temperature", "teacher-top", "retain-weight", "retain-tokens")
	cli.Choices(fs, "objective", objectiveTokens, objectiveDistill)
}

// check refuses what does not go together.
func (f *teachingFlags) check(fs *pflag.FlagSet) error {
	switch {
	case f.objective != "" && f.objective != objectiveTokens && f.objective != objectiveDistill:
		return fmt.Errorf("--objective: %q is not known, expected %s or %s", f.objective, objectiveTokens, objectiveDistill)
	case f.objective == objectiveDistill && f.teacher == "":
		return errors.New("--objective distill: needs --teacher")
	case f.objective == objectiveTokens && f.teacher != "":
		return errors.New("--teacher: is for --objective distill, not for cross-entropy")
	case !(f.alpha > 0 && f.alpha <= 1):
		return fmt.Errorf("--teacher-alpha: %v, expected above 0 and at most 1", f.alpha)
	case !(f.temperature > 0) || !cli.IsFinite(f.temperature):
		return fmt.Errorf("--teacher-temperature: %v, expected more than 0", f.temperature)
	case f.top < 0:
		return fmt.Errorf("--teacher-top: %d, expected 0 (the whole vocabulary) or more", f.top)
	case !(f.retainWeight > 0) || !cli.IsFinite(f.retainWeight):
		return fmt.Errorf("--retain-weight: %v, expected more than 0", f.retainWeight)
	case f.retainTokens < 2:
		return fmt.Errorf("--retain-tokens: %d, expected 2 or more", f.retainTokens)
	}
	for _, needs := range []struct{ flag, other, value string }{
		{"teacher-alpha", "teacher", f.teacher}, {"teacher-temperature", "teacher", f.teacher},
		{"teacher-top", "teacher", f.teacher},
		{"retain-weight", "retain", f.retain},
		{"retain-tokens", "retain", f.retain},
	} {
		if needs.value == "" && fs.Changed(needs.flag) {
			return fmt.Errorf("--%s: needs --%s", needs.flag, needs.other)
		}
	}
	return nil
}

// teacherParts are the model and the adapters that --teacher names. A plus that belongs to a file's name stays in it.
func teacherParts(value string) (model string, adapters []string) {
	if cli.Exists(value) {
		return value, nil
	}
	parts := strings.Split(value, "+")
	return parts[0], parts[1:]
}

// inputs are the files that are read.
func (f *teachingFlags) inputs() []string {
	model, adapters := teacherParts(f.teacher)
	return append(adapters, model, f.retain)
}

// open opens the teacher and sets the options of the library. closed gives up what was opened.
func (f *teachingFlags) open(o *trainOptions, w io.Writer, base *peft.Base, adapter *peft.Adapter,
	opt *train.Options) (closed func(), err error) {
	closed = func() {}
	if f.teacher != "" {
		model, adapters := teacherParts(f.teacher)
		path, err := names.Resolve(model)
		if err != nil {
			return closed, fmt.Errorf("--teacher: %w", err)
		}
		flags := modelFlags{base: path, loras: adapters, threads: o.threads}
		if err := flags.check(); err != nil {
			return closed, fmt.Errorf("--teacher: %w", err)
		}
		opened, err := flags.open(w)
		if err != nil {
			return closed, fmt.Errorf("--teacher: %w", err)
		}
		closed = func() { opened.Close() }
		opt.Teacher = &train.Teacher{Base: opened.base, Adapters: opened.adapters, Alpha: f.alpha,
			Temperature: f.temperature, Top: f.top}
		fmt.Fprintf(w, "teacher  %s: %s, %.4g of the loss at temperature %.4g\n", cli.Line(f.teacher),
			opened.base.Architecture(), f.alpha, f.temperature)
	}
	if f.retain != "" {
		data, err := o.Load(f.retain, []string{peft.SplitTrain}, base, adapter)
		if err != nil {
			closed()
			return func() {}, fmt.Errorf("--retain: %w", err)
		}
		before := closed
		closed = func() { data.Close(); before() }
		opt.Retain = &train.Retention{Data: data, Weight: f.retainWeight, Tokens: f.retainTokens}
		fmt.Fprintf(w, "retain   %s: %s, %s, up to %d a step, weight %.4g\n", cli.Line(f.retain),
			cli.Plural(data.Len(), "example"), cli.Plural(data.Tokens(), "token"), f.retainTokens, f.retainWeight)
	}
	return closed, nil
}
