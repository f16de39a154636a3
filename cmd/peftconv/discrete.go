package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/input"
	"github.com/peftconv/peftconv/internal/cli/methods"
	"github.com/peftconv/peftconv/internal/infile"
	"github.com/peftconv/peftconv/peft/search"
)

// promptFlags are the flags of the verbs that use a prompt made of words.
type promptFlags struct{ promptTemplate string }

func (p *promptFlags) addPrompt(fs *pflag.FlagSet) {
	fs.StringVar(&p.promptTemplate, "prompt-template", "",
		"put the input into a prompt: a `FILE` of --method discrete-prompt, a text file with a template, or "+
			"the template itself (\"{sentence} It was {answer}\")")
}

// loadPrompt reads the prompt.
func (p *promptFlags) loadPrompt() (*search.Prompt, error) {
	if !cli.Exists(p.promptTemplate) && strings.Contains(p.promptTemplate, "{") {
		if _, _, err := search.ParseTemplate(p.promptTemplate); err != nil {
			return nil, cli.Usagef("--prompt-template: %w", err)
		}
		return &search.Prompt{Template: p.promptTemplate}, nil
	}
	prompt, err := search.Load(p.promptTemplate)
	if err != nil {
		return nil, fmt.Errorf("--prompt-template: %w", err)
	}
	return prompt, nil
}

// fill puts a text into the prompt, if there is one.
func (p *promptFlags) fill(text string) (string, error) {
	if p.promptTemplate == "" {
		return text, nil
	}
	prompt, err := p.loadPrompt()
	if err != nil {
		return "", err
	}
	return prompt.Fill(text)
}

// prompt evaluates with --prompt-template.
func (o *evalOptions) prompt(ctx context.Context, s cli.Streams, opened *opened) error {
	prompt, err := o.loadPrompt()
	if err != nil {
		return err
	}
	if len(o.Labels) > 0 {
		if prompt.Verbalizer, err = search.ParseVerbalizer(o.Labels, nil); err != nil {
			return err
		}
	}
	records, err := search.LoadRecords(o.data, prompt.Template, o.Options(o.data, input.EvalSplits()...))
	if err != nil {
		return err
	}
	score, err := search.Eval(ctx, opened.base, opened.adapters, prompt, records, o.batchTokens)
	if err != nil {
		return fmt.Errorf("%s: %w", o.data, err)
	}
	if o.json {
		return cli.PrintJSON(s.Out, score)
	}
	fmt.Fprintf(s.Out, "loss       %.6f over %s\n", score.Loss, cli.Plural(score.Examples, "example"))
	if score.Accuracy != nil {
		fmt.Fprintf(s.Out, "accuracy   %.2f %%\n", 100**score.Accuracy)
	}
	return nil
}

// discreteSearch is train with --method discrete-prompt.
type discreteSearch struct{ *methods.DiscreteFlags }

// run searches, writes and reports.
func (d discreteSearch) run(ctx context.Context, s cli.Streams, o *trainOptions) error {
	out := o.train.Out
	if filepath.Ext(out) != ".json" {
		return cli.Usagef("--out: %s, expected a name that ends in .json", out)
	}
	files := []string{out}
	for _, form := range d.Forms {
		files = append(files, d.file(out, form))
	}
	for _, file := range files {
		if err := o.CheckOutput("--out", file, append(o.Paths(), o.base, d.Candidates)...); err != nil {
			return err
		}
	}
	if err := cli.CheckConfig(o.flagSet, out, o.Force); err != nil {
		return err
	}
	opened, err := o.open(s.Err)
	if err != nil {
		return err
	}
	defer opened.Close()
	o.In = s.In
	data, err := d.load(o)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Err, "base     %s: %s, %s\n", opened.base.Path(), opened.base.Architecture(),
		cli.BytesText(cli.PathSize(opened.base.Path())))
	fmt.Fprintf(s.Err, "data     %s to search on, %d to choose by, %d for the report\n",
		cli.Plural(len(data.Search), "record"), len(data.Select), len(data.Test))
	m := cli.NewMeter(s.Err, "slot")
	d.Options.Progress = func(p search.Progress) { d.show(m, p) }
	r, err := search.Run(ctx, opened.base, data, d.Options)
	m.Stop()
	if err != nil {
		return err
	}
	if err := d.write(r, out, o.base); err != nil {
		return err
	}
	if err := cli.WriteRunConfig(o.flagSet, out, version(), nil, s.Err); err != nil {
		return err
	}
	if o.json {
		return cli.PrintJSON(s.Out, r)
	}
	d.report(s, o, r)
	return nil
}

