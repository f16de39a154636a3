package train

import (
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/distill"
	"github.com/peftconv/peftconv/internal/model"
)

// topTokens are a teacher's likeliest tokens for the positions of a batch that carry loss. They are kept for all
// examples of the training data, so that the teacher runs over each once.
type topTokens struct {
	size        int // bytes of a position
	temperature float32
	store       *exampleStore // nil: nothing is kept
	rows        []byte        // (n, size) of the batch
}

// topBytes is what the likeliest tokens of a teacher take that a run keeps; 0 where it keeps none: no example is seen
// twice, or the examples are so many that they are in a file themselves.
func topBytes(train *attach.Data, opt *Options) int64 {
	if opt.Teacher == nil || opt.Teacher.Top == 0 || opt.epochs(train) < 2 || train.InFile() {
		return 0
	}
	return int64(distill.TopBytes(opt.Teacher.Top)) * int64(train.Targets())
}

// newTopTokens makes those of a run.
func newTopTokens(train *attach.Data, opt *Options) (*topTokens, error) {
	t := &topTokens{size: distill.TopBytes(opt.Teacher.Top), temperature: float32(opt.Teacher.Temperature)}
	if topBytes(train, opt) == 0 {
		return t, nil
	}
	targets := make([]int, train.Len())
	var b batch.Batch
	for i := range targets {
		b.Reset()
		if err := train.Batch(&b, []int{i}); err != nil {
			return nil, err
		}
		targets[i] = b.TargetCount()
	}
	t.store = newExampleStore(t.size, len(targets), func(i int) int { return targets[i] }, opt.Out, "teacher")
	return t, nil
}

// row is the likeliest tokens of target i of the batch.
func (t *topTokens) row(i int) distill.Top { return t.rows[i*t.size : (i+1)*t.size] }

// begin makes room for n targets.
func (t *topTokens) begin(n int) {
	if len(t.rows) < n*t.size {
		t.rows = make([]byte, n*t.size)
	}
}

// each calls f with the rows of each of the examples of a batch, until it returns false.
func (t *topTokens) each(examples []int, f func(e int, rows []byte) bool) bool {
	from := 0
	for _, e := range examples {
		to := from + t.store.rows(e)*t.size
		if !f(e, t.rows[from:to]) {
			return false
		}
		from = to
	}
	return true
}

// keeps says whether those of a batch of some examples are kept.
func (t *topTokens) keeps(b *batch.Batch, examples []int) bool {
	return t.store != nil && b.Tokens() >= leastStored && b.Sequences() == len(examples)
}

// load takes the rows of a batch that are kept, and says whether they are.
func (t *topTokens) load(b *batch.Batch, examples []int) bool {
	return t.keeps(b, examples) && t.store.has(examples) && t.each(examples, t.store.read)
}

// take makes the rows of a batch of what the teacher gives for its n targets, and keeps them.
func (t *topTokens) take(logits *model.LogitRows, n int, b *batch.Batch, examples []int) {
	logits.Each(n, func(i int, row []float32) { t.row(i).Set(row, t.temperature) })
	if t.keeps(b, examples) {
		t.each(examples, func(e int, rows []byte) bool {
			t.store.write(e, rows)
			return true
		})
	}
}

// close gives back what is kept.
func (t *topTokens) close() {
	if t != nil {
		t.store.close()
	}
}
