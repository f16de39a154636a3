package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/peft"
)

// promptFlags are the flags of the verbs that use a prompt made of words.
type promptFlags struct{ promptTemplate string }

func (p *promptFlags) addPrompt(fs *pflag.FlagSet) {
	fs.StringVar(&p.promptTemplate, "prompt-template", "", "put the input into a prompt: a `FILE` of --method discrete-prompt, a text file with a template, or "+
		"the template itself (\"{sentence} It was {answer}\")")
}

// loadPrompt reads the prompt.
func (p *promptFlags) loadPrompt() (*peft.Prompt, error) {
	if !exists(p.promptTemplate) && strings.Contains(p.promptTemplate, "{") {
		if _, _, err := peft.ParsePromptTemplate(p.promptTemplate); err != nil {
			return nil, fmt.Errorf("--prompt-template: %w", err)
		}
		return &peft.Prompt{Template: p.promptTemplate}, nil
	}
	prompt, err := peft.LoadPrompt(p.promptTemplate)
	if err != nil {
		return nil, fmt.Errorf("--prompt-template: %w", err)
	}
	return prompt, nil
}

// fill puts a text into the prompt where there is one.
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
func (o *evalOptions) prompt(ctx context.Context, s streams, opened *opened) error {
	prompt, err := o.loadPrompt()
	if err != nil {
		return err
	}
	if len(o.labels) > 0 {
		if prompt.Verbalizer, err = peft.ParseVerbalizer(o.labels, nil); err != nil {
			return err
		}
	}
	records, err := peft.LoadPromptRecords(o.data, prompt.Template)
	if err != nil {
		return err
	}
	score, err := peft.EvalPrompt(ctx, opened.base, opened.adapters, prompt, records, o.batchTokens)
	if err != nil {
		return fmt.Errorf("%s: %w", o.data, err)
	}
	if o.json {
		return printJSON(s.out, score)
	}
	fmt.Fprintf(s.out, "loss       %.6f over %s\n", score.Loss, plural(score.Examples, "example"))
	if score.Accuracy != nil {
		fmt.Fprintf(s.out, "accuracy   %.2f %%\n", 100**score.Accuracy)
	}
	return nil
}

// discreteSearch is train with --method discrete-prompt.
type discreteSearch struct {
	options    peft.DiscreteOptions
	verbalizer []string
	candidates string
	forms      []string
}

// promptForms are the values of --forms and what their files end in.
var promptForms = []struct{ name, end string }{
	{peft.PromptText, ".txt"}, {peft.PromptSystem, ".system.txt"}, {peft.PromptModelfile, ".Modelfile"},
}

func (d *discreteSearch) check(f *methodFlags) error {
	for _, flag := range discreteUnused {
		if f.flagSet.Changed(flag) {
			return fmt.Errorf("--%s has no effect with --method %s", flag, peft.MethodDiscretePrompt)
		}
	}
	if f.template == "" {
		return fmt.Errorf("--method %s: needs --template, such as \"{sentence} It was [slot*2] {answer}\"", peft.MethodDiscretePrompt)
	}
	if _, slots, err := peft.ParsePromptTemplate(f.template); err != nil || slots == 0 {
		if err == nil {
			err = fmt.Errorf("template %q has no slot, expected [slot] where words are to be found", f.template)
		}
		return fmt.Errorf("--template: %w", err)
	}
	for _, form := range d.forms {
		if d.end(form) == "" {
			return fmt.Errorf("--forms: %q is not known, expected text, system or modelfile", form)
		}
	}
	if len(d.verbalizer) > 0 && f.classes() == nil {
		return errors.New("--verbalizer: needs --task classify and --labels")
	}
	if d.options.SearchVerbalizer && f.classes() == nil {
		return errors.New("--search-verbalizer: needs --task classify and --labels")
	}
	return nil
}

// discreteUnused are the flags of train that have no effect where nothing is trained.
var discreteUnused = []string{"resume", "save-every", "eval-every", "seq-len", "text-field", "prompt-field", "completion-field", "separator", "label-field",
	"epochs", "steps", "accumulate", "lr", "schedule", "warmup", "weight-decay", "clip", "optimizer", "recompute", "precision", "ignore-memory", "profile"}

func (d *discreteSearch) end(form string) string {
	for _, known := range promptForms {
		if known.name == form {
			return known.end
		}
	}
	return ""
}

