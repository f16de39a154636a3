package train

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/gguf/imatrix"
	"github.com/peftconv/peftconv/gguf/quantize"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/evaluate"
	"github.com/peftconv/peftconv/internal/methods"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/peft"
	"github.com/peftconv/peftconv/peft/eval"
	"github.com/peftconv/peftconv/peft/merge"
	"github.com/peftconv/peftconv/peft/method"
)

// TestQATFrontier compares settings of --qat by the loss on a text that is learned and that on a text which the base
// knew, over a file as `quantize` makes it. PEFTCONV_FRONTIER says what, as words key=value: results=FILE base=FILE
// imatrix=FILE train=FILE valid=FILE known-train=FILE known=FILE types=Q4_K_M,Q2_K seeds=1,2 rates=1e-3,2e-3
// runs=auto,code~rank=24 steps=80 rank=16 levels=1,2.
//
// A run is the channels, with a dither after a slash, or "lora", and options after a tilde each:
//
//	rank=N, steps=N     in place of those of all runs
//	scale=F             the multiplier of the rate of the channel scale
//	decay=F             weight decay
//	schedule=NAME       of the rate
//	latent              codes are rounded from the weights of base
//	plain               over a file that was quantized without the importance matrix
//	nearest=F           codes are rounded to nearest in this last share of the steps
//	average=F           the parameters are the mean over this last share of the steps
//	retain              known-train is retained
//	then                the base is not quantized in training, but merged after it, and quantized with an importance
//	                    matrix of both texts
//
// results gets a line of tab-separated fields for each run and rate: type, seed, run, rate, parameters, seconds of
// training, loss on what is learned, loss on what was known. Lines that it has are not made again. At the end it
// prints, for each run, the means over seeds, and the loss on what is learned where that on the known is at each level,
// interpolated between rates.
func TestQATFrontier(t *testing.T) {
	spec := os.Getenv("PEFTCONV_FRONTIER")
	if spec == "" {
		t.Skip("PEFTCONV_FRONTIER is not set")
	}
	f := newFrontier(t, spec)
	for _, typ := range f.list("types", "Q4_K_M,Q4_0,Q2_K,IQ3_XXS") {
		for _, seed := range f.list("seeds", "1") {
			for _, run := range f.list("runs", "auto") {
				for _, rate := range f.list("rates", "5e-4,1e-3,2e-3,4e-3") {
					f.run(typ, seed, run, rate)
				}
			}
		}
	}
	f.print()
}

// frontier is what all runs share.
type frontier struct {
	experiments
	points []*frontierPoint // that the results have
	bases  map[string]string
}

// frontierPoint is a line of the results.
type frontierPoint struct {
	typ, seed, run, rate    string
	parameters              int
	seconds, learned, known float64
}

func newFrontier(t *testing.T, spec string) *frontier {
	f := &frontier{experiments: experiments{t: t, words: wordsOf(spec), dir: t.TempDir()}, bases: map[string]string{}}
	data, err := os.ReadFile(f.words["results"])
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		p := &frontierPoint{}
		if _, err := fmt.Sscan(line, &p.typ, &p.seed, &p.run, &p.rate, &p.parameters, &p.seconds, &p.learned,
			&p.known); err != nil {
			t.Fatalf("%s: %q: %v", f.words["results"], line, err)
		}
		f.points = append(f.points, p)
	}
	return f
}

// run trains and measures one adapter, if the results have it not yet.
func (f *frontier) run(typ, seed, run, rate string) {
	p := &frontierPoint{typ: typ, seed: seed, run: run, rate: rate}
	if slices.ContainsFunc(f.points, func(q *frontierPoint) bool {
		return q.typ == typ && q.seed == seed && q.run == run && q.rate == rate
	}) {
		return
	}
	f.measure(p)
	line := fmt.Sprintf("%s\t%s\t%s\t%s\t%d\t%.1f\t%.4f\t%.4f\n", typ, seed, run, rate, p.parameters, p.seconds,
		p.learned, p.known)
	fmt.Print(line)
	f.points = append(f.points, p)
	file, err := os.OpenFile(f.words["results"], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString(line); err != nil {
		f.t.Fatal(err)
	}
}

// quantized makes a file of a type of another, as `quantize` does; m may be nil.
func (f *frontier) quantized(path, typ string, m *imatrix.Matrix) string {
	from, err := gguf.Open(path)
	if err != nil {
		f.t.Fatal(err)
	}
	defer from.Close()
	opt := quantize.Options{AllowRequantize: true, Imatrix: m}
	if opt.Type, err = quantize.ParseFileType(typ); err != nil {
		f.t.Fatal(err)
	}
	plan, err := quantize.NewPlan(from, opt)
	if err != nil {
		f.t.Fatal(err)
	}
	out := filepath.Join(f.t.TempDir(), typ+".gguf")
	if err := plan.Write(f.t.Context(), out, nil); err != nil {
		f.t.Fatal(err)
	}
	return out
}

// baseOf is the file that a run trains over.
func (f *frontier) baseOf(typ string, o runOptions) string {
	if o.has("then") {
		return f.words["base"]
	}
	name := typ
	var m *imatrix.Matrix
	if path := f.words["imatrix"]; path != "" && !o.has("plain") {
		name += " weighted"
		var err error
		if m, err = imatrix.Open(path); err != nil {
			f.t.Fatal(err)
		}
	}
	if f.bases[name] == "" {
		f.bases[name] = f.quantized(f.words["base"], typ, m)
	}
	return f.bases[name]
}

// runOptions are the options of a run, by name.
type runOptions struct {
	t      *testing.T
	values map[string]string
}

func newRunOptions(t *testing.T, words []string) runOptions {
	o := runOptions{t, map[string]string{}}
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		if !slices.Contains(strings.Fields("rank steps scale decay schedule latent plain nearest average retain then"), key) {
			t.Fatalf("option %s of a run is not known", key)
		}
		o.values[key] = value
	}
	return o
}

