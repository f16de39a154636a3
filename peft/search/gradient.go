package search

import (
	"cmp"
	"math"
	"slices"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/evaluate"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/template"
)

// slotHooks put embeddings (S, D) of their own where the ids are -1 to -S.
type slotHooks struct {
	model.NoHooks
	embeddings *autograd.Tensor
}

// Embedding implements model.Hooks.
func (h slotHooks) Embedding(t *autograd.Tape, ids []int32, x *autograd.Tensor) *autograd.Tensor {
	return t.Virtual(x, ids, h.embeddings, -1)
}

// slope is how the objective of a template changes with the embeddings of its slots.
type slope struct {
	ids        []int32          // the token in each slot
	embeddings *autograd.Tensor // (S, D), with the gradient
	loss       float64          // of the answers, as it is differentiated: a record's, or a token's
	// (V) mean log probability that the model gives each token in the slot asked for; nil: unknown
	expected []float32
	words    int // tokens of the template's own words of a record
}

// expectedRecords is the number of records on which the model's expectation in a slot is measured.
const expectedRecords = 8

// slopeOf differentiates the mean loss of the answers plus fluency times that of the template's words, over records
// whose slots are all one token each, at the embeddings of the slots. Where an answer word is not one token the loss of
// the true label's first word stands for that among the labels: it only proposes words.
func (s *promptScorer) slopeOf(records []Record, t *template.Discrete, slot int, fluency float64) *slope {
	var items []slopeItem
	var g *slope
	targets, words := 0, 0
	for _, r := range records {
		item, ok := s.slopeItem(r, t)
		if !ok {
			continue
		}
		if g == nil {
			g = s.newSlope(item)
		}
		if !item.blank(g.ids) {
			continue
		}
		items = append(items, item)
		targets += item.answer
		words += item.words
	}
	if g == nil {
		return nil
	}
	g.words = max(1, words/len(items))
	for from := 0; from < len(items); {
		to, tokens := from, 0
		for to < len(items) && (to == from || tokens+len(items[to].ids) <= s.batchTokens) {
			tokens += len(items[to].ids)
			to++
		}
		s.descend(g, items[from:to], slot, 1/float32(targets), float32(fluency/float64(max(1, words))))
		from = to
	}
	return g
}

// slopeItem is one record that goes through the model.
type slopeItem struct {
	encodedPrompt
	answers       []int32 // targets of the positions that the loss of the answers is about
	own           []int32 // and of those that fluency is about
	answer, words int     // how many there are of both
}

func (s *promptScorer) slopeItem(r Record, t *template.Discrete) (item slopeItem, ok bool) {
	rendered := t.Render(func(name string) string { return r[name] })
	item.encodedPrompt = s.encodePrompt(&rendered)
	if !item.aligned() {
		return item, false
	}
	prompt := len(item.ids)
	var answer []int32
	class := batch.Ignore
	switch {
	case s.verbalizer == nil:
		answer = s.base.Tokenizer.EncodeContinuation(rendered.Completion(r[s.answer]), true)
	default:
		label, _ := s.label(r)
		first := slices.Index(s.wordLabels, label)
		if s.head != nil {
			class = int32(first)
		} else {
			answer = s.wordIDs[first]
		}
	}
	item.ids = slices.Concat(item.ids, answer)
	item.answers = slices.Repeat([]int32{batch.Ignore}, len(item.ids))
	item.own = slices.Clone(item.answers)
	for i := range len(item.ids) - 1 {
		switch {
		case i+1 >= prompt:
			item.answers[i] = item.ids[i+1]
			item.answer++
		case item.encodedPrompt.words[i+1]:
			item.own[i] = item.ids[i+1]
			item.words++
		}
	}
	if class != batch.Ignore {
		item.answers[prompt-1], item.answer = class, 1
	}
	return item, true
}

// blank gives the tokens of the slots the ids of embeddings apart; false where they are not the tokens of ids.
func (i *slopeItem) blank(ids []int32) bool {
	for k, at := range i.slots {
		if i.ids[at] != ids[k] {
			return false
		}
	}
	for k, at := range i.slots {
		i.ids[at] = int32(-1 - k)
	}
	return true
}

