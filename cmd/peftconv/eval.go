package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/input"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/eval"
)

func init() { register(&evalVerb) }

var evalVerb = cli.Verb{
	Place: 40,
	Name:  "eval",
	Short: "perplexity or loss of a model, with adapters or without",
	Long: `Measures how well a model predicts a file. On text it is the perplexity that llama-perplexity prints: the text is cut
into windows of --ctx tokens, the first token of each is replaced by BOS, the second half of each window is scored, and
activations are rounded as llama.cpp's CPU backend does before a product with quantized weights.
On records (.jsonl, .json, .csv, .tsv, .parquet) it is the mean loss over the tokens that would be learned (see peftconv
train --help), and the perplexity that follows from it. Of a directory the test files are measured, or else the valid
ones. With --prompt-template its records become prompts: the loss is that of the answers, which labels have an accuracy
too.

--kl-base compares with another model over the same windows: the Kullback-Leibler divergence from its probabilities, how
often both find the same token likeliest, and by how much the probability of the right token changed. The figures are
those of llama-perplexity --kl-divergence. In place of the other model there may be a file that --save-logprobs or
llama-perplexity --kl-divergence-base wrote; it has its own text, so that --data is not needed.`,
	Examples: []string{
		"peftconv eval --base model.gguf --data wiki.test.txt",
		"peftconv eval --base model.gguf --lora out.safetensors --data valid.jsonl",
		"peftconv eval --lora out.safetensors:0.5 --data notes.txt --ctx 1024 --json",
		"peftconv eval --base model-q2_k.gguf --kl-base model-f16.gguf --data wiki.test.txt",
	},
	New: func() cli.Command { return new(evalOptions) },
}

type evalOptions struct {
	modelFlags
	input.Data
	promptFlags
	data        string
	ctx         input.Window
	batchTokens int
	exact       bool
	compared    divergenceFlags
	json        bool
}

func (o *evalOptions) Flags(fs *pflag.FlagSet) {
	o.addBase(fs, baseHelp+" (default: the one the first adapter was trained over)")
	o.addLora(fs)
	fs.StringVarP(&o.data, "data", "d", "", "what to predict, a `FILE`: "+input.Kinds)
	o.ctx.Add(fs, "`TOKENS` of each window of a text")
	o.Data.Add(fs)
	o.addPrompt(fs)
	fs.IntVar(&o.batchTokens, "batch-tokens", 2048, "the most `TOKENS` of a packed batch of .jsonl examples")
	fs.BoolVar(&o.exact, "exact-activations", false,
		"of a text: multiply quantized weights with activations as "+
			"they are, not rounded as llama.cpp's CPU backend rounds them")
	o.compared.add(fs)
	o.addThreads(fs)
	fs.BoolVar(&o.json, "json", false, "print the result as one JSON document")
}

func (o *evalOptions) Validate(args []string) error {
	switch {
	case len(args) > 0:
		return cli.NoArgs(args)
	case o.data == "" && o.compared.base == "":
		return errors.New("missing required flag --data")
	case o.compared.given() && o.promptTemplate != "":
		return errors.New("--kl-base and --save-logprobs are for text, not for --prompt-template")
	case o.compared.base != "" && o.compared.save != "":
		return errors.New("--kl-base and --save-logprobs: one of them, not both")
	case o.ctx.Tokens < 4:
		return fmt.Errorf("--ctx: %d, expected 4 tokens or more", o.ctx.Tokens)
	case o.batchTokens < 2:
		return fmt.Errorf("--batch-tokens: %d, expected 2 or more", o.batchTokens)
	}
	o.TakePromptTemplate(&o.promptTemplate)
	if err := o.Data.Check(); err != nil {
		return err
	}
	return o.modelFlags.check()
}

func (o *evalOptions) Run(ctx context.Context, s cli.Streams) error {
	opened, err := o.open(s.Err)
	if err != nil {
		return err
	}
	defer opened.Close()
	o.warnOtherBase(opened, s.Err)
	o.In, o.Err = s.In, s.Err
	if o.compared.given() {
		return o.divergence(ctx, s, opened)
	}
	if o.promptTemplate != "" {
		return o.prompt(ctx, s, opened)
	}
	text, err := o.IsText(o.data, input.EvalSplits()...)
	if err != nil {
		return err
	}
	if text {
		return o.text(ctx, s, opened)
	}
	return o.examples(ctx, s, opened)
}

// tokens are those of a text.
func (o *evalOptions) tokens(opened *opened) ([]int32, error) {
	if !opened.base.HasTokenizer() {
		return nil, fmt.Errorf("%s has no tokenizer: only data with token ids can be evaluated", opened.base.Path())
	}
	return opened.base.TokenizeData(o.data, o.Options(o.data, input.EvalSplits()...))
}

func (o *evalOptions) text(ctx context.Context, s cli.Streams, opened *opened) error {
	ids, err := o.tokens(opened)
	if err != nil {
		return err
	}
	m := cli.NewMeter(s.Err, "window")
	progress := func(done, windows int, perplexity float64) {
		m.Update(int64(done), int64(windows), fmt.Sprintf("perplexity %.4f", perplexity))
	}
	r, err := eval.Perplexity(ctx, opened.base, opened.adapters, ids,
		eval.PerplexityOptions{Ctx: o.ctx.Of(opened.base), ExactActivations: o.exact, Progress: progress})
	m.Stop()
	if err != nil {
		return fmt.Errorf("%s: %w", o.data, err)
	}
	if o.json {
		return cli.PrintJSON(s.Out, r)
	}
	fmt.Fprintf(s.Out, "perplexity %.4f ± %.4f\nloss       %.6f over %s, the second halves of %s of %d\n", r.Perplexity,
		r.Error, r.Loss, cli.Plural(r.Tokens, "token"), cli.Plural(r.Windows, "window"), r.Ctx)
	return nil
}

func (o *evalOptions) examples(ctx context.Context, s cli.Streams, opened *opened) error {
	var adapters []*peft.Adapter
	for _, a := range opened.adapters {
		adapters = append(adapters, a.Adapter)
	}
	set, err := o.Load(o.data, input.EvalSplits(), opened.base, adapters...)
	if err != nil {
		return err
	}
	defer set.Close()
	for _, note := range set.Notes() {
		fmt.Fprintf(s.Err, "note: %s\n", cli.Line(note))
	}
	r, err := eval.Loss(ctx, opened.base, opened.adapters, set, o.batchTokens)
	if err != nil {
		return fmt.Errorf("%s: %w", o.data, err)
	}
	if o.json {
		return cli.PrintJSON(s.Out, struct {
			*eval.Result
			Ctx int `json:"ctx"`
		}{r, o.SeqLen})
	}
	fmt.Fprintf(s.Out, "loss       %.6f over %s of %s\nperplexity %.4f\n", r.Loss, cli.Plural(r.Tokens, "token"),
		cli.Plural(r.Examples, "example"), r.Perplexity)
	if r.Accuracy != nil {
		fmt.Fprintf(s.Out, "accuracy   %.2f %%\n", 100**r.Accuracy)
	}
	for _, f := range r.Files {
		fmt.Fprintf(s.Out, "%s: loss %.6f over %s of %s\n", cli.Name(f.Path), f.Loss, cli.Plural(f.Tokens, "token"),
			cli.Plural(f.Examples, "example"))
	}
	return nil
}
