package report

import (
	"cmp"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/peftconv/peftconv/internal/chart"
	"github.com/peftconv/peftconv/internal/cli"
	"github.com/peftconv/peftconv/internal/runlog"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/algebra"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/train"
)

// Run is what is known of a training run, or of an adapter: what is not known stays zero.
type Run struct {
	Name    string // to tell it from others
	Log     *runlog.Log
	Adapter *Trained
	Config  string // the file that repeats the run
}

// Trained is an adapter, as far as a report says something of it.
type Trained struct {
	File       string
	SHA256     string // of the file
	Describe   string
	Method     string // PEFT's
	Parameters int
	BaseModel  string // what PEFT loads it onto
	Origin     peft.Origin
	Norms      []algebra.ModuleNorm // of its changes
	Tensors    []algebra.ModuleNorm // of its own tensors, where it changes no weights or they cannot be found
}

// mostName is how many characters of a run's name are shown.
const mostName = 80

// sizes of the plots of a page, in pixels.
const plotWidth, plotHeight = 420.0, 200.0

// RunsPage is the report of one or several runs, and of merges.
func RunsPage(runs []Run, merges []*merge.Report) *Page {
	runs = slices.Clone(runs)
	for i := range runs {
		runs[i].Name = cli.Cut(runs[i].Name, mostName)
	}
	p := &Page{Title: titleOf(runs, merges), Lead: leadOf(runs)}
	several := len(runs) > 1
	p.add("Before and after", beforeAfter(runs, several))
	p.add("Curves", curves(runs, several))
	p.add("Samples", samples(runs, several)...)
	p.add("Change of the weights", changes(runs, several)...)
	for _, m := range merges {
		p.addMerge(m)
	}
	p.add("Data", data(runs, several)...)
	p.add("Time and memory", costs(runs, several)...)
	for i := range runs {
		title := "The run"
		if several {
			title += " " + runs[i].Name
		}
		p.add(title, runs[i].facts())
	}
	return p
}

func titleOf(runs []Run, merges []*merge.Report) string {
	var names []string
	for i := range runs {
		names = append(names, runs[i].Name)
	}
	for _, m := range merges {
		names = append(names, filepath.Base(m.Output))
	}
	return cli.Cut(strings.Join(names, ", "), 200)
}

// leadOf says what one run came to.
func leadOf(runs []Run) string {
	if len(runs) != 1 {
		return ""
	}
	r := &runs[0]
	var parts []string
	if about := r.about(); about != nil && about.Adapter != "" {
		parts = append(parts, about.Adapter, "over "+filepath.Base(about.Base))
	} else if r.Adapter != nil {
		parts = append(parts, r.Adapter.Describe, "over "+filepath.Base(r.Adapter.Origin.Base))
	}
	return strings.Join(append(parts, r.state()), "; ")
}

// about is the last start of the run; nil where there is no log.
func (r *Run) about() *runlog.Start {
	if r.Log == nil || len(r.Log.Starts) == 0 {
		return nil
	}
	return &r.Log.Starts[len(r.Log.Starts)-1]
}

// state says how far the run came.
func (r *Run) state() string {
	s := r.about()
	if s == nil {
		return "there is no log of its training"
	}
	done := s.Step
	if n := len(r.Log.Steps); n > 0 {
		done = r.Log.Steps[n-1].Step
	}
	switch {
	case r.Log.End == nil:
		return fmt.Sprintf("step %s of %s: the run has not ended, or was stopped", cli.CountText(done),
			cli.CountText(s.Steps))
	case r.Log.End.StoppedEarly:
		return "stopped early after " + cli.Plural(done, "step")
	}
	return "finished after " + cli.Plural(done, "step")
}

// outcome is what a run measured on its evaluation data.
type outcome struct {
	base, after     *float64
	accuracy        *float64
	step            int
	baseFiles, late []peft.FileLoss
	sample          bool
}

