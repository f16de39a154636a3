package main

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/chatting"
	"github.com/peftconv/peftconv/peft/generate"
)

func init() { register(&generateVerb) }

var generateVerb = cli.Verb{
	Place: 50,
	Name:  "generate",
	Short: "continue a prompt, with adapters or without",
	Long: `Continues a prompt and prints the text as it is generated. The prompt is used as written: special tokens in it count as
such, no chat template is applied, and BOS is added in front where the vocabulary says so. Temperature 0 always takes
the likeliest token; any other samples, with --seed, from the tokens that --top-k, --top-p and --min-p leave.

With --chat the prompt is a message of a conversation in the model's chat template, and the answer ends where the
model ends its turn. Without a prompt each line of standard input is a message: on a terminal, a conversation.`,
	Examples: []string{
		"peftconv generate --base model.gguf --prompt 'Once upon a time' --temperature 0",
		"peftconv generate --base model.gguf --lora out.safetensors --prompt 'The sky is blue because' -n 200",
		"peftconv generate --lora out.safetensors --file prompt.txt --json",
		"peftconv generate --base model.gguf --lora out.safetensors --chat --system 'Be brief.'",
	},
	New: func() cli.Command { return new(generateOptions) },
}

type generateOptions struct {
	modelFlags
	promptFlags
	prompt  chatting.Prompt
	talk    chatting.Talk
	options generate.Options
	json    bool
}

func (o *generateOptions) Flags(fs *pflag.FlagSet) {
	o.addBase(fs, baseHelp+" (default: the one the first adapter was trained over)")
	o.addLora(fs)
	o.prompt.Add(fs)
	o.addPrompt(fs)
	chatting.AddSampling(fs, &o.options)
	o.prompt.AddDisplay(fs)
	o.talk.Add(fs)
	o.addThreads(fs)
	fs.BoolVar(&o.json, "json", false, "print text, token ids and speed as one JSON document at the end")
}

func (o *generateOptions) Validate(args []string) error {
	if len(args) > 0 {
		return cli.NoArgs(args)
	}
	if err := o.prompt.Check(o.talk.On); err != nil {
		return err
	}
	if err := chatting.CheckSampling(&o.options); err != nil {
		return err
	}
	if err := o.talk.Check(); err != nil {
		return err
	}
	return o.check()
}

func (o *generateOptions) Run(ctx context.Context, s cli.Streams) error {
	prompt, err := o.prompt.Read(s.In)
	if err != nil {
		return err
	}
	if prompt, err = o.fill(prompt); err != nil {
		return err
	}
	opened, err := o.open(s.Err)
	if err != nil {
		return err
	}
	defer opened.Close()
	if o.talk.On {
		return o.talk.Run(ctx, s, opened.base, opened.adapters, prompt, o.options, o.json)
	}
	return o.prompt.Continue(ctx, s, opened.base, opened.adapters, prompt, o.options, o.json)
}
