package search

import (
	"context"
	"errors"
	"fmt"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/dataset"
	"github.com/peftconv/peftconv/internal/evaluate"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/handle"
	"github.com/peftconv/peftconv/internal/mapped"
	"github.com/peftconv/peftconv/internal/records"
	"github.com/peftconv/peftconv/internal/template"
	"github.com/peftconv/peftconv/peft"
)

// MethodDiscretePrompt is the method that trains nothing: it finds the words of a prompt (Run).
const MethodDiscretePrompt = "discrete-prompt"

// Record is one record of data: the texts of its fields by name.
type Record = map[string]string

// LoadRecords reads the fields of the template text from a file of records, a split of a directory, or standard input.
// Of the options Format, Split and Stdin count.
func LoadRecords(path, text string, opt peft.DataOptions) ([]Record, error) {
	t, err := template.ParseDiscrete(text)
	if err != nil {
		return nil, err
	}
	return dataset.Fields(path, t.Fields(), records.Split(opt.Split),
		records.Options{Format: records.Format(opt.Format), Stdin: opt.Stdin})
}

// Data is the data of a search in three parts that share no record.
type Data struct {
	Search []Record // words are proposed and tried on these
	Select []Record // and chosen by these
	Test   []Record // the report is measured on these only
}

// Split takes a quarter of the records, drawn by seed, for choosing, and another quarter for the report where
// held holds no records for that.
func Split(records, held []Record, seed uint64) Data {
	order := (&attach.Data{Examples: make([]attach.Example, len(records))}).Order(0, seed)
	take := func(n int) (part []Record) {
		for _, i := range order[:n] {
			part = append(part, records[i])
		}
		order = order[n:]
		return part
	}
	quarter := len(records) / 4
	if len(held) == 0 {
		held = take(quarter)
	}
	chosen := take(quarter)
	return Data{Search: take(len(order)), Select: chosen, Test: held}
}

// Options says what Run looks for. Zero values are the defaults.
type Options struct {
	Template   string     // with slots: see ParseTemplate
	Verbalizer Verbalizer // of labelled data; nil: the answers are texts to be predicted

	Candidates       []string // words to choose from, each a token of the model; nil: all words of its vocabulary
	Beam             int      // prompts kept at a time; 0: 4
	Nominate         int      // words tried for a slot of each of them; 0: 24
	Examples         int      // examples that words are tried on, others each time; 0: 32
	Sweeps           int      // times that every slot is visited, at most; 0: 6
	Fluency          float64  // weight of the loss of the prompt's own words against that of the answers
	SearchVerbalizer bool     // look for answer words too

	BatchTokens int // tokens that go through the model at once; 0: 2048
	Seed        uint64
	Progress    func(Progress) // may be nil
}

// The defaults of Options.
const (
	defaultBeam     = 4
	defaultNominate = 24
	defaultExamples = 32
	defaultSweeps   = 6
)

// Progress is the state of a search after a slot was visited.
type Progress struct {
	Visit, Visits int     // slots visited, and at most
	Loss          float64 // objective of the best prompt on the examples tried last
	Template      string  // that prompt
	// Chosen is, at the end of each sweep, the best prompt so far on the data for choosing.
	Chosen *Score
}

// Score is the quality of a prompt.
type Score struct {
	// of labelled data a record's: among the labels; else a token's of the answers
	Loss     float64  `json:"loss"`
	Accuracy *float64 `json:"accuracy,omitempty"` // share of the records whose label is the likeliest
	Fluency  *float64 `json:"fluency,omitempty"`  // loss of a token of the template's own words from the first slot on
	Examples int      `json:"examples"`
}

// Result is what Run finds.
type Result struct {
	Prompt
	// of the template as it was given, without its empty slots, on the data for the report
	Start   Score   `json:"start"`
	Found   Score   `json:"found"` // of what was found, on the same
	Sweeps  int     `json:"sweeps"`
	Seed    uint64  `json:"seed"`
	Fluency float64 `json:"fluency_weight"`
}

