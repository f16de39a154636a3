package search

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/template"
)

// selected is the most records for choosing that are looked at.
const selected = 256

// patience is after how many sweeps without a better prompt the search ends.
const patience = 2

// promptSearch is the state of a search.
type promptSearch struct {
	*promptScorer
	opt   Options
	data  Data
	start *template.Discrete // as it was given, without its empty slots
	words []slotWord

	beam  []*template.Discrete
	order []int // records for searching still to be used
	epoch int
	best  chosenPrompt
	visit int
}

// chosenPrompt is the best prompt so far on the data for choosing.
type chosenPrompt struct {
	template   *template.Discrete
	verbalizer Verbalizer
	score      Score
}

func newPromptSearch(b *attach.Base, data Data, opt Options) (*promptSearch, error) {
	if err := opt.Check(); err != nil {
		return nil, err
	}
	t, err := template.ParseDiscrete(opt.Template)
	if err != nil {
		return nil, err
	}
	if t.Slots() == 0 {
		return nil, fmt.Errorf("template %q has no slot, expected [slot] where words are to be found", opt.Template)
	}
	scorer, err := newPromptScorer(b, t, opt.Verbalizer, opt.BatchTokens)
	if err != nil {
		return nil, err
	}
	s := &promptSearch{promptScorer: scorer, opt: opt, data: data}
	if len(s.data.Select) > selected {
		s.data.Select = s.data.Select[:selected]
	}
	for _, part := range []struct {
		name    string
		records []Record
	}{{"searching", data.Search}, {"choosing", data.Select}, {"the report", data.Test}} {
		if err := checkRecordFields(t.Fields(), part.records); err != nil {
			return nil, fmt.Errorf("data for %s: %w", part.name, err)
		}
		if err := s.checkRecords(part.records); err != nil {
			return nil, fmt.Errorf("data for %s: %w", part.name, err)
		}
	}
	if s.words, err = s.candidates(opt.Candidates); err != nil {
		return nil, err
	}
	return s, s.begin(t)
}

// checkRecordFields reports a field that a record lacks.
func checkRecordFields(fields []string, records []Record) error {
	for i, r := range records {
		for _, name := range fields {
			if _, ok := r[name]; !ok {
				return fmt.Errorf("record %d has no field %q", i+1, name)
			}
		}
	}
	return nil
}

// begin fills the slots: with their words, and empty ones with those that the model expects there.
func (s *promptSearch) begin(t *template.Discrete) error {
	filled, err := t.Fill(s.splitWords)
	if err != nil {
		return err
	}
	words := filled.Words()
	s.start = filled
	if slices.Contains(words, "") {
		s.start = filled.WithoutEmpty()
	}
	for i, w := range words {
		if w != "" {
			continue
		}
		word, err := s.expectedWord(filled, words, i)
		if err != nil {
			return err
		}
		words[i] = word
	}
	first := filled.With(words)
	if s.slopeOf(s.data.Search, first, -1, 0) == nil {
		return errFlow
	}
	s.beam = []*template.Discrete{first}
	return nil
}

// errFlow says that no slot of a template is one token.
var errFlow = errors.New("the words in the slots and their neighbours are tokenized together: put a blank " +
	"or a new line between them")

// expectedWord is the word that the model expects in an empty slot.
func (s *promptSearch) expectedWord(filled *template.Discrete, words []string, slot int) (string, error) {
	records := s.minibatch(expectedRecords)
	// What stands there at first only has to be one token, so that the slot can be found.
	for _, w := range s.words[:min(len(s.words), 64)] {
		g := s.slopeOf(records, filled.With(stand(words, w.text)), slot, 0)
		if g != nil && g.expected != nil {
			return leastWords(s.words, 1, func(w slotWord) float64 { return -float64(g.expected[w.id]) })[0].text, nil
		}
		if g != nil {
			return w.text, nil
		}
	}
	return "", errFlow
}

// stand is words with another in the place of empty ones.
func stand(words []string, other string) []string {
	out := slices.Clone(words)
	for i, w := range out {
		if w == "" {
			out[i] = other
		}
	}
	return out
}

// minibatch is the next n records for searching.
func (s *promptSearch) minibatch(n int) []Record {
	var out []Record
	for len(out) < min(n, len(s.data.Search)) {
		if len(s.order) == 0 {
			s.order = (&attach.Data{Examples: make([]attach.Example, len(s.data.Search))}).Order(s.epoch, s.opt.Seed)
			s.epoch++
		}
		out, s.order = append(out, s.data.Search[s.order[0]]), s.order[1:]
	}
	return out
}

// objective is what the search minimises.
func (s *promptSearch) objective(score Score) float64 {
	if score.Fluency == nil {
		return score.Loss
	}
	return score.Loss + s.opt.Fluency**score.Fluency
}

