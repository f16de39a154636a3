package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/report"
)

func init() { register(&inspectVerb) }

var inspectVerb = cli.Verb{
	Place:  130,
	Name:   "inspect",
	Args:   "FILE",
	Models: 1,
	Lean:   true,
	Short:  "what is in a GGUF or safetensors file: metadata, tensors, types",
	Long: `Shows what is in FILE, a model or an adapter: a .gguf or .safetensors file, a .safetensors.index.json, or a directory
in Hugging Face's layout. It prints the metadata and, for each type of tensor, how many weights and bytes there are;
--tensors adds the table of tensors. Shapes are printed as the file has them: the fastest dimension comes first in
GGUF, last in safetensors. Offsets count bytes from the beginning of the file's tensor data.`,
	Examples: []string{
		"peftconv inspect model.gguf",
		"peftconv inspect out.safetensors --tensors",
		"peftconv inspect model.gguf --key tokenizer.chat_template",
		"peftconv inspect model.gguf --json | jq '.tensors[] | select(.type == \"Q4_K\") | .name'",
	},
	New: func() cli.Command { return new(inspectOptions) },
}

type inspectOptions struct {
	file    string
	json    bool
	tensors bool
	key     string
}

func (o *inspectOptions) Flags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.tensors, "tensors", false, "list every tensor with its type, shape, offset and size")
	fs.StringVar(&o.key, "key", "", "print the whole value of one metadata `KEY` and nothing else")
	fs.BoolVar(&o.json, "json", false, "print one JSON document, always with all tensors")
}

func (o *inspectOptions) Validate(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("expected one FILE, found %d arguments", len(args))
	}
	o.file = args[0]
	if o.json && o.key != "" {
		return errors.New("--key: prints one value and cannot be combined with --json")
	}
	return nil
}

func (o *inspectOptions) Run(_ context.Context, s cli.Streams) error {
	found, closer, err := report.OpenInspection(o.file)
	if err != nil {
		return err
	}
	defer closer.Close()
	switch {
	case o.json:
		return cli.PrintJSON(s.Out, found)
	case o.key != "":
		return found.PrintKey(s.Out, o.key)
	}
	found.Print(s.Out, o.tensors)
	return nil
}
