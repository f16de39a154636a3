package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/watching"
	"github.com/peftconv/peftconv/internal/demo"
	"github.com/peftconv/peftconv/peft/train"
)

func init() { register(&demoVerb) }

var demoVerb = cli.Verb{
	Place: 10,
	Name:  "demo",
	Short: "train, evaluate, merge and generate on a built-in model",
	Long: `Shows the main features on a built-in model and built-in data. It trains a LoRA; evaluates the base, the base with the
adapter, and the merged file on held-out data; exports the adapter for llama.cpp and for PEFT; and prints what the model
writes before and after. It takes less than two minutes on two cores. It needs no files, and keeps files only with
--dir. At the end it prints the commands for your own files.`,
	Examples: []string{
		"peftconv demo",
		"peftconv demo --dir demo",
	},
	New: func() cli.Command { return new(demoOptions) },
}

type demoOptions struct {
	cli.Output
	options demo.Options
}

func (o *demoOptions) Flags(fs *pflag.FlagSet) {
	fs.StringVar(&o.options.Dir, "dir", "",
		"keep the model, the data and all results in this `DIRECTORY` (default: a temporary one that is removed)")
	fs.IntVarP(&o.options.Steps, "steps", "n", 0, "`N` training steps; 0 is what takes about a minute on two cores")
	o.AddForce(fs)
	fs.Uint64Var(&o.options.Seed, "seed", 0, "`SEED` of the adapter's initialization and of the order of the data")
	fs.IntVarP(&o.options.Threads, "threads", "t", 0,
		"`N` threads to compute with; 0 is one for each processor; the results are the same for any N")
}

func (o *demoOptions) Validate(args []string) error {
	switch {
	case o.options.Steps < 0:
		return fmt.Errorf("--steps: %d, expected 0 or more", o.options.Steps)
	case o.options.Threads < 0:
		return fmt.Errorf("--threads: %d, expected 0 or more", o.options.Threads)
	}
	return cli.NoArgs(args)
}

func (o *demoOptions) Run(ctx context.Context, s cli.Streams) error {
	if o.options.Dir != "" {
		if err := o.CheckPlace("--dir", filepath.Clean(o.options.Dir)); err != nil {
			return err
		}
	}
	m := cli.NewMeter(s.Err, "step")
	o.options.Observer = train.OnStep(func(p train.Progress) {
		m.Update(int64(p.Step), int64(p.Steps), watching.StepNote(p, p.Loss))
		if p.Step == p.Steps {
			m.Stop()
		}
	})
	_, err := demo.Run(ctx, o.options, s.Out)
	m.Stop()
	return err
}
