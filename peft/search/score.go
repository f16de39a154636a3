package search

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/evaluate"
	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/template"
	"github.com/peftconv/peftconv/quant"
)

// promptScorer measures templates that differ in the words of their slots only.
type promptScorer struct {
	base        *attach.Base
	adapters    attach.Stack
	bos         []int32
	batchTokens int
	tape        *autograd.Tape
	answer      string // the field of the answers
	lead        string // blanks that an answer begins with

	verbalizer Verbalizer
	wordIDs    [][]int32     // the tokens of every answer word
	wordLabels []int         // and its label
	head       *quant.Matrix // rows of the output head for the words, where each is one token; else nil
}

func newPromptScorer(b *attach.Base, t *template.Discrete, v Verbalizer, batchTokens int) (*promptScorer, error) {
	if b.Tokenizer == nil {
		return nil, fmt.Errorf("%s has no tokenizer", b.Path)
	}
	s := &promptScorer{base: b, batchTokens: batchTokens, tape: autograd.NewTape(), answer: t.Answer()}
	r := t.Render(func(string) string { return "" })
	s.lead = r.Lead
	if id, ok := b.Tokenizer.BOS(); ok && b.Tokenizer.AddBOS() {
		s.bos = []int32{id}
	}
	if v == nil {
		return s, nil
	}
	return s, s.verbalize(v)
}

// verbalize takes over answer words.
func (s *promptScorer) verbalize(v Verbalizer) error {
	s.verbalizer, s.wordIDs, s.wordLabels, s.head = v, nil, nil, nil
	single := true
	for label, l := range v {
		for _, word := range l.Words {
			ids := s.base.Tokenizer.EncodeContinuation(s.lead+word, true)
			if len(ids) == 0 || slices.ContainsFunc(s.wordIDs, func(other []int32) bool {
				return slices.Equal(other,
					ids)
			}) {
				return fmt.Errorf("the word %q of the label %q has no tokens of its own", word, l.Label)
			}
			s.wordIDs, s.wordLabels = append(s.wordIDs, ids), append(s.wordLabels, label)
			single = single && len(ids) == 1
		}
	}
	if single {
		s.head = s.headRows()
	}
	return nil
}

// headRows is the rows of the output head that stand for the words.
func (s *promptScorer) headRows() *quant.Matrix {
	head := &s.base.Model.Head
	rows := make([]float32, len(s.wordIDs)*head.Cols)
	for i, ids := range s.wordIDs {
		head.Row(rows[i*head.Cols:(i+1)*head.Cols], int(ids[0]))
	}
	return &quant.Matrix{Type: gguf.F32, Rows: len(s.wordIDs), Cols: head.Cols, Data: floats.LittleEndian(rows)}
}

// wordRows are the tokens of headRows.
func (s *promptScorer) wordRows() []int32 {
	rows := make([]int32, len(s.wordIDs))
	for i, ids := range s.wordIDs {
		rows[i] = ids[0]
	}
	return rows
}

// label is the number of a record's label.
func (s *promptScorer) label(r Record) (int, error) {
	label := s.verbalizer.Index(r[s.answer])
	if label < 0 {
		return 0, fmt.Errorf("field %q is %q, which is none of the labels", s.answer, r[s.answer])
	}
	return label, nil
}

// checkRecords reports what cannot be measured.
func (s *promptScorer) checkRecords(records []Record) error {
	if len(records) == 0 {
		return errors.New("no records")
	}
	for i, r := range records {
		if s.verbalizer == nil {
			continue
		}
		if _, err := s.label(r); err != nil {
			return fmt.Errorf("record %d: %w", i+1, err)
		}
	}
	return nil
}

// promptRun is one sequence that goes through the model.
type promptRun struct {
	ids    []int32
	loss   []bool // tokens whose loss is needed
	answer int    // how many of them, at the end, are the answer; the others are words of the template
	last   bool   // the logits of the answer words after the last token are needed too

	losses []float32
	logits []float32 // a word each
}

