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
	"sync"
	"sync/atomic"

	"github.com/spf13/pflag"

	"github.com/peftconv/peftconv/internal/atomicfile"
	"github.com/peftconv/peftconv/internal/chart"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/cli/input"
	"github.com/peftconv/peftconv/internal/cli/methods"
	"github.com/peftconv/peftconv/internal/cli/reporting"
	"github.com/peftconv/peftconv/internal/cli/watching"
	"github.com/peftconv/peftconv/internal/demo"
	"github.com/peftconv/peftconv/internal/report"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/train"
)

func init() { register(&compareVerb) }

var compareVerb = cli.Verb{
	Place: 30,
	Name:  "compare",
	Short: "train several methods with the same budget, and compare",
	Long: `Trains an adapter of each of the --methods over the same base and data with the same budget, order of the data and seed,
and prints a table: the loss on --eval-data before and after (and the accuracy, where records are classified), what was
trained, how large the adapter's file is, speed and memory. --svg draws the curves of the evaluation
loss, --report writes a page with both.

Each method has its own defaults and its own learning rate, as in peftconv train. A variant has other values of the
method's flags behind a colon: lora:dora,rank=4 or adapter:placement=serial-pfeiffer; lr and lr-ratio are flags too.
Where a value holds commas, put the variant into quotes that the shell leaves: '"lora:targets=q_proj,v_proj"'. "all"
stands for every method that the base allows, with its defaults.

All methods are checked against the base before the first is trained. Ctrl-C ends the comparison and reports the
finished methods. The same seed gives the same losses, whatever the number of threads.`,
	Examples: []string{
		"peftconv compare --demo --report methods.html",
		"peftconv compare --base model.gguf --data train.jsonl --eval-data valid.jsonl --methods lora,adapter -n 100",
		"peftconv compare --base model.gguf --data notes.txt --methods " +
			"lora,lora:dora,rank=4,lora:lr=1e-4 --markdown table.md",
	},
	New: func() cli.Command { return new(compareOptions) },
}

type compareOptions struct {
	cli.Output
	modelFlags
	input.Data
	trainingFlags
	demo          bool
	methods       []string
	tokens        int64
	points        int
	dir           string
	svg, markdown string
	report        string // file
	json          bool

	variants  []*methods.Variant
	flagSet   *pflag.FlagSet
	delivered sync.Once
}

// Budget of a comparison on the built-in model and data, where none is given.
const (
	demoSteps       = 60
	demoBatchTokens = 512
)

func (o *compareOptions) Flags(fs *pflag.FlagSet) {
	o.flagSet = fs
	cli.Group(fs, "Input and output", func() {
		o.addBase(fs, baseHelp)
		o.AddTraining(fs)
		fs.BoolVar(&o.demo, "demo", false,
			fmt.Sprintf("compare on the built-in model and data, unless told otherwise with %d steps of %d tokens", demoSteps,
				demoBatchTokens))
		fs.StringSliceVarP(&o.methods, "methods", "m", []string{methods.AllName},
			"what to compare, separated by commas: `METHODS` or variants as above; "+
				strings.Join(methods.Trainable(), ", "))
		fs.StringVar(&o.svg, "svg", "", "draw the evaluation losses into this `FILE`, - is standard output")
		fs.StringVar(&o.markdown, "markdown", "", "write the table as Markdown to this `FILE`, - is standard output, "+
			"with --svg's picture below it")
		fs.StringVar(&o.report, "report", "", "write a page with the table and the curves, an HTML `FILE`")
		fs.StringVar(&o.dir, "dir", "", "keep the adapters in this `DIRECTORY`, which is made where there is none")
		o.AddForce(fs)
		fs.BoolVar(&o.json, "json", false, "print the results, with the curves, as one JSON document")
	})
	cli.Group(fs, "Data", func() { o.Data.Add(fs); o.AddPromptTemplate(fs) })
	cli.Group(fs, "Budget and training", func() { o.addTraining(fs) })
}

func (o *compareOptions) addTraining(fs *pflag.FlagSet) {
	o.addCommon(fs)
	fs.Int64Var(&o.tokens, "tokens", 0, "as many steps as train on `N` tokens of data, in place of --steps and --epochs")
	fs.IntVar(&o.points, "points", 10, "measure the loss on the evaluation data `N` times in the course of each training")
	o.addThreads(fs)
}

func (o *compareOptions) Validate(args []string) error {
	if len(args) > 0 {
		return cli.NoArgs(args)
	}
	if err := o.checkInput(); err != nil {
		return err
	}
	for _, check := range []func() error{o.checkTraining, o.Data.Check} {
		if err := check(); err != nil {
			return err
		}
	}
	if o.base != "" {
		if err := o.modelFlags.check(); err != nil {
			return err
		}
	}
	var err error
	o.variants, err = methods.ParseVariants(o.methods, o.Classes)
	return err
}