func (o runOptions) has(key string) bool {
	_, ok := o.values[key]
	return ok
}

func (o runOptions) number(key string, missing float64) float64 {
	if !o.has(key) {
		return missing
	}
	n, err := strconv.ParseFloat(o.values[key], 64)
	if err != nil {
		o.t.Fatalf("option %s: %v", key, err)
	}
	return n
}

// measure fills in what a run gives.
func (f *frontier) measure(p *frontierPoint) {
	t := f.t
	words := strings.Split(p.run, "~")
	o := newRunOptions(t, words[1:])
	b := pefttest.OpenBase(t, f.baseOf(p.typ, o))
	if o.has("latent") {
		if err := b.OpenMaster(f.words["base"]); err != nil {
			t.Fatal(err)
		}
	}
	seed, err := strconv.ParseUint(p.seed, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	usual := methods.ChannelRates[method.ChannelScale]
	methods.ChannelRates[method.ChannelScale] = o.number("scale", usual)
	defer func() { methods.ChannelRates[method.ChannelScale] = usual }()
	a, err := adapterNamed(b, words[0], int(o.number("rank", float64(f.number("rank", 16)))), seed, o.has("latent"))
	if err != nil {
		t.Fatal(err)
	}
	p.parameters = a.Parameters()
	tr := f.trained(b, a, p, seed, o)
	p.seconds = tr.clock.spent.Seconds()
	if o.has("then") {
		b = pefttest.OpenBase(t, f.then(b, a, p.typ))
		p.learned, p.known = f.loss(b, nil, "valid"), f.loss(b, nil, "known")
		return
	}
	tr.bound.Train(false)
	p.learned, p.known = f.loss(b, attach.Stack{tr.bound}, "valid"), f.loss(b, attach.Stack{tr.bound}, "known")
}

// trained is the trainer of a run, at its end.
func (f *frontier) trained(b *attach.Base, a *attach.Adapter, p *frontierPoint, seed uint64, o runOptions) *trainer {
	t := f.t
	rate, err := strconv.ParseFloat(p.rate, 64)
	if err != nil {
		t.Fatal(err)
	}
	opt := plain(Options{Steps: int(o.number("steps", float64(f.number("steps", 80)))), BatchTokens: 1024, LR: rate,
		Clip: 1, Seed: seed, Schedule: cmp.Or(o.values["schedule"], ScheduleCosine), WeightDecay: o.number("decay", -1)})
	if o.has("retain") {
		opt.Retain = &Retention{Data: pefttest.Data(f.load(b, f.words["known-train"]))}
	}
	late := &lateSteps{nearest: o.number("nearest", 0), average: o.number("average", 0)}
	opt.Observer = late
	tr, err := newTrainer(b, a, f.load(b, f.words["train"]), nil, opt)
	if err != nil {
		t.Fatal(err)
	}
	late.trainer = tr
	if _, err := tr.runAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	late.end()
	return tr
}

// then is the file of a type of the base with an adapter, quantized with an importance matrix of both texts.
func (f *frontier) then(b *attach.Base, a *attach.Adapter, typ string) string {
	t := f.t
	merged := filepath.Join(t.TempDir(), "merged.gguf")
	if _, err := merge.Run(t.Context(), pefttest.Base(b), pefttest.Scaled([]attach.Scaled{{Adapter: a, Scale: 1}}), merged,
		merge.Options{Type: "F32"}); err != nil {
		t.Fatal(err)
	}
	tuned := pefttest.Base(pefttest.OpenBase(t, merged))
	m := &imatrix.Matrix{ChunkSize: eval.DefaultWindow}
	for _, text := range []string{"train", "known-train"} {
		ids, err := tuned.TokenizeData(f.words[text], peft.DataOptions{})
		if err != nil {
			t.Fatal(err)
		}
		more, err := eval.Importance(t.Context(), tuned, ids, eval.ImportanceOptions{Chunks: 50})
		if err == nil {
			err = m.Merge(more)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return f.quantized(merged, typ, m)
}

func (f *frontier) loss(b *attach.Base, adapters attach.Stack, text string) float64 {
	r, err := evaluate.LossOf(f.t.Context(), b, adapters, f.load(b, f.words[text]), 2048, autograd.NewTape())
	if err != nil {
		f.t.Fatal(err)
	}
	return r.Loss
}

// lateSteps does what the options nearest and average ask for in the last steps.
type lateSteps struct {
	Ignore
	trainer          *trainer
	nearest, average float64 // shares of the steps
	sums             []float64
	n                int
}

// Step is called after each step.
func (s *lateSteps) Step(p Progress) {
	t := s.trainer
	if s.nearest > 0 && p.Step == p.Steps-int(s.nearest*float64(p.Steps)) {
		for _, blocks := range t.bound.Effect.Blocks {
			blocks.Codes = requant.NearestCodes
		}
		t.bound.Stepped(p.Step, p.Steps)
	}
	if s.average > 0 && p.Step > p.Steps-int(s.average*float64(p.Steps)) {
		s.sums, s.n = slices.Grow(s.sums, len(t.bound.Values))[:len(t.bound.Values)], s.n+1
		for i, v := range t.bound.Values {
			s.sums[i] += float64(v)
		}
	}
}

// end sets the parameters to their mean.
func (s *lateSteps) end() {
	if s.n == 0 {
		return
	}
	for i, v := range s.sums {
		s.trainer.bound.Values[i] = float32(v / float64(s.n))
	}
	s.trainer.bound.Stepped(s.trainer.schedule.steps, s.trainer.schedule.steps)
}

// print writes a table of the means over seeds.
func (f *frontier) print() {
	levels := f.list("levels", "1,1.5,2.5")
	fmt.Printf("| type | run | seeds | parameters | seconds | learned / known, by rate | learned, known at %s |\n",
		strings.Join(levels, ", "))
	fmt.Println("|---|---|---|---|---|---|---|")
	var seen []string
	for _, p := range f.points {
		if name := p.typ + " " + p.run; !slices.Contains(seen, name) {
			seen = append(seen, name)
			f.printRun(p, levels)
		}
	}
}

// printRun writes the line of a run.
func (f *frontier) printRun(of *frontierPoint, levels []string) {
	var means []*frontierPoint // by rate
	seeds := map[string]int{}  // likewise
	for _, p := range f.points {
		if p.typ != of.typ || p.run != of.run {
			continue
		}
		i := slices.IndexFunc(means, func(m *frontierPoint) bool { return m.rate == p.rate })
		if i < 0 {
			i, means = len(means), append(means, &frontierPoint{rate: p.rate})
		}
		m := means[i]
		seeds[p.rate]++
		m.seconds, m.learned, m.known = m.seconds+p.seconds, m.learned+p.learned, m.known+p.known
	}
	slices.SortFunc(means, func(a, b *frontierPoint) int { return cmp.Compare(f.value(a.rate), f.value(b.rate)) })
	seconds, most := 0.0, 0
	var figures, at []string
	for _, m := range means {
		n := float64(seeds[m.rate])
		m.learned, m.known = m.learned/n, m.known/n
		seconds, most = seconds+m.seconds/n/float64(len(means)), max(most, seeds[m.rate])
		figures = append(figures, fmt.Sprintf("%s: %.3f / %.2f", m.rate, m.learned, m.known))
	}
	for _, level := range levels {
		at = append(at, learnedAt(means, f.value(level)))
	}
	fmt.Printf("| %s | %s | %d | %d | %.1f | %s | %s |\n", of.typ, of.run, most, of.parameters, seconds,
		strings.Join(figures, ", "), strings.Join(at, ", "))
}

func (f *frontier) value(s string) float64 {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		f.t.Fatal(err)
	}
	return v
}

// learnedAt is the loss on what is learned where that on the known has a value, linear in its logarithm between two
// points; a dash where it is outside of them.
func learnedAt(points []*frontierPoint, known float64) string {
	points = slices.Clone(points)
	slices.SortFunc(points, func(a, b *frontierPoint) int { return cmp.Compare(a.known, b.known) })
	for i := 1; i < len(points); i++ {
		p, q := points[i-1], points[i]
		if p.known <= known && known <= q.known && p.known < q.known {
			part := math.Log(known/p.known) / math.Log(q.known/p.known)
			return fmt.Sprintf("%.3f", p.learned+part*(q.learned-p.learned))
		}
	}
	return "–"
}
