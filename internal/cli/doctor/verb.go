package doctor

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/train"
)

// Run is a training run with the default flags, before its first step.
type Run struct {
	Base           *peft.Base
	Adapter        *peft.Adapter
	Data, EvalData *peft.Data // nil where there are none
	SeqLen         int        // tokens of an example of text
	Options        train.Options
}

// Close closes the base and the data.
func (r *Run) Close() error {
	return errors.Join(r.Data.Close(), r.EvalData.Close(), r.Base.Close())
}

// Prepare makes the run that train would make of a model and of data, "" for none. Where the model cannot be trained,
// there is no run beside the error.
type Prepare func(ctx context.Context, s cli.Streams, model, data string) (*Run, error)

// Verb is the verb of this package, in a program of that version.
func Verb(version string, prepare Prepare) *cli.Verb {
	return &cli.Verb{
		Place:  195,
		Name:   "doctor",
		Args:   "[MODEL]",
		Models: 1,
		Short:  "what of this machine would be used, and whether a model can be trained on it",
		Long: `Shows what peftconv finds on this machine and would use: the processor's instructions, and why no better kernels are
used; threads, measured peaks, memory with its limits, free disks, and the variables that are set. Warnings say what is
likely to disappoint.

With MODEL it also says whether the architecture, the tokenizer and the types of the weights are supported, and whether
training fits into the memory that is available: with the default flags of train, and with flags that need less. With
--data it does the first step of such a training, and estimates how long one pass over the file takes.

Exit status 1 says that MODEL cannot be trained here with the default flags.`,
		Examples: []string{
			"peftconv doctor",
			"peftconv doctor model.gguf",
			"peftconv doctor model.gguf --data notes.txt",
			"peftconv doctor --json --quick",
		},
		New: func() cli.Command { return &options{version: version, prepare: prepare} },
	}
}

type options struct {
	version     string
	prepare     Prepare
	model, data string
	quick, json bool
}

func (o *options) Flags(fs *pflag.FlagSet) {
	fs.StringVarP(&o.data, "data", "d", "", "estimate the time of one pass over a `FILE` of training data")
	fs.BoolVar(&o.quick, "quick", false, "leave out the peaks, which take two seconds to measure")
	fs.BoolVar(&o.json, "json", false, "print one JSON document")
}

func (o *options) Validate(args []string) error {
	switch {
	case len(args) > 1:
		return fmt.Errorf("expected one MODEL, found %s", cli.Plural(len(args), "argument"))
	case len(args) == 0 && o.data != "":
		return errors.New("--data: needs a MODEL, to be read with its tokenizer")
	case len(args) == 1:
		o.model = args[0]
	}
	return nil
}

func (o *options) Run(ctx context.Context, s cli.Streams) error {
	var model *Model
	if o.model != "" {
		var err error
		if model, err = Read(o.model); err != nil {
			return err
		}
	}
	r := Examine(o.version, !o.quick)
	if r.Model = model; model != nil {
		if err := o.examine(ctx, s, model); err != nil {
			return err
		}
	}
	if o.json {
		if err := cli.PrintJSON(s.Out, r); err != nil {
			return err
		}
	} else {
		r.Print(s.Out)
	}
	if model != nil && model.Fails() {
		return &cli.StatusError{Status: cli.ExitError}
	}
	return nil
}

// examine opens the model as train does.
func (o *options) examine(ctx context.Context, s cli.Streams, m *Model) error {
	run, err := o.prepare(ctx, s, o.model, o.data)
	if run == nil {
		m.Problem = cli.ErrorText(err)
		return nil
	}
	defer run.Close()
	if err != nil {
		return err
	}
	m.Opened(run.Base)
	data := run.Data
	if data == nil {
		data = sample(run)
	}
	err = m.plan(func(change func(*train.Options)) (*train.Memory, error) {
		changed := run.Options
		change(&changed)
		return train.PlanMemory(run.Base, run.Adapter, data, changed)
	})
	if err != nil || run.Data == nil || m.Fails() {
		return err
	}
	fmt.Fprintln(s.Err, "measuring the first step")
	trial, err := train.Try(ctx, run.Base, run.Adapter, data, run.Options)
	m.Epoch = &Epoch{o.data, trial}
	return err
}

// sample is as many tokens as a batch of the default flags has, for a plan without data. Which tokens they are does not
// matter to it.
func sample(r *Run) *peft.Data {
	length := r.SeqLen
	if n := r.Base.ContextLength(); n > 1 {
		length = min(length, n)
	}
	examples := make([]peft.Example, max(1, r.Options.BatchTokens/length))
	for i := range examples {
		examples[i].IDs = make([]int32, length)
	}
	return peft.NewData(examples)
}
