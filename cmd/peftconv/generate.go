package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

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
	talk         chatting.Talk
	options      generate.Options
	prompt, file string
	noPrompt     bool
	json         bool
}

func (o *generateOptions) Flags(fs *pflag.FlagSet) {
	o.addBase(fs, baseHelp+" (default: the one the first adapter was trained over)")
	o.addLora(fs)
	fs.StringVarP(&o.prompt, "prompt", "p", "", "the `TEXT` to continue")
	fs.StringVarP(&o.file, "file", "f", "", "read the prompt from a `FILE`; - is the standard input")
	o.addPrompt(fs)
	chatting.AddSampling(fs, &o.options)
	fs.BoolVar(&o.noPrompt, "no-display-prompt", false, "print only what is generated")
	o.talk.Add(fs)
	o.addThreads(fs)
	fs.BoolVar(&o.json, "json", false, "print text, token ids and speed as one JSON document at the end")
}

func (o *generateOptions) Validate(args []string) error {
	switch {
	case len(args) > 0:
		return cli.NoArgs(args)
	case o.prompt == "" && o.file == "" && !o.talk.On:
		return errors.New("missing required flag --prompt (or --file)")
	case o.prompt != "" && o.file != "":
		return errors.New("--prompt and --file: one of them, not both")
	}
	if err := chatting.CheckSampling(&o.options); err != nil {
		return err
	}
	if err := o.talk.Check(); err != nil {
		return err
	}
	return o.check()
}

// readPrompt is the prompt of --prompt or --file.
func (o *generateOptions) readPrompt(stdin io.Reader) (string, error) {
	var data []byte
	var err error
	switch o.file {
	case "":
		return o.prompt, nil
	case "-":
		data, err = io.ReadAll(stdin)
	default:
		data, err = os.ReadFile(o.file)
	}
	if err != nil {
		return "", fmt.Errorf("--file: %w", err)
	}
	return strings.TrimSuffix(string(data), "\n"), nil
}

func (o *generateOptions) Run(ctx context.Context, s cli.Streams) error {
	prompt, err := o.readPrompt(s.In)
	if err != nil {
		return err
	}
	if prompt, err = o.fill(prompt); err != nil {
		return err
	}
	opened, err := o.open()
	if err != nil {
		return err
	}
	defer opened.Close()
	if o.talk.On {
		return o.talk.Run(ctx, s, opened.base, opened.adapters, prompt, o.options, o.json)
	}
	if o.json {
		r, err := generate.Run(ctx, opened.base, opened.adapters, prompt, o.options, nil)
		if err != nil {
			return err
		}
		return cli.PrintJSON(s.Out, r)
	}
	if !o.noPrompt {
		fmt.Fprint(s.Out, prompt)
	}
	r, err := generate.Run(ctx, opened.base, opened.adapters, prompt, o.options, func(piece string) {
		io.WriteString(s.Out, piece)
	})
	fmt.Fprintln(s.Out)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Err, "%s after a prompt of %d, %.1f tokens/s\n", cli.Plural(r.Tokens, "token"), r.PromptTokens,
		r.TokensPerSecond)
	return nil
}