// outcome looks for it in the log, and in what the adapter records.
func (r *Run) outcome() (o outcome) {
	if r.Adapter != nil {
		if t := r.Adapter.Origin.Training; t != nil {
			o.base, o.after, o.step = t.BaseLoss, t.EvalLoss, cmp.Or(t.BestStep, t.Steps)
		}
	}
	if r.Log == nil {
		return o
	}
	best := 0
	if r.Log.End != nil {
		best = r.Log.End.BestStep
	}
	if s := r.about(); s != nil && s.Evaluation != nil {
		o.sample = s.Evaluation.Sample
	}
	for i := range r.Log.Evaluations {
		e := &r.Log.Evaluations[i]
		switch {
		case e.Base:
			o.base, o.baseFiles = &e.Loss, e.Files
		case best == 0 || e.Step <= best:
			o.after, o.accuracy, o.step, o.late = &e.Loss, e.Accuracy, e.Step, e.Files
		}
	}
	return o
}

// beforeAfter is the table of losses.
func beforeAfter(runs []Run, several bool) *Table {
	t := &Table{Caption: "Loss and perplexity of the base, and of the base with the adapter", Texts: 1}
	t.Head = []string{"data", "loss before", "after", "change", "perplexity before", "after"}
	classified := slices.ContainsFunc(runs, func(r Run) bool { return r.outcome().accuracy != nil })
	if classified {
		t.Head = append(t.Head, "accuracy after")
	}
	if several {
		t.Head, t.Texts = append([]string{"run"}, t.Head...), 2
	}
	for i := range runs {
		o := runs[i].outcome()
		row := func(name string, base, after, accuracy *float64) {
			if base == nil && after == nil {
				return
			}
			cells := append([]string{name}, lossCells(base, after)...)
			if classified {
				cells = append(cells, percent(accuracy))
			}
			if several {
				cells = append([]string{runs[i].Name}, cells...)
			}
			t.Rows = append(t.Rows, cells)
		}
		name := "evaluation data"
		if o.sample {
			name = "a sample of the training data"
		}
		if o.step > 0 {
			name += ", after step " + cli.CountText(o.step)
		}
		row(name, o.base, o.after, o.accuracy)
		files := filesOf(&o)
		for _, f := range files[:min(len(files), mostFiles)] {
			row(f.path, f.base, f.after, f.accuracy)
		}
	}
	return t
}

// mostFiles is how many files of the evaluation data are shown.
const mostFiles = 200

// fileOutcome is what was measured on a file of several.
type fileOutcome struct {
	path                  string
	base, after, accuracy *float64
}

// filesOf are the files that were measured before or after.
func filesOf(o *outcome) (files []fileOutcome) {
	for i := range o.baseFiles {
		files = append(files, fileOutcome{path: o.baseFiles[i].Path, base: &o.baseFiles[i].Loss})
	}
	for i := range o.late {
		f := &o.late[i]
		at := slices.IndexFunc(files, func(have fileOutcome) bool { return have.path == f.Path })
		if at < 0 {
			files, at = append(files, fileOutcome{path: f.Path}), len(files)
		}
		files[at].after, files[at].accuracy = &f.Loss, f.Accuracy
	}
	return files
}

// lossCells are the cells of a loss before and after.
func lossCells(base, after *float64) []string {
	change := "–"
	if base != nil && after != nil {
		change = fmt.Sprintf("%+.4f", *after-*base)
	}
	perplexity := func(loss *float64) string {
		if loss == nil {
			return "–"
		}
		return fmt.Sprintf("%.3f", math.Exp(*loss))
	}
	return []string{lossText(base), lossText(after), change, perplexity(base), perplexity(after)}
}

func lossText(loss *float64) string {
	if loss == nil {
		return "–"
	}
	return fmt.Sprintf("%.4f", *loss)
}

// mostPoints is how many points a curve has at most: each is the mean of the steps that it stands for.
const mostPoints = 400

// smoothing is what a smoothed curve keeps of what was before, as on the terminal.
const smoothing = 0.9

// curveOf is a curve of the steps, and the same smoothed.
func curveOf(steps []runlog.Step, value func(s *runlog.Step) float64) (means, smooth []chart.Point) {
	each := max(1, (len(steps)+mostPoints-1)/mostPoints)
	average := 0.0
	for from := 0; from < len(steps); from += each {
		to := min(len(steps), from+each)
		sum := 0.0
		for i := from; i < to; i++ {
			v := value(&steps[i])
			sum += v
			if i == 0 {
				average = v
			}
			average = smoothing*average + (1-smoothing)*v
		}
		x := float64(steps[to-1].Step)
		means = append(means, chart.Point{X: x, Y: sum / float64(to-from)})
		smooth = append(smooth, chart.Point{X: x, Y: average})
	}
	return means, smooth
}