// checkInput checks that there is one base with its data.
func (o *compareOptions) checkInput() error {
	switch {
	case o.demo && (o.base != "" || o.HasData() || o.EvalData != ""):
		return errors.New("--demo: cannot be combined with --base, --data and --eval-data")
	case !o.demo && (o.base == "" || !o.HasData()):
		return errors.New("missing required flags --base and --data (or --demo)")
	case o.svg == "-" && o.markdown != "", o.json && (o.svg == "-" || o.markdown == "-"):
		return errors.New("--svg, --markdown, --json: standard output is for one of them, and pictures are linked by name")
	}
	return nil
}

func (o *compareOptions) checkTraining() error {
	t := &o.train
	switch {
	case t.Epochs < 0, t.Steps < 0, o.tokens < 0:
		return errors.New("--epochs, --steps and --tokens: expected 0 or more")
	case o.tokens > 0 && (t.Epochs > 0 || t.Steps > 0):
		return errors.New("--tokens: cannot be combined with --epochs and --steps")
	case o.points < 1:
		return fmt.Errorf("--points: %d, expected 1 or more", o.points)
	}
	return o.checkCommon()
}

// checkFiles checks the outputs before hours of work.
func (o *compareOptions) checkFiles() error {
	for _, out := range []struct{ flag, path string }{{"--svg", o.svg}, {"--markdown", o.markdown},
		{"--report", o.report}} {
		if out.path == "" || out.path == "-" {
			continue
		}
		if err := o.CheckOutput(out.flag, out.path, append(o.Paths(), o.base)...); err != nil {
			return err
		}
	}
	if o.dir == "" {
		return nil
	}
	return o.CheckPlace("--dir", filepath.Clean(o.dir))
}

func (o *compareOptions) Run(ctx context.Context, s cli.Streams) error {
	if err := o.checkFiles(); err != nil {
		return err
	}
	if o.demo {
		dir, remove, err := atomicfile.ScratchDir("", "compare")
		if err != nil {
			return err
		}
		defer remove()
		if err := o.useDemo(dir); err != nil {
			return err
		}
	}
	opened, err := o.open(s.Err)
	if err != nil {
		return err
	}
	defer opened.Close()
	o.In, o.Err, o.Stop = s.In, s.Err, ctx.Err
	if err := o.HoldStdin(); err != nil {
		return err
	}
	entries, err := o.entries(s, opened.base)
	if err != nil {
		return err
	}
	defer closeData(entries)
	o.announce(s, opened.base, entries)
	var finished atomic.Pointer[train.Comparison]
	defer s.BeforeEnd(func() { o.deliver(s, finished.Load()) })()
	result, err := train.Compare(ctx, opened.base, entries, o.options(s, entries, &finished))
	return errors.Join(o.deliver(s, result), err)
}

// useDemo writes the built-in model and data and uses them for the comparison.
func (o *compareOptions) useDemo(dir string) error {
	if err := demo.WriteFiles(dir); err != nil {
		return err
	}
	o.base = filepath.Join(dir, "base.gguf")
	o.SetData(filepath.Join(dir, "train.jsonl"), filepath.Join(dir, "eval.jsonl"))
	if o.train.Steps == 0 && o.train.Epochs == 0 && o.tokens == 0 {
		o.train.Steps = demoSteps
	}
	if !o.flagSet.Changed("batch-tokens") {
		o.train.BatchTokens = demoBatchTokens
	}
	return nil
}

// entries makes the adapters and reads the data in the form that each needs. Of "all" methods those that the base does
// not allow are left out.
func (o *compareOptions) entries(s cli.Streams, base *peft.Base) ([]train.Entry, error) {
	var entries []train.Entry
	loaded := map[string][2]*peft.Data{}
	for _, v := range o.variants {
		v.Method.Seed = o.train.Seed
		a, err := v.Method.Adapter(base)
		if err != nil && v.OfAll {
			fmt.Fprintf(s.Err, "note: %s is left out: %s\n", v.Text, cli.ErrorText(err))
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", v.Text, err)
		}
		key := a.Template()
		if classes := a.Classes(); classes != nil {
			key += fmt.Sprintf("|%v", *classes)
		}
		sets, ok := loaded[key]
		if !ok {
			if sets[0], sets[1], err = o.LoadTraining(base, "", a); err != nil {
				return nil, fmt.Errorf("%s: %w", v.Text, err)
			}
			loaded[key] = sets
		}
		entries = append(entries, train.Entry{Name: v.Text, Adapter: a, Train: sets[0], Eval: sets[1], LR: v.LR,
			LRRatio: v.LRRatio})
	}
	if len(entries) == 0 {
		return nil, errors.New("the base allows none of the methods")
	}
	return entries, nil
}

// closeData gives up what entries read.
func closeData(entries []train.Entry) {
	for i := range entries {
		entries[i].Train.Close()
		entries[i].Eval.Close()
	}
}

