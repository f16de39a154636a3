package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/input"
	"github.com/peftconv/peftconv/internal/preview"
	"github.com/peftconv/peftconv/peft"
)

func init() { register(&dataVerb) }

var dataVerb = cli.Verb{
	Place: 15,
	Name:  "data",
	Short: "show training data as the model sees it, and what of it is learned",
	Long: `Prints examples of training data as the model sees them: conversations in the chat template, with the tokens that are
learned in colour (between ⟦ and ⟧ where there are no colours), how many tokens carry loss, how long the examples are,
and what was cut and refused. The flags are those of train. Without --base, conversations are shown in --chat-template
as texts, without tokens.`,
	Examples: []string{
		"peftconv data --base model.gguf --data chat.jsonl",
		"peftconv data --base model.gguf --data chat.jsonl --train-on last --seq-len 2048 --show 10",
		"peftconv data --chat-template template.jinja --data chat.jsonl --json",
	},
	New: func() cli.Command { return new(dataOptions) },
}

type dataOptions struct {
	modelFlags
	input.Data
	data string
	show int
	json bool
}

func (o *dataOptions) Flags(fs *pflag.FlagSet) {
	o.addBase(fs, baseHelp+" (default: none; then --chat-template is needed)")
	o.addLora(fs)
	fs.StringVarP(&o.data, "data", "d", "", "what to show, a `FILE`: "+input.Kinds)
	fs.IntVar(&o.show, "show", 3, "print `N` examples, evenly spread over all; 0 is none")
	fs.BoolVar(&o.json, "json", false, "print one JSON object for each example")
	o.Data.Add(fs)
	o.AddPromptTemplate(fs)
	cli.Require(fs, "data")
}

func (o *dataOptions) Validate(args []string) error {
	switch {
	case len(args) > 0:
		return cli.NoArgs(args)
	case o.show < 0:
		return fmt.Errorf("--show: %d, expected 0 or more", o.show)
	case o.base == "" && len(o.loras) == 0 && o.ChatTemplate == "":
		return errors.New("missing required flag --base (or --chat-template, to show conversations as texts)")
	}
	o.SkipRefused = true // they are reported
	if err := o.Data.Check(); err != nil || o.base == "" && len(o.loras) == 0 {
		return err
	}
	return o.modelFlags.check()
}

func (o *dataOptions) Run(ctx context.Context, s cli.Streams) error {
	o.In, o.Err, o.Stop = s.In, s.Err, ctx.Err
	if o.base == "" && len(o.loras) == 0 {
		p, err := o.Texts(o.data)
		if err != nil {
			return err
		}
		return p.Print(s.Out, s.Err, o.show, o.json)
	}
	opened, err := o.open(s.Err)
	if err != nil {
		return err
	}
	defer opened.Close()
	var adapters []*peft.Adapter
	for _, a := range opened.adapters {
		adapters = append(adapters, a.Adapter)
	}
	set, err := o.Load(o.data, []string{peft.SplitTrain}, opened.base, adapters...)
	if err != nil {
		return err
	}
	defer set.Close()
	return preview.Of(opened.base, set).Print(s.Out, s.Err, o.show, o.json)
}
