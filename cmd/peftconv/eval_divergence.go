package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/input"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/eval"
)

// divergenceFlags are the flags of eval that compare two models.
type divergenceFlags struct {
	cli.Output
	base, save string
}

func (f *divergenceFlags) add(fs *pflag.FlagSet) {
	fs.StringVar(&f.base, "kl-base", "", "compare with another `MODEL` (a file, a directory or a name as for --base) or with "+
		"a file of log probabilities")
	fs.StringVar(&f.save, "save-logprobs", "", "write the log probabilities of all tokens to a `FILE`, for --kl-base and "+
		"llama-perplexity --kl-divergence; 2 bytes for each scored token and token of the vocabulary")
	cli.Models(fs, "kl-base")
	f.AddForce(fs)
}

// given says whether one of them is.
func (f *divergenceFlags) given() bool { return f.base != "" || f.save != "" }

// divergence compares with --kl-base, or writes down for a later comparison.
func (o *evalOptions) divergence(ctx context.Context, s cli.Streams, opened *opened) error {
	reference, closeReference, err := o.compared.open()
	if err != nil {
		return err
	}
	defer closeReference()
	ids, size, err := o.dividedText(reference, opened)
	if err != nil {
		return err
	}
	m := cli.NewMeter(s.Err, "window")
	what := "loss"
	if reference != nil {
		what = "KL divergence"
	}
	opt := eval.PerplexityOptions{Ctx: size, ExactActivations: o.exact}
	opt.Progress = func(done, windows int, figure float64) {
		m.Update(int64(done), int64(windows), fmt.Sprintf("%s %.6f", what, figure))
	}
	defer m.Stop()
	if reference == nil {
		if err := o.compared.CheckOutput("--save-logprobs", o.compared.save, o.data, opened.base.Path()); err != nil {
			return err
		}
		return eval.SaveLogProbs(ctx, o.compared.save, opened.base, opened.adapters, ids, opt)
	}
	f, err := eval.Divergence(ctx, opened.base, opened.adapters, ids, reference, opt)
	m.Stop()
	if err != nil {
		return err
	}
	if o.json {
		return cli.PrintJSON(s.Out, f)
	}
	printDivergence(s.Out, f)
	return nil
}

// open opens what to compare with, nil where nothing is.
func (f *divergenceFlags) open() (_ *eval.Reference, closed func() error, err error) {
	if f.base == "" {
		return nil, func() error { return nil }, nil
	}
	if eval.IsLogProbs(f.base) {
		r, err := eval.OpenLogProbs(f.base)
		if err != nil {
			return nil, nil, fmt.Errorf("--kl-base: %w", err)
		}
		return r, r.Close, nil
	}
	base, err := peft.OpenBase(f.base)
	if err != nil {
		return nil, nil, fmt.Errorf("--kl-base: %w", err)
	}
	return eval.ReferenceModel(base), base.Close, nil
}

// dividedText are the tokens of the text and of a window: those of --data, or of a file of log probabilities. Where
// both are given they have to be the same.
func (o *evalOptions) dividedText(reference *eval.Reference, opened *opened) (ids []int32, size int, err error) {
	own, size, ok := reference.Text()
	if o.data == "" {
		if !ok {
			return nil, 0, errors.New("missing required flag --data: only log probabilities have a text of their own")
		}
		return own, size, nil
	}
	text, err := o.IsText(o.data, input.EvalSplits()...)
	if err != nil {
		return nil, 0, err
	}
	if !text {
		return nil, 0, fmt.Errorf("%s: --kl-base and --save-logprobs are for text, not for records", o.data)
	}
	if ids, err = o.tokens(opened); err != nil || !ok {
		return ids, o.ctx.Of(opened.base), err
	}
	if all := append(slices.Clone(own[:1]), ids...); !begins(ids, own) && !begins(all, own) {
		return nil, 0, fmt.Errorf("%s has another text than %s was made of", o.data, o.compared.base)
	}
	return own, size, nil
}

// begins says whether a text begins with another.
func begins(text, start []int32) bool {
	return len(text) >= len(start) && slices.Equal(text[:len(start)], start)
}

// printDivergence prints figures for a reader.
func printDivergence(w io.Writer, f *eval.Figures) {
	d, p := &f.DivergenceSpread, &f.ChangeSpread
	fmt.Fprintf(w, "perplexity     %.6f ± %.6f\n", f.Perplexity.Value, f.Perplexity.Error)
	fmt.Fprintf(w, "of the base    %.6f ± %.6f\n", f.BasePerplexity.Value, f.BasePerplexity.Error)
	fmt.Fprintf(w, "ln of ratio    %.6f ± %.6f, correlation %.2f %%\n", f.LogRatio.Value, f.LogRatio.Error,
		100*f.Correlation)
	fmt.Fprintf(w, "KL divergence  %.6f ± %.6f over %s\n", f.Divergence.Value, f.Divergence.Error,
		cli.Plural(f.Tokens, "token"))
	fmt.Fprintf(w, "    min %.6f  1 %% %.6f  5 %% %.6f  10 %% %.6f  median %.6f\n", d.Min, d.P1, d.P5, d.P10, d.Median)
	fmt.Fprintf(w, "    90 %% %.6f  95 %% %.6f  99 %% %.6f  99.9 %% %.6f  max %.6f\n", d.P90, d.P95, d.P99, d.P999, d.Max)
	fmt.Fprintf(w, "same top       %.3f ± %.3f %%\n", 100*f.SameTop.Value, 100*f.SameTop.Error)
	fmt.Fprintf(w, "Δp             %.3f ± %.3f %%, RMS %.3f ± %.3f %%\n", 100*f.Change.Value, 100*f.Change.Error,
		100*f.ChangeRMS.Value, 100*f.ChangeRMS.Error)
	fmt.Fprintf(w, "    min %.3f %%  1 %% %.3f %%  5 %% %.3f %%  10 %% %.3f %%  median %.3f %%\n", 100*p.Min, 100*p.P1,
		100*p.P5, 100*p.P10, 100*p.Median)
	fmt.Fprintf(w, "    90 %% %.3f %%  95 %% %.3f %%  99 %% %.3f %%  99.9 %% %.3f %%  max %.3f %%\n", 100*p.P90, 100*p.P95,
		100*p.P99, 100*p.P999, 100*p.Max)
}
