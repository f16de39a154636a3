package calibrate

import (
	"slices"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/batch"
	"github.com/peftconv/peftconv/internal/dataset"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
)

// Stream is a text on its way through a model, layer by layer.
type Stream struct {
	model   *model.Model
	batches []*batch.Batch
	rows    [][]float32 // (T, D) of each batch, at the input of the layer that is next
	tape    *autograd.Tape
}

// NewStream is a text before the first layer: about as many of its tokens as given, evenly over all of it, about
// batchTokens of them at once. expand, which may be nil, puts virtual tokens into a batch.
func NewStream(m *model.Model, set *dataset.Set, tokens, batchTokens int, h model.Hooks,
	expand func(b *batch.Batch)) (*Stream, error) {
	s := &Stream{model: m, tape: autograd.NewTape()}
	s.tape.Record(false)
	for _, examples := range set.Batches(Spread(set, tokens), batchTokens) {
		packed := new(batch.Batch)
		if err := set.Batch(packed, examples); err != nil {
			return nil, err
		}
		if expand != nil {
			expand(packed)
		}
		s.tape.Reset(0)
		s.batches = append(s.batches, packed)
		s.rows = append(s.rows, slices.Clone(m.Embedded(s.tape, packed, h).Data))
	}
	return s, nil
}

// Precision sets the rounding of the operands of products in the layers, none at first.
func (s *Stream) Precision(p kernels.Precision) { s.tape.Precision(p) }

// Batches is how many batches there are.
func (s *Stream) Batches() int { return len(s.batches) }

// Step takes a batch through a layer. Where last is set, the next layer reads what comes out. A hook may panic to end
// the pass early.
func (s *Stream) Step(number, layer int, h model.Hooks, last bool) {
	b := s.batches[number]
	s.tape.Reset(0)
	x := s.tape.Tensor(b.Tokens(), s.model.Spec.Width)
	copy(x.Data, s.rows[number])
	if y := s.model.RunLayer(s.tape, b, h, layer, x); last {
		copy(s.rows[number], y.Data)
	}
}

// Spread is the indexes of examples that together have about as many tokens as given, evenly over all of a set.
func Spread(set *dataset.Set, tokens int) []int {
	n := set.Len()
	if all := set.Tokens(); all > tokens {
		n = max(1, int(int64(n)*int64(tokens)/int64(all)))
	}
	chosen := make([]int, n)
	for i := range chosen {
		chosen[i] = i * set.Len() / n
	}
	return chosen
}