// curves are the charts over the steps.
func curves(runs []Run, several bool) Figures {
	var figures Figures
	loss := newLines("Loss", "nats a token")
	eval := loss
	if several {
		eval = newLines("Loss on the evaluation data", "nats a token")
	}
	for i := range runs {
		if runs[i].Log == nil {
			continue
		}
		lossLines(loss, &runs[i], i, several)
		evaluationLines(eval, &runs[i], i, several)
	}
	figures = addLines(figures, loss)
	if several {
		figures = addLines(figures, eval)
	}
	for _, c := range []struct {
		title, unit string
		linear      bool
		value       func(s *runlog.Step) float64
	}{
		{"Learning rate", "rate", true, func(s *runlog.Step) float64 { return s.LR }},
		{"Norm of the gradient", "before clipping", false, func(s *runlog.Step) float64 { return s.GradNorm }},
		{"Speed", "tokens a second", true, func(s *runlog.Step) float64 { return float64(s.Tokens) / s.Seconds }},
		{"Memory", "MB resident", true, func(s *runlog.Step) float64 { return float64(s.Memory) / 1e6 }},
	} {
		lines := newLines(c.title, c.unit)
		lines.Linear = c.linear
		for i := range runs {
			if runs[i].Log == nil || len(runs[i].Log.Steps) == 0 {
				continue
			}
			means, _ := curveOf(runs[i].Log.Steps, c.value)
			l := chart.Line{Points: means, Style: i + 1}
			if several {
				l.Name = runs[i].Name
			}
			lines.Lines = append(lines.Lines, l)
		}
		figures = addLines(figures, lines)
	}
	return figures
}

func newLines(title, unit string) *chart.Lines {
	return &chart.Lines{Title: title, X: "step", Y: unit, Width: plotWidth, Height: plotHeight}
}

// addLines adds a chart that has a line.
func addLines(figures Figures, lines *chart.Lines) Figures {
	if len(lines.Lines) == 0 {
		return figures
	}
	return append(figures, lines)
}

// lossLines adds the loss of the steps of a run.
func lossLines(to *chart.Lines, r *Run, i int, several bool) {
	if len(r.Log.Steps) == 0 {
		return
	}
	means, smooth := curveOf(r.Log.Steps, func(s *runlog.Step) float64 { return s.Loss })
	if several {
		to.Lines = append(to.Lines, chart.Line{Name: r.Name, Points: smooth, Style: i + 1})
		return
	}
	to.Lines = append(to.Lines, chart.Line{Points: means, Style: 1, Pale: true},
		chart.Line{Name: "training, smoothed", Points: smooth, Style: 1})
}

// evaluationLines adds the evaluations of a run, and the loss of its base.
func evaluationLines(to *chart.Lines, r *Run, i int, several bool) {
	l := chart.Line{Name: "evaluation", Style: 2, Dots: true}
	if several {
		l.Name, l.Style = r.Name, i+1
	}
	for _, e := range r.Log.Evaluations {
		level := chart.Level{Name: "base", Y: e.Loss}
		switch {
		case !e.Base:
			l.Points = append(l.Points, chart.Point{X: float64(e.Step), Y: e.Loss})
		case !slices.Contains(to.Levels, level):
			to.Levels = append(to.Levels, level)
		}
	}
	l.Points = thinned(l.Points)
	l.Dots = len(l.Points) <= 60
	if len(l.Points) > 0 {
		to.Lines = append(to.Lines, l)
	}
}

// thinned are at most mostPoints of some points, the last one among them.
func thinned(points []chart.Point) (some []chart.Point) {
	each := max(1, (len(points)+mostPoints-1)/mostPoints)
	for i := (len(points) - 1) % each; i < len(points); i += each {
		some = append(some, points[i])
	}
	return some
}

// Of samples are shown so many prompts, so many answers of a run to one, and so many characters of each.
const mostPrompts, mostAnswers, mostAnswer = 50, 6, 1200

// samples are the answers of all runs by prompt: that of the base, and the last of each run; of one run also those
// between.
func samples(runs []Run, several bool) (blocks []Block) {
	byPrompt := map[string]*Answers{}
	for i := range runs {
		if runs[i].Log == nil {
			continue
		}
		for _, s := range latest(runs[i].Log.Samples) {
			a := byPrompt[s[0].Prompt]
			if a == nil {
				if len(blocks) == mostPrompts {
					continue
				}
				a = &Answers{Prompt: cli.Cut(s[0].Prompt, mostAnswer)}
				byPrompt[s[0].Prompt] = a
				blocks = append(blocks, a)
			}
			name := ""
			if several {
				name = runs[i].Name + ", "
			}
			a.take(s, name)
		}
	}
	return blocks
}