func (o *compareOptions) announce(s cli.Streams, base *peft.Base, entries []train.Entry) {
	train, eval := entries[0].Train, entries[0].Eval
	fmt.Fprintf(s.Err, "base     %s: %s, %s of width %d, %s\n", base.Path(), base.Architecture(),
		cli.Plural(base.Layers(), "layer"),
		base.Width(), cli.BytesText(cli.PathSize(base.Path())))
	fmt.Fprintf(s.Err, "data     %s, %s; evaluation %s, %s\n", cli.Plural(train.Len(), "example"),
		cli.Plural(train.Tokens(), "token"),
		cli.Plural(eval.Len(), "example"), cli.Plural(eval.Tokens(), "token"))
	for _, note := range slices.Concat(train.Notes(), eval.Notes()) {
		fmt.Fprintf(s.Err, "note: %s\n", cli.Line(note))
	}
}

// options are those of the library, with a progress display.
func (o *compareOptions) options(s cli.Streams, entries []train.Entry,
	finished *atomic.Pointer[train.Comparison]) train.CompareOptions {
	opt := train.CompareOptions{Train: o.common(), Tokens: o.tokens, Points: o.points}
	opt.Train.SeqLen = o.SeqLen
	var m *cli.Meter
	opt.Started = func(i int, lr float64) {
		m = cli.NewMeter(s.Err, "step")
		a := entries[i].Adapter
		fmt.Fprintf(s.Err, "\n%d/%d  %s: %s, %s, learning rate %.4g\n", i+1, len(entries), entries[i].Name, a.Describe(),
			cli.Plural(a.Parameters(), "parameter"), lr)
	}
	opt.Progress = func(_ int, p train.Progress) {
		m.Update(int64(p.Step), int64(p.Steps), watching.StepNote(p, p.Loss))
		if p.Step == p.Steps {
			m.Stop()
		}
	}
	opt.Failed = func(i int, failure error) {
		m.Stop()
		fmt.Fprintf(s.Err, "warning: %s: %s\n", entries[i].Name, cli.ErrorText(failure))
	}
	opt.Finished = func(i int, c *train.Comparison) {
		m.Stop()
		finished.Store(c)
		r := &c.Methods[len(c.Methods)-1]
		fmt.Fprintf(s.Err, "loss on the evaluation data: base %.4f, adapter %.4f\n", r.BaseLoss, r.EvalLoss)
		o.keep(s, entries[i])
	}
	return opt
}

// keep saves an adapter where --dir asks for it.
func (o *compareOptions) keep(s cli.Streams, e train.Entry) {
	if o.dir == "" {
		return
	}
	path := filepath.Join(o.dir, fileName(e.Name)+".safetensors")
	err := os.MkdirAll(o.dir, 0o755)
	if err == nil {
		err = e.Adapter.Save(path)
	}
	if err != nil {
		fmt.Fprintf(s.Err, "warning: %s\n", cli.ErrorText(err))
	}
}

// fileName is a variant's text with "_" for characters that file systems do not allow.
func fileName(text string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(`:/\"*?<>| `, r) {
			return '_'
		}
		return r
	}, text)
}

// deliver prints the table and writes the requested files, once. Where no method is finished it does nothing.
func (o *compareOptions) deliver(s cli.Streams, c *train.Comparison) (err error) {
	if c != nil && len(c.Methods) > 0 {
		o.delivered.Do(func() { err = o.write(s, c) })
	}
	return err
}

func (o *compareOptions) write(s cli.Streams, c *train.Comparison) error {
	if o.demo {
		c.Base = "built-in model"
	}
	table := report.ComparisonTable(c)
	if o.svg != "" {
		if err := writeBytes(s.Out, o.svg, chart.SVG(report.ComparisonChart(c))); err != nil {
			return err
		}
	}
	if o.report != "" {
		if err := reporting.Write(o.report, report.ComparisonPage(c)); err != nil {
			return err
		}
	}
	if o.markdown != "" {
		if err := writeBytes(s.Out, o.markdown, []byte(o.markdownOf(c, table))); err != nil {
			return err
		}
	}
	if o.json {
		return cli.PrintJSON(s.Out, c)
	}
	if o.svg != "-" && o.markdown != "-" {
		fmt.Fprint(s.Out, report.AlignedTable(table))
	}
	return nil
}

func writeBytes(stdout io.Writer, path string, data []byte) error {
	if path == "-" {
		_, err := stdout.Write(data)
		return err
	}
	return atomicfile.WriteBytes(path, data)
}

// markdownOf is the table, what it was made with, and the picture.
func (o *compareOptions) markdownOf(c *train.Comparison, table [][]string) string {
	var b strings.Builder
	for i, row := range table {
		cells := append([]string(nil), row...)
		if i > 0 {
			cells[0] = "`" + cells[0] + "`"
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
		if i == 0 {
			fmt.Fprintf(&b, "|:--%s|\n", strings.Repeat("|--:", len(row)-1))
		}
	}
	fmt.Fprintf(&b, "\n%s\n", report.ComparisonBudget(c))
	if o.svg != "" {
		path := o.svg
		if from, err := filepath.Rel(filepath.Dir(o.markdown), o.svg); err == nil {
			path = from
		}
		fmt.Fprintf(&b, "\n![loss on the evaluation data, by step](<%s>)\n", filepath.ToSlash(path))
	}
	return b.String()
}