// run is the whole search.
func (s *promptSearch) run(ctx context.Context) (*Result, error) {
	slots := len(s.beam[0].Words())
	if err := s.choose(ctx, []*template.Discrete{s.start, s.beam[0]}); err != nil {
		return nil, err
	}
	if err := s.searchWords(ctx); err != nil {
		return nil, err
	}
	sweeps, idle := 0, 0
	for sweeps < s.opt.Sweeps && idle < patience {
		before := s.objective(s.best.score)
		for _, slot := range (&attach.Data{Examples: make([]attach.Example, slots)}).Order(sweeps, s.opt.Seed) {
			if err := s.visitSlot(ctx, slot, slots); err != nil {
				return nil, err
			}
		}
		if err := s.choose(ctx, s.beam); err != nil {
			return nil, err
		}
		if err := s.searchWords(ctx); err != nil {
			return nil, err
		}
		sweeps++
		idle++
		if s.objective(s.best.score) < before {
			idle = 0
		}
		s.report(Progress{Visit: s.visit, Visits: slots * s.opt.Sweeps, Chosen: &s.best.score,
			Template: s.best.template.String()})
	}
	return s.result(ctx, sweeps)
}

func (s *promptSearch) report(p Progress) {
	if s.opt.Progress != nil {
		s.opt.Progress(p)
	}
}

// tried is a prompt with its objective on a minibatch.
type tried struct {
	template *template.Discrete
	value    float64
}

// visitSlot changes the word in one slot of every prompt of the beam.
func (s *promptSearch) visitSlot(ctx context.Context, slot, slots int) error {
	records := s.minibatch(s.opt.Examples)
	pool := slices.Clone(s.beam)
	for _, t := range s.beam {
		g := s.slopeOf(records, t, slot, s.opt.Fluency)
		if g == nil {
			continue
		}
		for _, w := range s.nominate(g, s.words, slot, s.opt.Nominate, s.opt.Fluency) {
			words := slices.Clone(t.Words())
			words[slot] = w.text
			pool = append(pool, t.With(words))
		}
	}
	pool = s.distinct(pool, records)
	// A quarter of the records is enough to drop most; the beam itself stays in.
	kept := len(s.beam)
	few := records[:(len(records)+3)/4]
	if len(pool) > 4*kept && len(few) < len(records) {
		ranked, err := s.rank(ctx, pool, few)
		if err != nil {
			return err
		}
		pool = slices.Clone(s.beam)
		for _, r := range ranked[:len(ranked)/4] {
			pool = append(pool, r.template)
		}
		pool = s.distinct(pool, nil)
	}
	ranked, err := s.rank(ctx, pool, records)
	if err != nil {
		return err
	}
	s.beam = s.beam[:0:0]
	for _, r := range ranked[:min(len(ranked), s.opt.Beam)] {
		s.beam = append(s.beam, r.template)
	}
	s.visit++
	s.report(Progress{Visit: s.visit, Visits: slots * s.opt.Sweeps, Loss: ranked[0].value,
		Template: ranked[0].template.String()})
	return nil
}

// distinct is each template once, without those of which a slot is not one token in the records.
func (s *promptSearch) distinct(pool []*template.Discrete, records []Record) []*template.Discrete {
	seen := map[string]bool{}
	return slices.DeleteFunc(pool, func(t *template.Discrete) bool {
		key := strings.Join(t.Words(), "\x00")
		if seen[key] {
			return true
		}
		seen[key] = true
		return slices.ContainsFunc(records, func(r Record) bool {
			rendered := t.Render(func(name string) string { return r[name] })
			p := s.encodePrompt(&rendered)
			return !p.aligned()
		})
	})
}

// rank puts templates in the order of their objective on records.
func (s *promptSearch) rank(ctx context.Context, pool []*template.Discrete, records []Record) ([]tried, error) {
	scores, err := s.score(ctx, records, pool)
	if err != nil {
		return nil, err
	}
	all := make([]tried, len(pool))
	for i, t := range pool {
		all[i] = tried{t, s.objective(scores[i])}
	}
	slices.SortStableFunc(all, func(a, b tried) int { return cmp.Compare(a.value, b.value) })
	return all, nil
}

// choose takes a template that is better than the best so far on the data for choosing. Each is measured separately,
// so that its result does not depend on the others.
func (s *promptSearch) choose(ctx context.Context, pool []*template.Discrete) error {
	for _, t := range pool {
		scores, err := s.score(ctx, s.data.Select, []*template.Discrete{t})
		if err != nil {
			return err
		}
		if s.best.template == nil || s.objective(scores[0]) < s.objective(s.best.score) {
			s.best = chosenPrompt{t, s.verbalizer, scores[0]}
		}
	}
	return nil
}

// result measures the start and the best on the data for the report.
func (s *promptSearch) result(ctx context.Context, sweeps int) (*Result, error) {
	r := &Result{Sweeps: sweeps, Seed: s.opt.Seed, Fluency: s.opt.Fluency}
	r.Prompt = Prompt{Format: promptFormat, Template: s.best.template.Literal().String(),
		Slots:      s.best.template.String(),
		Verbalizer: s.best.verbalizer, Base: s.base.Name()}
	if s.best.verbalizer != nil {
		if err := s.verbalize(s.opt.Verbalizer); err != nil {
			return nil, err
		}
	}
	for _, m := range []struct {
		template   *template.Discrete
		verbalizer Verbalizer
		score      *Score
	}{{s.start, s.opt.Verbalizer, &r.Start}, {s.best.template, s.best.verbalizer, &r.Found}} {
		if m.verbalizer != nil {
			if err := s.verbalize(m.verbalizer); err != nil {
				return nil, err
			}
		}
		scores, err := s.score(ctx, s.data.Test, []*template.Discrete{m.template})
		if err != nil {
			return nil, err
		}
		*m.score = scores[0]
	}
	var err error
	r.BaseSHA256, err = s.base.SHA256()
	return r, err
}