// latest are the samples of each prompt, in the order in which they were given.
func latest(all []runlog.Sample) (groups [][]runlog.Sample) {
	at := map[string]int{}
	for _, s := range all {
		i, ok := at[s.Prompt]
		if !ok {
			i = len(groups)
			at[s.Prompt] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], s)
	}
	return groups
}

// take adds the answers of a run to the prompt.
func (a *Answers) take(all []runlog.Sample, name string) {
	answer := func(s *runlog.Sample) Answer {
		when := "after step " + cli.CountText(s.Step)
		if s.Base {
			when = "the base"
		}
		return Answer{When: name + when, Text: cli.Cut(s.Text, mostAnswer), Error: cli.Cut(s.Error, mostAnswer)}
	}
	if all[0].Base {
		first := answer(&all[0])
		same := slices.ContainsFunc(a.Shown, func(b Answer) bool {
			return b.Text == first.Text && strings.HasSuffix(b.When, "the base")
		})
		if !same {
			a.Shown = append(a.Shown, first)
		}
		all = all[1:]
	}
	if len(all) == 0 {
		return
	}
	a.Shown = append(a.Shown, answer(&all[len(all)-1]))
	all = all[:len(all)-1]
	each := max(1, (len(all)+mostAnswers-1)/mostAnswers)
	for i := each - 1; i < len(all); i += each {
		a.More = append(a.More, answer(&all[i]))
	}
}

// mostRanges is how many ranges of lengths are shown.
const mostRanges = 100

// data are the facts and the lengths of the data.
func data(runs []Run, several bool) (blocks []Block) {
	t := &Table{Caption: "What was trained and measured on", Texts: 2,
		Head: []string{"data", "files", "examples", "tokens", "with loss"}}
	if several {
		t.Head, t.Texts = append([]string{"run"}, t.Head...), 3
	}
	var figures Figures
	for i := range runs {
		s := runs[i].about()
		if s == nil {
			continue
		}
		lengths := &chart.Histogram{Title: "Lengths of the examples", X: "tokens", Y: "examples", Width: plotWidth,
			Height: plotHeight}
		if several {
			lengths.Title += " of " + runs[i].Name
		}
		for _, d := range []struct {
			name string
			data *runlog.Data
		}{{"training", s.Data}, {"evaluation", s.Evaluation}} {
			if d.data == nil {
				continue
			}
			name := d.name
			if d.data.Sample {
				name += ": a sample of the training data"
			}
			row := []string{name, strings.Join(d.data.Files, ", "), cli.CountText(d.data.Examples),
				cli.CountText(d.data.Tokens), cli.CountText(d.data.TokensWithLoss)}
			if several {
				row = append([]string{runs[i].Name}, row...)
			}
			t.Rows = append(t.Rows, row)
			l := d.data.Lengths
			fits := l != nil && l.Step > 0 && len(l.Counts) <= mostRanges
			if fits && (d.name == "training" || float64(l.Step) == lengths.Step) {
				lengths.Step = float64(l.Step)
				lengths.Series = append(lengths.Series, chart.Counted{Name: d.name, Counts: l.Counts})
			}
		}
		if len(lengths.Series) > 0 {
			figures = append(figures, lengths)
		}
	}
	return []Block{t, figures}
}

// costs are where the time and the memory went.
func costs(runs []Run, several bool) []Block {
	var figures Figures
	t := &Table{Caption: "What the runs took", Head: []string{"run", "time in steps", "evaluating", "sampling", "tokens",
		"tokens a second", "most memory"}}
	for i := range runs {
		r := &runs[i]
		s := r.about()
		if s == nil {
			continue
		}
		of := ""
		if several {
			of = " of " + r.Name
		}
		t.Rows = append(t.Rows, append([]string{r.Name}, r.took()...))
		if end := r.Log.End; end != nil && len(end.Parts) > 0 {
			parts := &chart.Bars{Title: "Time of the steps by part" + of, Width: 220}
			for _, name := range train.StepParts() {
				parts.Bars = append(parts.Bars, chart.Bar{Name: name, Value: end.Parts[name], Text: secondsText(end.Parts[name])})
			}
			figures = append(figures, parts)
		}
		figures = append(figures, memoryBars(&s.Memory, of))
	}
	return []Block{t, figures}
}

