package files

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/split"
	"github.com/peftconv/peftconv/internal/cli"
)

var joinVerb = cli.Verb{
	Place:  150,
	Name:   "join",
	Args:   "SHARD OUT",
	Models: 1,
	Lean:   true,
	Short:  "make one file of a GGUF model that is split over several",
	Long: `Writes a split model as the single file OUT. SHARD is any of its files; all of them must be in one directory, under
their names. Tensors are copied byte for byte, and the metadata about the split are removed. The result is the file that
"peftconv split" or llama-gguf-split divided.`,
	Examples: []string{"peftconv join parts/model-00001-of-00003.gguf model.gguf"},
	New:      func() cli.Command { return new(joinOptions) },
}

type joinOptions struct {
	cli.Output
	shard, out string
	json       bool
}

func (o *joinOptions) Flags(fs *pflag.FlagSet) {
	o.AddForce(fs)
	fs.BoolVar(&o.json, "json", false, "print what was done as one JSON document")
}

func (o *joinOptions) Validate(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("expected SHARD and OUT, found %s", cli.Plural(len(args), "argument"))
	}
	o.shard, o.out = args[0], args[1]
	return nil
}

func (o *joinOptions) Run(ctx context.Context, s cli.Streams) error {
	f, err := gguf.Open(o.shard)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := o.CheckOutput("OUT", o.out, f.Shards...); err != nil {
		return err
	}
	m := cli.NewCopyMeter(s.Err)
	done, err := split.Join(ctx, f, o.out, m.Update)
	m.Stop()
	if err != nil {
		return err
	}
	if len(done.Ignored) > 0 {
		fmt.Fprintf(s.Err, "warning: files after the first have metadata of their own, which is not in the output: %s\n",
			cli.Line(strings.Join(done.Ignored, ", ")))
	}
	if o.json {
		return cli.PrintJSON(s.Out, done)
	}
	fmt.Fprintf(s.Out, "%s written: %s from %s, %s\n", done.Output, cli.Plural(done.Tensors, "tensor"),
		cli.Plural(len(done.Shards), "file"), cli.BytesText(done.Bytes))
	return nil
}
