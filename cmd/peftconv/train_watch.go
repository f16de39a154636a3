package main

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/reporting"
	"github.com/peftconv/peftconv/internal/cli/watching"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/train"
)

// addWatching adds the flags of what happens between steps.
func (o *trainOptions) addWatching(fs *pflag.FlagSet) {
	t := &o.train
	fs.IntVar(&t.EvalEvery, "eval-every", 0,
		"measure the loss on the evaluation data every `N` steps; 0 is only before and after")
	fs.IntVar(&t.EarlyStop, "early-stop", 0,
		"end after `N` evaluations in a row that are no better than the best; 0 is never")
	fs.BoolVar(&t.KeepBest, "keep-best", false, "write the adapter of the best evaluation, not that of the last step")
	fs.IntVar(&t.SaveEvery, "save-every", 0,
		"write a checkpoint beside --out every `N` steps; 0 is only when interrupted")
	fs.IntVar(&t.Keep, "keep", 0,
		"keep the last `N` of these under names of their own, after the run too; 0 is one, until the run ends")
	o.watch.Add(fs)
	cli.Detail(fs, "keep")
}

// checkCheckpoints refuses to begin anew where a run could go on.
func (o *trainOptions) checkCheckpoints() error {
	if o.train.Resume != "" || o.Force {
		return nil
	}
	found := train.CheckpointPath(o.train.Out)
	if !cli.Exists(found) {
		steps, err := train.StepCheckpoints(o.train.Out)
		if err != nil || len(steps) == 0 {
			return nil // a directory that cannot be read is refused elsewhere
		}
		found = train.StepCheckpointPath(o.train.Out, steps[len(steps)-1])
	}
	return fmt.Errorf("--out: there is a checkpoint of an interrupted run, %s: --resume %s continues it, --force starts "+
		"from the beginning and replaces it", found, cli.ShellQuote(found))
}

// checkReport checks that the report can be written; the run's own, of before it was resumed, is replaced.
func (o *trainOptions) checkReport(inputs ...string) error {
	if !o.watch.Reports() {
		return nil
	}
	out := o.Output
	out.Force = out.Force || o.train.Resume != ""
	return out.CheckOutput("--out", reporting.Path(o.train.Out), append(inputs, o.train.Out)...)
}

// writeReport writes the report of a run whose adapter is written: an error of it loses nothing but the report.
func (o *trainOptions) writeReport(ctx context.Context, base *peft.Base) error {
	if !o.watch.Reports() {
		return nil
	}
	path := reporting.Path(o.train.Out)
	source := &reporting.Source{Log: o.watch.LogPath(o.train.Out), Adapter: o.train.Out}
	if err := source.Write(ctx, path, base); err != nil {
		return fmt.Errorf("the adapter %s is written, but not the report %s: %w", o.train.Out, path, err)
	}
	return nil
}

// watched completes the options of a run by what shows it.
func (o *trainOptions) watched(s cli.Streams, base *peft.Base, a *peft.Adapter, set, held *peft.Data,
	opt *train.Options) (*watching.Watch, error) {
	run := &watching.Run{
		Base: base, Adapter: a, Data: set, Held: held, HeldIsSample: !o.Holds(), Version: version(), Options: opt,
		Replace: o.Force, Chat: o.Data.Template.Options(),
	}
	for _, source := range o.Sources {
		run.Files = append(run.Files, source.Path)
	}
	if o.Holds() {
		run.HeldFiles = []string{o.EvalPath()}
	}
	return o.watch.Start(s, run)
}
