package search

import (
	"context"
	"math"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/evaluate"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/template"
)

const (
	verbalizerRecords = 256 // records for searching that answer words are looked for on
	verbalizerLikely  = 200 // words looked at for a label: those that the model expects most after its records
	verbalizerTried   = 12  // of them, those that separate the label best from the others
)

// searchWords looks for answer words for the best prompt so far, and takes them where they do better on the data for
// choosing.
func (s *promptSearch) searchWords(ctx context.Context) error {
	if !s.opt.SearchVerbalizer {
		return nil
	}
	v, err := s.proposeWords(ctx, s.best.template)
	if err != nil || v == nil {
		return err
	}
	if err := s.verbalize(v); err != nil {
		return err
	}
	if err := s.choose(ctx, []*template.Discrete{s.best.template}); err != nil {
		return err
	}
	return s.verbalize(s.best.verbalizer)
}

// proposeWords is one word for each label, such that the loss on records for searching is small: of the words that the
// model expects after the records of a label more than after others, one label's at a time is exchanged while that
// helps.
func (s *promptSearch) proposeWords(ctx context.Context, t *template.Discrete) (Verbalizer, error) {
	records := s.data.Search[:min(len(s.data.Search), verbalizerRecords)]
	words := s.answerWords()
	means, err := s.meanExpectations(ctx, t, records)
	if err != nil {
		return nil, err
	}
	pools := make([][]slotWord, len(s.verbalizer))
	for label := range pools {
		pools[label] = tellingWords(words, means, label)
		if len(pools[label]) == 0 {
			return nil, nil
		}
	}
	table, err := s.expectations(ctx, t, records, slices.Concat(pools...))
	if err != nil {
		return nil, err
	}
	picked := table.descend(pools)
	v := make(Verbalizer, len(s.verbalizer))
	for label, w := range picked {
		v[label] = Label{Label: s.verbalizer[label].Label, Words: []string{strings.TrimLeft(w.text, " ")}}
	}
	if v.Check() != nil {
		return nil, nil // the same letters in two tokens
	}
	return v, nil
}

// answerWords are the words that are one token where an answer stands.
func (s *promptSearch) answerWords() []slotWord {
	var all []slotWord
	for id := range int32(s.base.Model.Spec.Vocab) {
		piece := s.base.Tokenizer.Piece(id)
		word := strings.TrimLeft(piece, " ")
		if len(word) < 2 || !template.IsWord(" "+word) {
			continue
		}
		if ids := s.base.Tokenizer.EncodeContinuation(s.lead+word, true); len(ids) == 1 && ids[0] == id {
			all = append(all, slotWord{id, piece})
		}
	}
	return all
}

// tellingWords are the words that the model expects after the records of a label more than after those of any other.
func tellingWords(words []slotWord, means [][]float64, label int) []slotWord {
	likely := leastWords(words, verbalizerLikely, func(w slotWord) float64 { return -means[label][w.id] })
	return leastWords(likely, verbalizerTried, func(w slotWord) float64 {
		others := math.Inf(-1)
		for other := range means {
			if other != label {
				others = max(others, means[other][w.id])
			}
		}
		return others - means[label][w.id]
	})
}

// eachExpectation calls f with -log of the probability of every token after the prompt of each record.
func (s *promptSearch) eachExpectation(ctx context.Context, t *template.Discrete, records []Record,
	f func(record int, losses []float64)) error {
	for from := 0; from < len(records); {
		if err := ctx.Err(); err != nil {
			return err
		}
		var packed batch.Batch
		var rows []int
		for i := from; i < len(records); i++ {
			rendered := t.Render(func(name string) string { return records[i][name] })
			ids := s.encodePrompt(&rendered).ids
			if len(rows) > 0 && (packed.Tokens()+len(ids) > s.batchTokens || len(rows) == expectedRecords) {
				break
			}
			packed.Append(ids, make([]bool, len(ids)))
			rows = append(rows, packed.Tokens()-1)
		}
		s.tape.Record(false)
		s.tape.Reset(0)
		logits := s.base.Model.Logits(s.tape, &packed, model.NoHooks{}, rows)
		for i := range rows {
			f(from+i, evaluate.MinusLogSoftmax(logits.Row(i)))
		}
		from += len(rows)
	}
	return nil
}

// meanExpectations is the mean log probability of every token after the records of each label, (labels, V).
func (s *promptSearch) meanExpectations(ctx context.Context, t *template.Discrete, records []Record) ([][]float64,
	error) {
	means := make([][]float64, len(s.verbalizer))
	counts := make([]float64, len(means))
	for i := range means {
		means[i] = make([]float64, s.base.Model.Spec.Vocab)
	}
	err := s.eachExpectation(ctx, t, records, func(record int, losses []float64) {
		label, _ := s.label(records[record])
		counts[label]++
		for id, loss := range losses {
			means[label][id] -= loss
		}
	})
	for label := range means {
		for id := range means[label] {
			means[label][id] /= max(1, counts[label])
		}
	}
	return means, err
}

// wordTable is the log probability of some words after each record, with the records' labels.
type wordTable struct {
	labels []int
	rows   []map[int32]float64
}

func (s *promptSearch) expectations(ctx context.Context, t *template.Discrete, records []Record,
	words []slotWord) (*wordTable, error) {
	table := &wordTable{}
	err := s.eachExpectation(ctx, t, records, func(record int, losses []float64) {
		label, _ := s.label(records[record])
		row := make(map[int32]float64, len(words))
		for _, w := range words {
			row[w.id] = -losses[w.id]
		}
		table.labels, table.rows = append(table.labels, label), append(table.rows, row)
	})
	return table, err
}

// descend picks a word for each label, from the first of each pool on, one label at a time while the loss falls.
func (w *wordTable) descend(pools [][]slotWord) []slotWord {
	picked := make([]slotWord, len(pools))
	for label, pool := range pools {
		picked[label] = pool[0]
	}
	least := w.loss(picked)
	for better := true; better; {
		better = false
		for label, pool := range pools {
			for _, word := range pool {
				other := slices.Clone(picked)
				other[label] = word
				if loss := w.loss(other); loss < least {
					picked, least, better = other, loss, true
				}
			}
		}
	}
	return picked
}

// loss is that of the labels among the words picked for them; infinite where two are the same.
func (w *wordTable) loss(picked []slotWord) float64 {
	labels := make([]int, len(picked))
	logits := make([]float64, len(picked))
	for i := range picked {
		labels[i] = i
		if slices.ContainsFunc(picked[:i], func(p slotWord) bool { return p.id == picked[i].id }) {
			return math.Inf(1)
		}
	}
	sum := 0.0
	for i, row := range w.rows {
		for label, word := range picked {
			logits[label] = row[word.id]
		}
		sum += labelLosses(logits, labels, len(picked))[w.labels[i]]
	}
	return sum
}
