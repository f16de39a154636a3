package dataset

import (
	"math/bits"
	"math/rand/v2"

	"github.com/peftconv/peftconv/internal/batch"
)

// Order is the examples of an epoch in a random order that depends only on their number, the epoch and the seed. Where
// sources have weights, an epoch has as many examples as there are, and each source has its share of them: of one with
// more a part is drawn anew for each epoch, and those of one with fewer come several times.
func (s *Set) Order(epoch int, seed uint64) []int {
	// PCG's stream is fixed forever; that of Shuffle in package rand is not.
	pcg := rand.NewPCG(seed, uint64(epoch))
	order := s.mixture(pcg)
	shuffle(pcg, order)
	return order
}

// shuffle puts numbers in a random order.
func shuffle(pcg *rand.PCG, order []int) {
	for i := len(order) - 1; i > 0; i-- {
		j, _ := bits.Mul64(pcg.Uint64(), uint64(i+1))
		order[i], order[j] = order[j], order[i]
	}
}

// mixture is the examples of an epoch, source by source.
func (s *Set) mixture(pcg *rand.PCG) []int {
	if s.parts == nil {
		return all(0, s.Len())
	}
	var weights float64
	for _, p := range s.parts {
		weights += p.weight
	}
	order := make([]int, 0, s.Len())
	sum := 0.0
	for i, p := range s.parts {
		sum += p.weight
		// rounded so that all shares together are all examples
		want := int(sum/weights*float64(s.Len())+0.5) - len(order)
		from := s.partStart(i)
		for ; want >= p.end-from; want -= p.end - from {
			order = append(order, all(from, p.end)...)
		}
		if want > 0 {
			rest := all(from, p.end)
			shuffle(pcg, rest)
			order = append(order, rest[:want]...)
		}
	}
	return order
}

// partStart is the first example of a source with a weight.
func (s *Set) partStart(i int) int {
	if i == 0 {
		return 0
	}
	return s.parts[i-1].end
}

// all are the numbers from one to before another.
func all(from, to int) []int {
	out := make([]int, to-from)
	for i := range out {
		out[i] = from + i
	}
	return out
}

// Batches packs examples, in the given order (nil: that of the file), into batches of at most batchTokens tokens. Each
// example joins the batch before it if there is room, and begins a new one otherwise. An example longer than
// batchTokens is a batch of its own.
func (s *Set) Batches(order []int, batchTokens int) [][]int {
	if order == nil {
		order = all(0, s.Len())
	}
	var out [][]int
	start, tokens := 0, 0
	for i, e := range order {
		n := s.Size(e)
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

// mostEmpty is the share of the tokens of all batches but the last that Pack lets be empty for the sake of the order.
const mostEmpty = 0.02

// Pack packs examples like Batches where that leaves almost no room in them, and otherwise by best fit, about in their
// order.
func (s *Set) Pack(order []int, batchTokens int) [][]int {
	if inTurn := s.Batches(order, batchTokens); s.empty(inTurn, batchTokens) < mostEmpty {
		return inTurn
	}
	return newBestFit(s, order, batchTokens).batches()
}

// empty is the share of the tokens that batches could hold and do not, without the last one.
func (s *Set) empty(batches [][]int, batchTokens int) float64 {
	room, tokens := 0, 0
	for _, examples := range batches[:max(len(batches)-1, 0)] {
		n := 0
		for _, e := range examples {
			n += s.Size(e)
		}
		room += max(batchTokens, n)
		tokens += n
	}
	return 1 - float64(tokens)/float64(max(room, 1))
}

// Batch fills b with examples, packed end to end.
func (s *Set) Batch(b *batch.Batch, examples []int) error {
	b.Reset()
	for _, i := range examples {
		e, err := s.At(i)
		switch {
		case err != nil:
			return err
		case e.Class > 0 && e.Loss == nil:
			b.AppendClass(e.IDs, int32(e.Class-1))
		default:
			b.Append(e.IDs, e.Loss)
		}
	}
	return nil
}
