package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/shards"
)

var joinVerb = verb{
	name:  "join",
	args:  "SHARD OUT",
	short: "make one file of a GGUF model that is split over several",
	long: `Writes a split model as the single file OUT. SHARD is any of its files; all of them must be in one directory, under their
names. Tensors are copied byte for byte, and the metadata about the split are removed. The result is the file that
"peftconv split" or llama-gguf-split divided.`,
	examples: []string{"peftconv join parts/model-00001-of-00003.gguf model.gguf"},
	new:      func() command { return new(joinOptions) },
}

type joinOptions struct {
	shard, out string
	json       bool
}

func (o *joinOptions) flags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.json, "json", false, "print what was done as one JSON document")
}

func (o *joinOptions) validate(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("expected SHARD and OUT, found %s", plural(len(args), "argument"))
	}
	o.shard, o.out = args[0], args[1]
	return nil
}

func (o *joinOptions) run(ctx context.Context, s streams) error {
	f, err := gguf.Open(o.shard)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := checkOutput("OUT", o.out, f.Shards...); err != nil {
		return err
	}
	m := copyMeter{w: s.err}
	done, err := shards.Join(ctx, f, o.out, m.update)
	m.stop()
	if err != nil {
		return err
	}
	if len(done.Ignored) > 0 {
		fmt.Fprintf(s.err, "warning: files after the first have metadata of their own, which is not in the output: %s\n",
			printable(strings.Join(done.Ignored, ", "), 0))
	}
	if o.json {
		return printJSON(s.out, done)
	}
	fmt.Fprintf(s.out, "%s written: %s from %s, %s\n", done.Output, plural(done.Tensors, "tensor"),
		plural(len(done.Shards), "file"), bytesText(done.Bytes))
	return nil
}
