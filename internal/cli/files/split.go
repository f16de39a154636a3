package files

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/split"
	"github.com/peftconv/peftconv/internal/cli"
)

var splitVerb = cli.Verb{
	Place:  140,
	Name:   "split",
	Args:   "FILE PREFIX",
	Models: 1,
	Lean:   true,
	Short:  "divide a GGUF model among several files",
	Long: `Divides the model in FILE, a .gguf file or one of several that belong together, among files that are named
PREFIX-00001-of-00003.gguf and so on. llama.cpp and others open the model from the first of them; the names, the split.*
metadata and the division are those of llama-gguf-split. Tensors are copied byte for byte, in their order.

Either --max-tensors or --max-size limits each file. The files get their names together at the end, the first one last,
so the files of a killed run cannot be mistaken for a model. "peftconv join" restores the single file.`,
	Examples: []string{
		"peftconv split model.gguf parts/model --max-size 2G",
		"peftconv split model.gguf model --max-tensors 128 --dry-run",
	},
	New: func() cli.Command { return new(splitOptions) },
}

type splitOptions struct {
	cli.Output
	file, prefix string
	options      split.Options
	maxSize      cli.SizeFlag
	dryRun       bool
	json         bool
}

func (o *splitOptions) Flags(fs *pflag.FlagSet) {
	fs.IntVar(&o.options.MaxTensors, "max-tensors", 0, "the most tensors that a file gets: `N`")
	fs.Var(&o.maxSize, "max-size", "the most `BYTES` of tensor data that a file gets: 500M, 2G (thousands), 2GiB; "+
		"a larger tensor gets a file of its own")
	fs.BoolVar(&o.options.EmptyFirst, "no-tensor-first", false, "put the metadata alone into the first file")
	fs.BoolVar(&o.dryRun, "dry-run", false, "say what the files would be, and write nothing")
	o.AddForce(fs)
	fs.BoolVar(&o.json, "json", false, "print the list of files as one JSON document")
}

func (o *splitOptions) Validate(args []string) error {
	switch {
	case len(args) != 2:
		return fmt.Errorf("expected FILE and PREFIX, found %s", cli.Plural(len(args), "argument"))
	case o.options.MaxTensors < 0:
		return fmt.Errorf("--max-tensors: %d, expected 1 or more", o.options.MaxTensors)
	case o.options.MaxTensors == 0 && o.maxSize == 0:
		return errors.New("missing required flag --max-tensors or --max-size")
	case o.options.MaxTensors > 0 && o.maxSize > 0:
		return errors.New("--max-tensors and --max-size: one of them, not both")
	}
	o.options.MaxBytes = int64(o.maxSize)
	o.file, o.prefix = args[0], strings.TrimSuffix(args[1], ".gguf")
	if o.prefix == "" {
		return errors.New("PREFIX is empty")
	}
	return nil
}

// splitReport is the document that --json prints.
type splitReport struct {
	File    string        `json:"file"`
	Written bool          `json:"written"`
	Shards  []split.Shard `json:"shards"`
}

func (o *splitOptions) Run(ctx context.Context, s cli.Streams) error {
	f, err := gguf.Open(o.file)
	if err != nil {
		return err
	}
	defer f.Close()
	plan, err := split.NewPlan(f, o.prefix, o.options)
	if err != nil {
		return fmt.Errorf("%s: %w", o.file, err)
	}
	if !o.dryRun {
		if err := o.write(ctx, s, plan); err != nil {
			return err
		}
	}
	if o.json {
		return cli.PrintJSON(s.Out, splitReport{o.file, !o.dryRun, plan.Shards})
	}
	o.print(s, plan)
	return nil
}

func (o *splitOptions) write(ctx context.Context, s cli.Streams, plan *split.Plan) error {
	if err := o.CheckPlace("PREFIX", plan.Shards[0].Path, o.file); err != nil {
		return err
	}
	if path := plan.Existing(); path != "" && !o.Force {
		return fmt.Errorf("%s is there already: choose another prefix, or replace it with --force", path)
	}
	m := cli.NewCopyMeter(s.Err)
	defer m.Stop()
	return plan.Write(ctx, m.Update)
}

func (o *splitOptions) print(s cli.Streams, plan *split.Plan) {
	table := cli.NewTable(s.Out)
	total := int64(0)
	for _, shard := range plan.Shards {
		total += shard.Bytes
		fmt.Fprintf(table, "%s\t%s\t%s\n", shard.Path, cli.Plural(shard.Tensors, "tensor"), cli.BytesText(shard.Bytes))
	}
	table.Flush()
	if o.dryRun {
		fmt.Fprintf(s.Out, "\nnothing written: %s of %s in all\n", cli.Plural(len(plan.Shards), "file"), cli.BytesText(total))
		return
	}
	fmt.Fprintf(s.Out, "\n%s written, %s in all; the model opens from %s\n", cli.Plural(len(plan.Shards), "file"),
		cli.BytesText(total), filepath.Base(plan.Shards[0].Path))
}
