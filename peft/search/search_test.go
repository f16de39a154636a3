package search

import (
	"bytes"
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/demo/tale"
	"github.com/peftconv/peftconv/internal/pefttest"
	"github.com/peftconv/peftconv/internal/template"
	"github.com/peftconv/peftconv/internal/testdata"
	"github.com/peftconv/peftconv/kernels"
)

// demoBase opens the built-in model, whose matrices are Q8_0.
func demoBase(t *testing.T) *attach.Base {
	t.Helper()
	b, err := attach.OpenBase("../../internal/demo/base.gguf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// moodRecords are tales with the mood of their end.
func moodRecords(seed uint64, n int, heldOut bool) (all []Record) {
	for _, e := range tale.MoodTask(seed, n, heldOut) {
		all = append(all, Record{"tale": strings.TrimSuffix(e.Prompt, tale.MoodCue), "mood": strings.TrimSpace(e.Completion)})
	}
	return all
}

func moods(t *testing.T) Verbalizer {
	t.Helper()
	var labels []string
	for _, m := range tale.Moods() {
		labels = append(labels, string(m))
	}
	v, err := ParseVerbalizer(labels, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// quickSearch is a search that takes seconds.
func quickSearch(t *testing.T) (Data, Options) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	data := Split(moodRecords(11, 96, false), moodRecords(12, 48, true), 1)
	return data, Options{
		Template: "{tale}\n\nMood:[slot] {mood}", Verbalizer: moods(t),
		Beam: 2, Nominate: 12, Examples: 12, Sweeps: 2, Seed: 1,
	}
}

func search(t *testing.T, b *attach.Base, data Data, opt Options) *Result {
	t.Helper()
	r, err := Run(context.Background(), pefttest.Base(b), data, opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSearchPromptBeatsTheGivenTemplate(t *testing.T) {
	data, opt := quickSearch(t)
	r := search(t, demoBase(t), data, opt)
	t.Logf("%q: loss %.4f, accuracy %.3f; given: %.4f, %.3f", r.Template, r.Found.Loss, *r.Found.Accuracy, r.Start.Loss,
		*r.Start.Accuracy)
	if r.Found.Loss > 0.7*r.Start.Loss || *r.Found.Accuracy <= *r.Start.Accuracy {
		t.Errorf("found: loss %.4f, accuracy %.3f; given: %.4f, %.3f", r.Found.Loss, *r.Found.Accuracy, r.Start.Loss,
			*r.Start.Accuracy)
	}
}

func TestLongPromptSearches(t *testing.T) {
	if os.Getenv("PEFTCONV_LONG") == "" {
		t.Skip("minutes; set PEFTCONV_LONG")
	}
	data := Split(moodRecords(11, 400, false), moodRecords(12, 200, true), 1)
	for _, c := range []struct {
		template   string
		verbalizer Verbalizer
	}{
		{"{tale}\n\nMood:[slot*3] {mood}", moods(t)},
		{"{tale}\n\nMood:[slot*2] {mood}", nil},
		{"[slot*2]\n{tale}\n\nMood: {mood}", moods(t)},
	} {
		opt := Options{Template: c.template, Verbalizer: c.verbalizer, Sweeps: 3, Examples: 24, Nominate: 16, Seed: 1}
		r := search(t, demoBase(t), data, opt)
		t.Logf("%q: loss %.4f, given %.4f", r.Template, r.Found.Loss, r.Start.Loss)
		if r.Found.Loss >= r.Start.Loss {
			t.Errorf("%q: loss %.4f, given %.4f", r.Template, r.Found.Loss, r.Start.Loss)
		}
	}
}

func TestSearchOfCompletions(t *testing.T) {
	b, err := attach.OpenBase(testdata.Shared(t, "models/stories260K.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var records []Record
	for _, name := range strings.Fields("Lily Tom Ben Anna Max Sue Tim Sam Mia Jack Amy Bob Lucy Spot Mom Dad") {
		for _, thing := range strings.Fields("ball dog park tree") {
			records = append(records, Record{"who": name + " and the " + thing,
				"text": " Once upon a time, there was a little girl named " + name + "."})
		}
	}
	r := search(t, b, Split(records, nil, 1), Options{
		Template: "{who}[slot*3]\n{text}", Beam: 2, Nominate: 12, Examples: 8, Sweeps: 2, Seed: 1})
	t.Logf("%q: loss %.4f, given %.4f", r.Template, r.Found.Loss, r.Start.Loss)
	if r.Found.Accuracy != nil || r.Found.Loss >= r.Start.Loss {
		t.Errorf("%q: %+v, given %+v", r.Template, r.Found, r.Start)
	}
}

func TestSearchDoesNotDependOnThreads(t *testing.T) {
	defer kernels.SetThreads(0)
	data, opt := quickSearch(t)
	opt.Sweeps, opt.SearchVerbalizer, opt.Fluency, opt.Nominate, opt.Examples = 1, true, 0.05, 6, 4
	data.Search, data.Select, data.Test = data.Search[:16], data.Select[:4], data.Test[:4]
	dir, b := t.TempDir(), demoBase(t)
	var files [][]byte
	for _, threads := range []int{1, 3} {
		kernels.SetThreads(threads)
		path := filepath.Join(dir, "prompt.json")
		if err := search(t, b, data, opt).Save(path); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, data)
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Errorf("with one thread\n%s\nwith three\n%s", files[0], files[1])
	}
}

func TestFluencyMakesWordsLikelier(t *testing.T) {
	data, opt := quickSearch(t)
	opt.Template = "{tale}\n\nMood:[slot: was][slot: blue] {mood}"
	opt.Nominate, opt.Examples = 6, 6
	data.Select, data.Test = data.Select[:8], data.Test[:8]
	b := demoBase(t)
	plain := search(t, b, data, opt)
	opt.Fluency = 1
	fluent := search(t, b, data, opt)
	t.Logf("%q: %.3f; %q: %.3f", plain.Template, *plain.Found.Fluency, fluent.Template, *fluent.Found.Fluency)
	if *fluent.Found.Fluency >= *plain.Found.Fluency || *fluent.Found.Fluency >= *fluent.Start.Fluency {
		t.Errorf("loss of the words: %.3f with a weight, %.3f without, %.3f at the start", *fluent.Found.Fluency,
			*plain.Found.Fluency, *fluent.Start.Fluency)
	}
}

// TestVerbalizerSearch looks for answer words where the given ones are wrong.
func TestVerbalizerSearch(t *testing.T) {
	data, opt := quickSearch(t)
	opt.Template, opt.Sweeps, opt.SearchVerbalizer = "{tale}\n\nIn the end it[slot: was] {mood}", 1, true
	var err error
	if opt.Verbalizer, err = ParseVerbalizer([]string{"happy", "sad", "angry", "afraid"},
		[]string{"happy=sad", "sad=happy", "angry=red", "afraid=blue"}); err != nil {
		t.Fatal(err)
	}
	r := search(t, demoBase(t), data, opt)
	t.Logf("%v: %.4f, accuracy %.3f; given: %.4f, %.3f", r.Verbalizer, r.Found.Loss, *r.Found.Accuracy, r.Start.Loss,
		*r.Start.Accuracy)
	if r.Found.Loss >= r.Start.Loss || *r.Found.Accuracy < *r.Start.Accuracy+0.5 {
		t.Errorf("accuracy %.3f, given %.3f", *r.Found.Accuracy, *r.Start.Accuracy)
	}
}

// slotScorer is a scorer on the small model, with records of its letters.
func slotScorer(t *testing.T, text string, v Verbalizer) (*promptScorer, *template.Discrete, []Record) {
	t.Helper()
	b := demoBase(t)
	slots, err := template.ParseDiscrete(text)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newPromptScorer(b, slots, v, 256)
	if err != nil {
		t.Fatal(err)
	}
	if slots, err = slots.Fill(s.splitWords); err != nil {
		t.Fatal(err)
	}
	return s, slots, moodRecords(5, 5, false)
}

// TestSlotGradient compares the gradient at the embeddings of slots with finite differences of what it is the gradient
// of.
func TestSlotGradient(t *testing.T) {
	two := Verbalizer{{Label: "happy", Words: []string{"happy", "glad"}}, {Label: "sad", Words: []string{"very sad"}},
		{Label: "angry", Words: []string{"angry"}}, {Label: "afraid", Words: []string{"afraid"}}}
	for name, v := range map[string]Verbalizer{"labels": moods(t), "labels of several words": two, "completions": nil} {
		s, slots, records := slotScorer(t, "{tale}[slot: In the end]\nit[slot: was] {mood}", v)
		g := s.slopeOf(records, slots, 1, 0)
		width, gradients := g.embeddings.Cols, slices.Clone(g.embeddings.Grad)
		for k := range len(g.ids) {
			grad := gradients[k*width : (k+1)*width]
			norm := 0.0
			for _, v := range grad {
				norm += float64(v) * float64(v)
			}
			norm = math.Sqrt(norm)
			const step = 0.02
			var losses [2]float64
			for side, sign := range []float64{-1, 1} {
				losses[side] = s.slopeMoved(records, slots, g, k, grad, sign*step/norm)
			}
			if got := (losses[1] - losses[0]) / (2 * step); math.Abs(got-norm) > 0.02*norm+1e-4 {
				t.Errorf("%s, slot %d: slope along the gradient %.6f, its norm %.6f", name, k, got, norm)
			}
		}
	}
}

// slopeMoved is the loss with the embedding of a slot moved along a direction.
func (s *promptScorer) slopeMoved(records []Record, t *template.Discrete, g *slope, slot int, direction []float32,
	by float64) float64 {
	moved := &slope{ids: g.ids, words: g.words, embeddings: g.embeddings}
	width := g.embeddings.Cols
	row := g.embeddings.Data[slot*width : (slot+1)*width]
	old := slices.Clone(row)
	for i, d := range direction {
		row[i] += float32(by * float64(d))
	}
	var items []slopeItem
	targets := 0
	for _, r := range records {
		if item, ok := s.slopeItem(r, t); ok && item.blank(g.ids) {
			items, targets = append(items, item), targets+item.answer
		}
	}
	s.descend(moved, items, -1, 1/float32(targets), 0)
	copy(row, old)
	return moved.loss
}

// TestSharedBeginning compares the results where a common beginning goes through the model once with those where every
// sequence does as a whole.
func TestSharedBeginning(t *testing.T) {
	two := moods(t)
	two[1].Words = []string{"very sad", "sad"}
	for name, v := range map[string]Verbalizer{"labels": moods(t), "labels of several words": two, "completions": nil} {
		s, slots, records := slotScorer(t, "{tale} In[slot: the end] it was {mood}", v)
		var pool []*template.Discrete
		for _, words := range [][]string{{" the", " end"}, {" a", " forest"}, {" the", " mill"}} {
			pool = append(pool, slots.With(words))
		}
		together, err := s.score(context.Background(), records, pool)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range pool {
			for _, r := range [][]Record{records} {
				alone, err := s.score(context.Background(), r, []*template.Discrete{p})
				if err != nil {
					t.Fatal(err)
				}
				if a, b := together[i], alone[0]; math.Abs(a.Loss-b.Loss) > 1e-4 || math.Abs(*a.Fluency-*b.Fluency) > 1e-4 {
					t.Errorf("%s: together loss %.6f, words %.6f; alone %.6f, %.6f", name, a.Loss, *a.Fluency, b.Loss, *b.Fluency)
				}
			}
		}
	}
}

func TestPromptFile(t *testing.T) {
	accuracy := 0.5
	r := &Result{Prompt: Prompt{Format: promptFormat, Template: "{tale}\n\"It\" was {mood}",
		Slots: "{tale}\n\"It\"[slot: was] {mood}", Verbalizer: moods(t), Base: "base"},
		Start: Score{Loss: 1, Accuracy: &accuracy, Examples: 3}, Seed: 7}
	path := filepath.Join(t.TempDir(), "prompt.json")
	if err := r.Save(path); err != nil {
		t.Fatal(err)
	}
	p, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if p.Template != r.Template || p.Slots != r.Slots || p.Base != r.Base ||
		!slices.Equal(p.Verbalizer.Words(), r.Verbalizer.Words()) {
		t.Errorf("saved %+v, loaded %+v", r.Prompt, *p)
	}
	got, err := p.Fill("A tale.")
	if want := "A tale.\n\"It\" was"; err != nil || got != want {
		t.Errorf("filled %q (%v), want %q", got, err, want)
	}
	for text, want := range map[string]string{
		`{"format": "x", "template": "{a} {b}"}`:                     `format "x", expected`,
		`{"format": "peftconv discrete-prompt 1"}`:                   `template "": expected it to end`,
		`{"format": "peftconv discrete-prompt 1", "template": "{a"}`: "expected { to go on",
		`{"format": "peftconv discrete-prompt 1", "template": 3}`:    "cannot unmarshal",
		"{a} It was [slot {b}":                                       "[slot is not closed",
		`{"format": "peftconv discrete-prompt 1", "template": "{a}{b}", "verbalizer": [{"label":"x","words":[]}]}`: "1 labels",
	} {
		if _, err := parsePrompt([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q in it", text, err, want)
		}
	}
	if p, err := parsePrompt([]byte("{a} and {b}: {c}\n")); err != nil || p.Template != "{a} and {b}: {c}" {
		t.Errorf("a template in a text file: %+v, %v", p, err)
	} else if got, err := p.Fill(`{"a": "x", "b": "y"}`); err != nil || got != "x and y:" {
		t.Errorf("filled %q, %v", got, err)
	} else if _, err := p.Fill(`{"a": "x"}`); err == nil || !strings.Contains(err.Error(), `no field "b"`) {
		t.Errorf("error %v", err)
	}
}

func TestSearchRefuses(t *testing.T) {
	b := demoBase(t)
	data, opt := quickSearch(t)
	for _, c := range []struct {
		change func(o *Options, d *Data)
		want   string
	}{
		{func(o *Options, _ *Data) { o.Template = "{tale} It was {mood}" }, "has no slot"},
		{func(o *Options, _ *Data) {
			o.Template = "{story}[slot] {mood}"
		}, `data for searching: record 1 has no field "story"`},
		{func(o *Options, _ *Data) { o.Template = "{tale}[slot {mood}" }, "not closed"},
		{func(o *Options, _ *Data) { o.Fluency = -1 }, "weight of fluency"},
		{func(o *Options, _ *Data) { o.Beam = -1 }, "-1 prompts at a time"},
		{func(o *Options, _ *Data) { o.Candidates = []string{"qzxqzx"} }, "none of the 1 candidates"},
		{func(o *Options, _ *Data) { o.Verbalizer = nil; o.SearchVerbalizer = true }, "only where there are labels"},
		{func(_ *Options, d *Data) {
			d.Test = []Record{{"tale": "x", "mood": "odd"}}
		}, `data for the report: record 1: field "mood" is "odd"`},
		{func(_ *Options, d *Data) { d.Select = nil }, "data for choosing: no records"},
	} {
		o, d := opt, data
		c.change(&o, &d)
		if _, err := Run(context.Background(), pefttest.Base(b), d, o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q in it", err, c.want)
		}
	}
}
