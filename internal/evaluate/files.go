package evaluate

import (
	"context"
	"math"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/dist"
)

// FileResult is the loss on the examples of one file: peft.FileLoss.
type FileResult struct {
	Path     string
	Loss     float64
	Tokens   int
	Examples int
	Accuracy *float64
}

// measured is what is known of the examples of a set.
type measured struct {
	set     *attach.Data
	batches [][]int
	packed  batch.Batch
	places  []int     // of each example: where its numbers are in
	values  []float64 // of each example, in the order of the batches: loss, tokens, 1 where its label was found
}

// numbers is how many numbers an example has in measured.values.
const numbers = 3

func newMeasured(set *attach.Data, batchTokens int) *measured {
	m := &measured{set: set, batches: set.Batches(nil, batchTokens), places: make([]int, set.Len())}
	at := 0
	for _, examples := range m.batches {
		for _, example := range examples {
			m.places[example] = at
			at += numbers
		}
	}
	m.values = make([]float64, at)
	return m
}

// put keeps what was measured of an example; right says whether its label was found.
func (m *measured) put(example int, loss float64, tokens int, right bool) {
	v := m.values[m.places[example]:]
	v[0], v[1] = loss, float64(tokens)
	if right {
		v[2] = 1
	}
}

// gather completes what this rank measured by what the others did.
func (m *measured) gather(ctx context.Context, c dist.Comm) error {
	lengths := make([]int, len(m.batches))
	for i, examples := range m.batches {
		lengths[i] = numbers * len(examples)
	}
	return dist.Gather(ctx, c, m.values, lengths)
}

// part is the sum over some examples, which are in order.
type part struct {
	loss                    float64
	tokens, examples, right int
}

func (m *measured) sum(from, to int) (p part) {
	for example := from; example < to; example++ {
		v := m.values[m.places[example]:]
		p.loss += v[0]
		p.tokens += int(v[1])
		p.right += int(v[2])
	}
	p.examples = to - from
	return p
}

// accuracy is the share of examples whose label was found; nil where they have none.
func (m *measured) accuracy(p part) *float64 {
	if m.set.Classes == 0 {
		return nil
	}
	accuracy := float64(p.right) / float64(p.examples)
	return &accuracy
}

// result is the mean of all examples, and that of each file, where they are of several; files without targets are left
// out.
func (m *measured) result() *Result {
	all := m.sum(0, m.set.Len())
	r := &Result{Tokens: all.tokens, Examples: all.examples, Accuracy: m.accuracy(all)}
	r.Loss = all.loss / float64(all.tokens)
	r.Perplexity = math.Exp(r.Loss)
	if len(m.set.Files) < 2 {
		return r
	}
	from := 0
	for _, file := range m.set.Files {
		p := m.sum(from, file.End)
		from = file.End
		if p.tokens > 0 {
			r.Files = append(r.Files, FileResult{file.Path, p.loss / float64(p.tokens), p.tokens, p.examples, m.accuracy(p)})
		}
	}
	return r
}
