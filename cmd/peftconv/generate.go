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
	"github.com/peftconv/peftconv/peft/generate"
)

func init() { register(&generateVerb) }

var generateVerb = cli.Verb{
	Place: 50,
	Name:  "generate",
	Short: "continue a prompt, with adapters or without",
	Long: `Continues a prompt and prints the text as it is generated. The prompt is used as written: special tokens in it count as
such, no chat template is applied, and BOS is added in front where the vocabulary says so. Temperature 0 always takes
the likeliest token; any other samples, with --seed, from the tokens that --top-k and --top-p leave.`,
	Examples: []string{
		"peftconv generate --base model.gguf --prompt 'Once upon a time' --temperature 0",
		"peftconv generate --base model.gguf --lora out.safetensors --prompt 'The sky is blue because' -n 200",
		"peftconv generate --lora out.safetensors --file prompt.txt --json",
	},
	New: func() cli.Command { return new(generateOptions) },
}

type generateOptions struct {
	modelFlags
	promptFlags
	options      generate.Options
	prompt, file string
	noPrompt     bool
	json         bool
}

func (o *generateOptions) Flags(fs *pflag.FlagSet) {
	g := &o.options
	o.addBase(fs, baseHelp+" (default: the one the first adapter was trained over)")
	o.addLora(fs)
	fs.StringVarP(&o.prompt, "prompt", "p", "", "the `TEXT` to continue")
	fs.StringVarP(&o.file, "file", "f", "", "read the prompt from a `FILE`; - is the standard input")
	o.addPrompt(fs)
	fs.IntVarP(&g.N, "n", "n", 128, "the most `TOKENS` to generate")
	fs.Float64Var(&g.Temperature, "temperature", 0.8,
		"sampling temperature `T`: 0 always takes the likeliest token, 1 samples by the model's probabilities")
	fs.IntVar(&g.TopK, "top-k", 40, "sample from the `K` likeliest tokens; 0 is all tokens")
	fs.Float64Var(&g.TopP, "top-p", 0.95,
		"sample from the likeliest tokens that together have probability `P`; 1 is all tokens")
	fs.Uint64Var(&g.Seed, "seed", 42, "`SEED` of the sampling")
	fs.IntVarP(&g.Context, "ctx", "c", 0,
		"the most `TOKENS` of prompt and answer together; 0 is what the model was made for")
	fs.BoolVar(&g.IgnoreEOG, "ignore-eos", false, "continue after a token that ends an answer")
	fs.BoolVar(&o.noPrompt, "no-display-prompt", false, "print only what is generated")
	o.addThreads(fs)
	fs.BoolVar(&o.json, "json", false, "print text, token ids and speed as one JSON document at the end")
}

func (o *generateOptions) Validate(args []string) error {
	g := &o.options
	switch {
	case len(args) > 0:
		return cli.NoArgs(args)
	case o.prompt == "" && o.file == "":
		return errors.New("missing required flag --prompt (or --file)")
	case o.prompt != "" && o.file != "":
		return errors.New("--prompt and --file: one of them, not both")
	case g.N < 1:
		return fmt.Errorf("--n: %d, expected 1 or more", g.N)
	case !(g.Temperature >= 0) || !cli.IsFinite(g.Temperature):
		return fmt.Errorf("--temperature: %v, expected 0 or more", g.Temperature)
	case g.TopK < 0:
		return fmt.Errorf("--top-k: %d, expected 0 or more", g.TopK)
	case !(g.TopP > 0 && g.TopP <= 1):
		return fmt.Errorf("--top-p: %v, expected more than 0 and at most 1", g.TopP)
	case g.Context < 0:
		return fmt.Errorf("--ctx: %d, expected 0 or more", g.Context)
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