// newSlope starts from the embeddings of the tokens in the slots of a record.
func (s *promptScorer) newSlope(item slopeItem) *slope {
	g := &slope{}
	width := s.base.Model.Embed.Cols
	data := make([]float32, len(item.slots)*width)
	for k, at := range item.slots {
		g.ids = append(g.ids, item.ids[at])
		s.base.Model.Embed.Row(data[k*width:(k+1)*width], int(item.ids[at]))
	}
	g.embeddings = autograd.NewParam(len(item.slots), width, data, make([]float32, len(data)))
	return g
}

// descend adds the gradient, and the model's expectation in a slot, of some records.
func (s *promptScorer) descend(g *slope, items []slopeItem, slot int, scale, fluency float32) {
	m, t := s.base.Model, s.tape
	var packed batch.Batch
	var answers, own []int32
	for _, item := range items {
		packed.Append(item.ids, make([]bool, len(item.ids)))
		answers, own = append(answers, item.answers...), append(own, item.own...)
	}
	t.Reset(0)
	t.Record(true)
	x := m.Hidden(t, &packed, slotHooks{embeddings: g.embeddings})
	s.expect(g, x, &packed, items, slot)
	var losses []float32
	if s.head != nil {
		losses = t.CrossEntropy(x, s.head, nil, answers, scale, m.LogitForm(s.wordRows()))
	} else {
		losses = t.CrossEntropy(x, &m.Head, nil, answers, scale, m.LogitForm(nil))
	}
	for _, loss := range losses {
		g.loss += float64(loss) * float64(scale)
	}
	if fluency > 0 {
		t.CrossEntropy(x, &m.Head, nil, own, fluency, m.LogitForm(nil))
	}
	t.Backward()
}

// expect adds the log probabilities of every token in a slot, of the first records.
func (s *promptScorer) expect(g *slope, x *autograd.Tensor, packed *batch.Batch, items []slopeItem, slot int) {
	if slot < 0 || g.expected != nil {
		return
	}
	var rows []int
	for i, item := range items[:min(len(items), expectedRecords)] {
		if at := item.slots[slot]; at > 0 {
			rows = append(rows, int(packed.Bounds[i])+at-1)
		}
	}
	if len(rows) == 0 {
		return
	}
	t := s.tape
	t.Record(false)
	m := s.base.Model
	logits := t.ApplyLogits(t.Linear(pickRows(t, x, rows), &m.Head), m.LogitForm(nil))
	t.Record(true)
	g.expected = make([]float32, logits.Cols)
	for i := range rows {
		for id, loss := range evaluate.MinusLogSoftmax(logits.Row(i)) {
			g.expected[id] -= float32(loss) / float32(len(rows))
		}
	}
}

// change is the first-order change of the objective when token id takes the place of the one in a slot, for every id:
// (e(id) - e(current))·gradient, and what the model's expectation adds to it exactly.
func (s *promptScorer) change(g *slope, slot int, fluency float64) []float64 {
	t := s.tape
	t.Reset(0)
	t.Record(false)
	width := g.embeddings.Cols
	gradient := autograd.NewConst(1, width, g.embeddings.Grad[slot*width:(slot+1)*width])
	products := t.Linear(gradient, &s.base.Model.Embed).Data
	out := make([]float64, len(products))
	current := g.ids[slot]
	for id, p := range products {
		out[id] = float64(p) - float64(products[current])
		if g.expected != nil && id < len(g.expected) {
			out[id] -= fluency * float64(g.expected[id]-g.expected[current]) / float64(g.words)
		}
	}
	return out
}

// nominate is the n most promising words of a slot, and a third as many that the model expects most, in that order.
func (s *promptScorer) nominate(g *slope, words []slotWord, slot, n int, fluency float64) []slotWord {
	change := s.change(g, slot, fluency)
	picked := leastWords(words, n, func(w slotWord) float64 { return change[w.id] })
	if g.expected != nil {
		picked = append(picked, leastWords(words, (n+2)/3,
			func(w slotWord) float64 { return -float64(g.expected[w.id]) })...)
	}
	return picked
}

// leastWords is the n words of the least value, the first of equals first.
func leastWords(words []slotWord, n int, value func(slotWord) float64) []slotWord {
	type valued struct {
		word  slotWord
		value float64
	}
	all := make([]valued, 0, len(words))
	for _, w := range words {
		if v := value(w); !math.IsNaN(v) {
			all = append(all, valued{w, v})
		}
	}
	slices.SortStableFunc(all, func(a, b valued) int { return cmp.Compare(a.value, b.value) })
	out := make([]slotWord, min(n, len(all)))
	for i := range out {
		out[i] = all[i].word
	}
	return out
}
