package healing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/gguf/quantize"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/eval"
	"github.com/peftconv/peftconv/peft/heal"
	"github.com/peftconv/peftconv/peft/train"
)

// Then is the flags of train that have the result merged, quantized and healed.
type Then struct {
	Type   string // "": not asked for
	out    string
	tokens int
	steps  int

	fileType quantize.FileType
}

// Add adds the flags.
func (t *Then) Add(fs *pflag.FlagSet) {
	fs.StringVar(&t.Type, "then", "",
		"after training over a base in floats, write a quantized model of `TYPE`, such as Q4_K_M: the adapter is merged, "+
			"the result quantized with an importance matrix of the text, and healed towards the merged model")
	fs.StringVar(&t.out, "then-out", "", "the quantized model's `FILE` (default: --out with the type's name and .gguf)")
	fs.IntVar(&t.tokens, "then-tokens", heal.DefaultTokens, "`TOKENS` of the text that each layer sees in healing")
	fs.IntVar(&t.steps, "then-steps", 0, "`N` steps of training end to end in healing; 0 is none")
	cli.Detail(fs, "then-out", "then-tokens", "then-steps")
	cli.Choices(fs, "then", quantize.FileTypes()...)
}

// Check refuses flags that do not go together. out is the adapter's file.
func (t *Then) Check(fs *pflag.FlagSet, out string) (err error) {
	if t.Type == "" {
		for _, name := range []string{"then-out", "then-tokens", "then-steps"} {
			if fs.Changed(name) {
				return fmt.Errorf("--%s: needs --then", name)
			}
		}
		return nil
	}
	if t.fileType, err = quantize.ParseFileType(t.Type); err != nil {
		return fmt.Errorf("--then: %w", err)
	}
	switch {
	case t.tokens < 64:
		return fmt.Errorf("--then-tokens: %d, expected 64 or more", t.tokens)
	case t.steps < 0:
		return fmt.Errorf("--then-steps: %d, expected 0 or more", t.steps)
	}
	if t.out == "" {
		t.out = strings.TrimSuffix(out, filepath.Ext(out)) + "-" + strings.ToUpper(t.Type) + ".gguf"
	}
	return nil
}

// CheckFiles refuses files that are there.
func (t *Then) CheckFiles(o *cli.Output, inputs ...string) error {
	if t.Type == "" {
		return nil
	}
	for _, path := range append(heal.TemporaryPaths(t.out), t.out) {
		if err := o.CheckOutput("--then-out", path, inputs...); err != nil {
			return err
		}
	}
	return nil
}

// CheckBase refuses a base that nothing can be made of.
func (t *Then) CheckBase(b *peft.Base) error {
	if t.Type == "" {
		return nil
	}
	if err := heal.CheckRecipe(b); err != nil {
		return fmt.Errorf("--then: %w", err)
	}
	return nil
}

// Run makes the quantized model of a trained adapter, and prints the losses after each stage. eval is what the loss is
// measured on; retain is a text to be retained, or nil.
func (t *Then) Run(ctx context.Context, s cli.Streams, b *peft.Base, a *peft.Adapter, data, held, retain *peft.Data,
	opt train.Options) ([]heal.Losses, error) {
	if t.Type == "" {
		return nil, nil
	}
	needed := max(t.tokens, t.steps*opt.BatchTokens)
	examples, err := mixed(needed, data, retain)
	if err != nil {
		return nil, err
	}
	r := heal.Recipe{Type: t.fileType, Eval: map[string]*peft.Data{evaluation: held}, Options: heal.Options{
		Tokens: t.tokens, Ctx: min(eval.DefaultWindow, max(b.ContextLength(), 4)),
	}}
	if retain != nil {
		if r.Eval[retained], err = retain.Sample(needed); err != nil {
			return nil, err
		}
		defer r.Eval[retained].Close()
	}
	for _, e := range examples {
		r.Text = append(r.Text, e.IDs...)
	}
	if t.steps > 0 {
		r.Options.Training = &heal.Training{Options: train.Options{
			Steps: t.steps, BatchTokens: opt.BatchTokens, Schedule: train.ScheduleCosine, WarmupRatio: 0.05,
			Precision: opt.Precision, Seed: opt.Seed,
		}}
		if r.Options.Held, err = tokensOf(held, heldTokens); err != nil {
			return nil, err
		}
		if len(r.Options.Held) < r.Options.Ctx {
			r.Options.Held = nil // too short to say whether training does harm
		}
	}
	p := &progress{w: s.Err}
	r.Options.Progress, r.Measured = p.tensor, func(l heal.Losses) {
		p.stop()
		fmt.Fprintf(s.Err, "%s: loss %.4f\n", l.Stage, l.Of[evaluation])
	}
	if t.steps > 0 {
		r.Options.Training.Options.Observer = train.OnStep(p.step)
	}
	defer p.stop()
	start, over := time.Now(), waitedFor(s)
	_, stages, err := heal.Quantize(ctx, b, []peft.Scaled{{Adapter: a, Scale: 1}}, peft.NewData(examples), t.out, r)
	over()
	if err != nil {
		return nil, fmt.Errorf("--then: %w", err)
	}
	p.stop()
	fmt.Fprintf(s.Err, "%s written in %s\n", t.out, time.Since(start).Round(time.Second))
	return stages, nil
}

// Names of what losses are of.
const (
	evaluation = "evaluation data"
	retained   = "retained text"
)

// mixed is some examples of the data and, as many tokens, of what is to be retained.
func mixed(tokens int, data, retain *peft.Data) (all []peft.Example, err error) {
	sets := []*peft.Data{data}
	if retain != nil {
		sets = append(sets, retain)
	}
	for _, set := range sets {
		some, err := sampled(set, max(tokens/len(sets), 1))
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// sampled is examples of about so many tokens, evenly over all of a set.
func sampled(set *peft.Data, tokens int) (examples []peft.Example, err error) {
	some, err := set.Sample(tokens)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, some.Close()) }()
	for i := range some.Len() {
		e, err := some.At(i)
		if err != nil {
			return nil, err
		}
		examples = append(examples, peft.Example{IDs: slices.Clone(e.IDs), Loss: slices.Clone(e.Loss)})
	}
	return examples, nil
}

// Print prints the losses after each stage.
func (t *Then) Print(w io.Writer, stages []heal.Losses) error {
	if len(stages) == 0 {
		return nil
	}
	table := cli.NewTable(w)
	fmt.Fprintf(table, "\nafter\tsize\tloss on evaluation data")
	_, both := stages[0].Of[retained]
	if both {
		fmt.Fprint(table, "\ton what is retained")
	}
	fmt.Fprintln(table)
	for _, l := range stages {
		size := ""
		if l.Bytes > 0 {
			size = cli.BytesText(l.Bytes)
		}
		fmt.Fprintf(table, "%s\t%s\t%.4f", l.Stage, size, l.Of[evaluation])
		if both {
			fmt.Fprintf(table, "\t%.4f", l.Of[retained])
		}
		fmt.Fprintln(table)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s is the model to use.\n", t.out)
	return err
}
