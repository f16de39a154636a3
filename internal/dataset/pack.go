package dataset

import (
	"math/bits"
	"math/rand/v2"

	"github.com/peftconv/peftconv/internal/batch"
)

// Order is the examples in a random order that depends only on their number, the epoch and the seed.
func (s *Set) Order(epoch int, seed uint64) []int {
	order := make([]int, len(s.Examples))
	for i := range order {
		order[i] = i
	}
	// PCG's stream is fixed forever; that of Shuffle in package rand is not.
	pcg := rand.NewPCG(seed, uint64(epoch))
	for i := len(order) - 1; i > 0; i-- {
		j, _ := bits.Mul64(pcg.Uint64(), uint64(i+1))
		order[i], order[j] = order[j], order[i]
	}
	return order
}

// Batches packs examples, in the given order (nil: that of the file), into batches of at most batchTokens tokens. Each
// example joins the batch before it if there is room, and begins a new one otherwise. An example longer than
// batchTokens is a batch of its own.
func (s *Set) Batches(order []int, batchTokens int) [][]int {
	if order == nil {
		order = make([]int, len(s.Examples))
		for i := range order {
			order[i] = i
		}
	}
	var out [][]int
	start, tokens := 0, 0
	for i, e := range order {
		n := len(s.Examples[e].IDs)
		if i > start && tokens+n > batchTokens {
			out = append(out, order[start:i:i])
			start, tokens = i, 0
		}
		tokens += n
	}
	if start < len(order) {
		out = append(out, order[start:])
	}
	return out
}

// Batch fills b with examples, packed end to end.
func (s *Set) Batch(b *batch.Batch, examples []int) {
	b.Reset()
	for _, i := range examples {
		if e := s.Examples[i]; e.Class > 0 && e.Loss == nil {
			b.AppendClass(e.IDs, int32(e.Class-1))
		} else {
			b.Append(e.IDs, e.Loss)
		}
	}
}