// runs are the sequences that measure a template on a record.
func (s *promptScorer) runs(r Record, t *template.Discrete) []*promptRun {
	rendered := t.Render(func(name string) string { return r[name] })
	p := s.encodePrompt(&rendered)
	if s.verbalizer == nil {
		return []*promptRun{s.withAnswer(p, s.base.Tokenizer.EncodeContinuation(rendered.Completion(r[s.answer]),
			true))}
	}
	if s.head != nil && s.adapters == nil {
		return []*promptRun{{ids: p.ids, loss: p.words, last: true}}
	}
	var runs []*promptRun
	for i, ids := range s.wordIDs {
		if i > 0 {
			p.words = make([]bool, len(p.ids))
		}
		runs = append(runs, s.withAnswer(p, ids))
	}
	return runs
}

// withAnswer has the loss of the answer measured too.
func (s *promptScorer) withAnswer(p encodedPrompt, answer []int32) *promptRun {
	loss := slices.Concat(p.words, slices.Repeat([]bool{true}, len(answer)))
	return &promptRun{ids: slices.Concat(p.ids, answer), loss: loss, answer: len(answer)}
}

// tally sums the results of runs.
type tally struct {
	loss, fluency           float64
	tokens, words           int // that they are sums over
	examples, right, labels int
}

// add takes the runs of one record.
func (s *promptScorer) add(c *tally, r Record, runs []*promptRun) error {
	c.examples++
	first := runs[0]
	words := len(first.losses) - first.answer
	for _, loss := range first.losses[:words] {
		c.fluency += float64(loss)
	}
	c.words += words
	if s.verbalizer == nil {
		for _, loss := range first.losses[words:] {
			c.loss += float64(loss)
			c.tokens++
		}
		return nil
	}
	label, err := s.label(r)
	if err != nil {
		return err
	}
	losses := s.recordLosses(runs)
	c.loss += losses[label]
	c.tokens++
	c.labels++
	if evaluate.Best(losses) == label {
		c.right++
	}
	return nil
}

// recordLosses is -log of the probability of each label among all: the sum of those of its words.
func (s *promptScorer) recordLosses(runs []*promptRun) []float64 {
	logits := make([]float64, len(s.wordIDs))
	for i := range logits {
		if runs[0].last {
			logits[i] = float64(runs[0].logits[i])
			continue
		}
		losses := runs[i].losses
		for _, loss := range losses[len(losses)-runs[i].answer:] {
			logits[i] -= float64(loss)
		}
	}
	return labelLosses(logits, s.wordLabels, len(s.verbalizer))
}

// labelLosses is -log of the probability of each label, from the logits of words and their labels.
func labelLosses(logits []float64, labels []int, n int) []float64 {
	top := slices.Max(logits)
	sums := make([]float64, n)
	total := 0.0
	for i, v := range logits {
		e := math.Exp(v - top)
		sums[labels[i]] += e
		total += e
	}
	for i, sum := range sums {
		sums[i] = math.Log(total) - math.Log(max(sum, math.SmallestNonzeroFloat64))
	}
	return sums
}

// score measures templates on records. What the sequences of one record have in common at their beginning goes through
// the model once.
func (s *promptScorer) score(ctx context.Context, records []Record, templates []*template.Discrete) ([]Score, error) {
	tallies := make([]tally, len(templates))
	for from := 0; from < len(records); {
		to, tokens := from, 0
		var runs [][]*promptRun // of each record and template, in order
		for ; to < len(records) && (to == from || tokens < s.batchTokens/2); to++ {
			for _, t := range templates {
				of := s.runs(records[to], t)
				runs, tokens = append(runs, of), tokens+len(of)*len(of[0].ids)
			}
		}
		if err := s.execute(ctx, slices.Concat(runs...)); err != nil {
			return nil, err
		}
		for i, of := range runs {
			if err := s.add(&tallies[i%len(templates)], records[from+i/len(templates)], of); err != nil {
				return nil, err
			}
		}
		from = to
	}
	scores := make([]Score, len(templates))
	for i, c := range tallies {
		scores[i] = s.result(c)
		if !floats.Finite(scores[i].Loss) {
			return nil, evaluate.NotFinite(s.base, scores[i].Loss)
		}
	}
	return scores, nil
}

// result is the means.
func (s *promptScorer) result(c tally) Score {
	score := Score{Loss: c.loss / float64(max(1, c.tokens)), Examples: c.examples}
	if c.labels > 0 {
		accuracy := float64(c.right) / float64(c.labels)
		score.Accuracy = &accuracy
	}
	if c.words > 0 {
		fluency := c.fluency / float64(c.words)
		score.Fluency = &fluency
	}
	return score
}