// run searches, writes and reports.
func (d *discreteSearch) run(ctx context.Context, s streams, o *trainOptions) error {
	out := o.train.Out
	if filepath.Ext(out) != ".json" {
		return fmt.Errorf("--out: %s, expected a name that ends in .json", out)
	}
	if err := checkOutput("--out", out, o.base, o.data, o.evalData, d.candidates); err != nil {
		return err
	}
	opened, err := o.open()
	if err != nil {
		return err
	}
	defer opened.Close()
	data, err := d.load(o)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.err, "base     %s: %s, %s\n", opened.base.Path, opened.base.Architecture(), bytesText(sizeOf(opened.base.Path)))
	fmt.Fprintf(s.err, "data     %s to search on, %d to choose by, %d for the report\n", plural(len(data.Search), "record"), len(data.Select), len(data.Test))
	var m *meter
	d.options.Progress = func(p peft.PromptProgress) { m = d.show(m, p, s.err) }
	r, err := peft.SearchPrompt(ctx, opened.base, data, d.options)
	m.stop()
	if err != nil {
		return err
	}
	if err := d.write(r, out, o.base); err != nil {
		return err
	}
	if o.json {
		return printJSON(s.out, r)
	}
	d.report(s, o, r)
	return nil
}

// load fills in the options and reads the data.
func (d *discreteSearch) load(o *trainOptions) (data peft.PromptData, err error) {
	opt := &d.options
	opt.Template, opt.Seed, opt.BatchTokens = o.method.template, o.train.Seed, o.train.BatchTokens
	if classes := o.classes(); classes != nil {
		if opt.Verbalizer, err = peft.ParseVerbalizer(classes.Labels, d.verbalizer); err != nil {
			return data, fmt.Errorf("--verbalizer: %w", err)
		}
	}
	if d.candidates != "" {
		text, err := os.ReadFile(d.candidates)
		if err != nil {
			return data, fmt.Errorf("--candidates: %w", err)
		}
		opt.Candidates = strings.Fields(string(text))
	}
	records, err := peft.LoadPromptRecords(o.data, opt.Template)
	if err != nil {
		return data, err
	}
	var held []peft.PromptRecord
	if o.evalData != "" {
		if held, err = peft.LoadPromptRecords(o.evalData, opt.Template); err != nil {
			return data, err
		}
	}
	if len(records) < 8 {
		return data, fmt.Errorf("%s: %d records, expected 8 or more, to be searched on and chosen by", o.data, len(records))
	}
	return peft.SplitPromptData(records, held, opt.Seed), nil
}

// show is the progress display.
func (d *discreteSearch) show(m *meter, p peft.PromptProgress, w io.Writer) *meter {
	if m == nil {
		m = newMeter(w, "slot", int64(p.Visits))
	}
	if p.Chosen != nil {
		m.say("best so far: %s  %s", scoreText(*p.Chosen), printable(p.Template, 160))
		return m
	}
	m.update(int64(p.Visit), fmt.Sprintf("loss %.4f", p.Loss))
	return m
}

func scoreText(score peft.PromptScore) string {
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
func (d *discreteSearch) write(r *peft.PromptResult, out, base string) error {
	if err := r.Save(out); err != nil {
		return err
	}
	from := base
	if rel, err := filepath.Rel(filepath.Dir(out), base); err == nil && !filepath.IsAbs(base) {
		from = "./" + filepath.ToSlash(rel)
	}
	for _, form := range d.forms {
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
func (d *discreteSearch) file(out, form string) string {
	return strings.TrimSuffix(out, ".json") + d.end(form)
}

// report prints the results and what can be done with them.
func (d *discreteSearch) report(s streams, o *trainOptions, r *peft.PromptResult) {
	files := []string{o.train.Out}
	for _, form := range d.forms {
		files = append(files, d.file(o.train.Out, form))
	}
	fmt.Fprintf(s.out, "%s written after %s\n\n", strings.Join(files, ", "), plural(r.Sweeps, "sweep"))
	fmt.Fprintf(s.out, "  %s\n", printable(r.Template, 0))
	for _, l := range r.Verbalizer {
		if !slices.Equal(l.Words, []string{l.Label}) {
			fmt.Fprintf(s.out, "  %s: %s\n", printable(l.Label, 0), printable(strings.Join(l.Words, ", "), 0))
		}
	}
	where := "a part of the data that nothing was searched on or chosen by"
	data := o.data
	if o.evalData != "" {
		where, data = "the evaluation data", o.evalData
	}
	fmt.Fprintf(s.out, "\non %s (%s):\n  given  %s\n  found  %s\n", where, plural(r.Found.Examples, "record"), scoreText(r.Start), scoreText(r.Found))
	fmt.Fprint(s.out, "\nNext:\n")
	for _, words := range [][]string{
		{"generate", "--base", o.base, "--prompt-template", o.train.Out, "--prompt", "…"},
		{"eval", "--base", o.base, "--prompt-template", o.train.Out, "--data", data},
	} {
		fmt.Fprintf(s.out, "  %s\n", commandLine(append([]string{program()}, words...)...))
	}
}