// ParseTemplate checks the template text, of fixed words, {fields} and [slot]s that ends with the field of the answers,
// such as "{sentence} It was [slot][slot] {answer}". [slot*3] is three slots, [slot: truly great] slots to start from
// words. It gives the names of the fields, that of the answers last, and the number of slots.
func ParseTemplate(text string) (fields []string, slots int, err error) {
	t, err := template.ParseDiscrete(text)
	if err != nil {
		return nil, 0, err
	}
	return t.Fields(), t.Slots(), nil
}

// Check fills in defaults.
func (o *Options) Check() error {
	for _, n := range []struct {
		name  string
		value *int
		unset int
	}{
		{"prompts at a time", &o.Beam, defaultBeam}, {"words for a slot", &o.Nominate, defaultNominate},
		{"examples", &o.Examples, defaultExamples}, {"sweeps", &o.Sweeps, defaultSweeps},
		{"tokens at once", &o.BatchTokens, evaluate.Tokens},
	} {
		if *n.value < 0 {
			return fmt.Errorf("%d %s, expected 1 or more, or 0 for %d", *n.value, n.name, n.unset)
		}
		if *n.value == 0 {
			*n.value = n.unset
		}
	}
	switch {
	case !(o.Fluency >= 0) || !floats.Finite(o.Fluency):
		return fmt.Errorf("a weight of fluency of %v, expected 0 or more", o.Fluency)
	case o.Verbalizer == nil && o.SearchVerbalizer:
		return errors.New("answer words can be looked for only where there are labels")
	case o.Verbalizer != nil:
		return o.Verbalizer.Check()
	}
	return nil
}

// Run finds words for the slots of a template that make the answers of the data likely. A slot is visited by taking the
// gradient of the loss at the embedding of its word; the words whose embeddings are furthest down it (HotFlip, Ebrahimi
// et al. 2018; AutoPrompt, Shin et al. 2020), and those that the model itself expects there, are tried, and a beam of
// the best prompts is kept. After each sweep over the slots data.Select decides which prompt is the best so far, the
// given one among them. The result depends on the seed but not on the number of threads.
func Run(ctx context.Context, b *peft.Base, data Data, opt Options) (_ *Result, err error) {
	defer mapped.Guard(&err)()
	s, err := newPromptSearch(handle.Base(b), data, opt)
	if err != nil {
		return nil, fmt.Errorf("search a prompt: %w", err)
	}
	r, err := s.run(ctx)
	if err != nil {
		return nil, fmt.Errorf("search a prompt: %w", err)
	}
	return r, nil
}

// Eval measures a prompt on records, with adapters. batchTokens is as for eval.Loss.
func Eval(ctx context.Context, b *peft.Base, adapters []peft.Scaled, p *Prompt, records []Record,
	batchTokens int) (*Score, error) {
	score, err := evalPrompt(ctx, handle.Base(b), handle.Scaled(adapters), p, records, batchTokens)
	if err != nil {
		return nil, fmt.Errorf("evaluate a prompt: %w", err)
	}
	return score, nil
}

func evalPrompt(ctx context.Context, b *attach.Base, adapters []attach.Scaled, p *Prompt, records []Record,
	batchTokens int) (*Score, error) {
	text := p.Template
	if p.Slots != "" { // the same words, and which of them were found
		text = p.Slots
	}
	t, err := template.ParseDiscrete(text)
	if err != nil {
		return nil, err
	}
	for _, scaled := range adapters {
		if scaled.Adapter.Heads() > 0 {
			return nil, attach.ErrClassifier
		}
	}
	hooks, err := attach.BindAll(b, adapters)
	if err != nil {
		return nil, err
	}
	if batchTokens == 0 {
		batchTokens = evaluate.Tokens
	}
	s, err := newPromptScorer(b, t, p.Verbalizer, batchTokens)
	if err != nil {
		return nil, err
	}
	s.adapters = hooks
	if t, err = t.Fill(s.splitWords); err != nil {
		return nil, err
	}
	scores, err := s.score(ctx, records, []*template.Discrete{t})
	if err != nil {
		return nil, err
	}
	return &scores[0], nil
}