// load fills in the options and reads the data.
func (d discreteSearch) load(o *trainOptions) (data search.Data, err error) {
	opt := &d.Options
	opt.Template, opt.Seed, opt.BatchTokens = o.method.Template, o.train.Seed, o.train.BatchTokens
	if classes := o.Classes(); classes != nil {
		if opt.Verbalizer, err = search.ParseVerbalizer(classes.Labels, d.Verbalizer); err != nil {
			return data, cli.Usagef("--verbalizer: %w", err)
		}
	}
	if d.Candidates != "" {
		text, err := infile.ReadStream(d.Candidates, infile.Text)
		if err != nil {
			return data, fmt.Errorf("--candidates: %w", err)
		}
		opt.Candidates = strings.Fields(string(text))
	}
	records, held, err := o.LoadRecords(opt.Template)
	if err != nil {
		return data, err
	}
	if len(records) < 8 {
		return data, fmt.Errorf("%s: %d records, expected 8 or more, to be searched on and chosen by", o.Sources[0].Path,
			len(records))
	}
	return search.Split(records, held, opt.Seed), nil
}

// show is the progress display.
func (d discreteSearch) show(m *cli.Meter, p search.Progress) {
	if p.Chosen != nil {
		m.Say("best so far: %s  %s", scoreText(*p.Chosen), cli.Printable(p.Template, 160))
		return
	}
	m.Update(int64(p.Visit), int64(p.Visits), fmt.Sprintf("loss %.4f", p.Loss))
}

func scoreText(score search.Score) string {
	text := fmt.Sprintf("loss %.4f", score.Loss)
	if score.Accuracy != nil {
		text += fmt.Sprintf(", accuracy %.2f %%", 100**score.Accuracy)
	}
	if score.Fluency != nil {
		text += fmt.Sprintf(", its own words %.3f", *score.Fluency)
	}
	return text
}

// write writes the prompt and its other forms beside it.
func (d discreteSearch) write(r *search.Result, out, base string) error {
	if err := r.Save(out); err != nil {
		return err
	}
	from := base
	if rel, err := filepath.Rel(filepath.Dir(out), base); err == nil && !filepath.IsAbs(base) {
		from = "./" + filepath.ToSlash(rel)
	}
	for _, form := range d.Forms {
		text, err := r.Form(form, from)
		if err != nil {
			return err
		}
		err = atomicfile.Write(d.file(out, form), func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// file is where a form goes.
func (d discreteSearch) file(out, form string) string {
	return strings.TrimSuffix(out, ".json") + d.End(form)
}

// report prints the results and what can be done with them.
func (d discreteSearch) report(s cli.Streams, o *trainOptions, r *search.Result) {
	files := []string{o.train.Out}
	for _, form := range d.Forms {
		files = append(files, d.file(o.train.Out, form))
	}
	fmt.Fprintf(s.Out, "%s written after %s\n\n", strings.Join(files, ", "), cli.Plural(r.Sweeps, "sweep"))
	fmt.Fprintf(s.Out, "  %s\n", cli.Printable(r.Template, 0))
	for _, l := range r.Verbalizer {
		if !slices.Equal(l.Words, []string{l.Label}) {
			fmt.Fprintf(s.Out, "  %s: %s\n", cli.Name(l.Label), cli.Printable(strings.Join(l.Words, ", "), 0))
		}
	}
	where := "a part of the data that nothing was searched on or chosen by"
	if o.Holds() {
		where = "the evaluation data"
	}
	fmt.Fprintf(s.Out, "\non %s (%s):\n  given  %s\n  found  %s\n", where, cli.Plural(r.Found.Examples, "record"),
		scoreText(r.Start), scoreText(r.Found))
	fmt.Fprint(s.Out, "\nNext:\n")
	for _, words := range [][]string{
		{"generate", "--base", o.base, "--prompt-template", o.train.Out, "--prompt", "…"},
		{"eval", "--base", o.base, "--prompt-template", o.train.Out, "--data", o.EvalPath()},
	} {
		fmt.Fprintf(s.Out, "  %s\n", cli.CommandLine(append([]string{program()}, words...)...))
	}
}