// took is a row of the table.
func (r *Run) took() []string {
	var steps, evals, sampled float64
	var tokens, memory int64
	for _, s := range r.Log.Steps {
		steps, tokens, memory = steps+s.Seconds, s.TokensSeen, max(memory, s.Memory)
	}
	for _, e := range r.Log.Evaluations {
		evals += e.Seconds
	}
	for _, s := range r.Log.Samples {
		sampled += s.Seconds
	}
	if r.Log.End != nil {
		memory = max(memory, r.Log.End.PeakRSS)
	}
	rate := "–"
	if steps > 0 {
		rate = cli.CountText(int64(float64(tokens) / steps))
	}
	return []string{secondsText(steps), secondsText(evals), secondsText(sampled), cli.CountText(tokens), rate,
		cli.BytesText(memory)}
}

// secondsText is a time for people.
func secondsText(seconds float64) string {
	if seconds < 100 {
		return fmt.Sprintf("%.1f s", seconds)
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}

// memoryBars are the parts of the memory that was planned.
func memoryBars(m *runlog.Memory, of string) *chart.Bars {
	bars := &chart.Bars{Title: "Memory by part, as it was planned" + of, Width: 220}
	for _, part := range m.Parts() {
		bars.Bars = append(bars.Bars, chart.Bar{Name: part.Name, Value: float64(part.Bytes), Text: cli.BytesText(part.Bytes),
			Style: 2})
	}
	return bars
}

// facts are what was trained on what.
func (r *Run) facts() Facts {
	var f Facts
	add := func(name, value string) { f = append(f, Fact{name, value}) }
	a, s := r.Adapter, r.about()
	if a != nil {
		add("adapter", a.Describe+", "+cli.Plural(a.Parameters, "parameter"))
		add("file", a.File)
		add("SHA-256 of the file", a.SHA256)
	} else if s != nil {
		add("adapter", s.Adapter+", "+cli.Plural(s.Parameters, "parameter"))
		add("file", s.Out)
	}
	add("state", r.state())
	base, hash, dataHash, architecture := "", "", "", ""
	if a != nil {
		base, hash, architecture = a.Origin.Base, a.Origin.BaseSHA256, a.Origin.Architecture
	}
	if s != nil {
		base, architecture = s.Base, s.Architecture
		if s.BaseBytes > 0 {
			architecture += ", " + cli.BytesText(s.BaseBytes)
		}
		if end := r.Log.End; end != nil {
			hash, dataHash = cmp.Or(end.BaseSHA256, hash), end.DataSHA256
		}
	}
	add("base", base)
	add("architecture", architecture)
	add("SHA-256 of the base", hash)
	add("SHA-256 of the data's token ids", dataHash)
	if s != nil {
		add("steps", cli.CountText(s.Steps)+fmt.Sprintf(", batches of at most %s", cli.Plural(s.BatchTokens, "token")))
		add("learning rate", fmt.Sprintf("%.4g at its highest, %s", s.LR, s.Schedule))
		add("seed", fmt.Sprint(s.Seed))
		add("precision", strings.TrimSuffix(s.Precision+": "+s.Reason, ": "))
		add("begun", r.Log.Starts[0].Time.UTC().Format(time.DateTime+" MST"))
		var resumed []string
		for _, again := range r.Log.Starts[1:] {
			resumed = append(resumed, fmt.Sprintf("after step %s", cli.CountText(again.Step)))
		}
		add("resumed", strings.Join(resumed, ", "))
		add("machine", s.Machine)
		add("version", s.Version)
		add("command", cli.CommandLine(append([]string{"peftconv"}, s.Command...)...))
	} else if a != nil {
		if t := a.Origin.Training; t != nil {
			add("steps", cli.CountText(t.Steps)+", "+cli.CountText(t.Tokens)+" tokens")
			add("learning rate", fmt.Sprintf("%.4g at its highest, %s", t.LearningRate, t.Schedule))
			add("seed", fmt.Sprint(t.Seed))
		}
		add("version", a.Origin.Version)
	}
	add("configuration that repeats it", r.Config)
	return f
}
