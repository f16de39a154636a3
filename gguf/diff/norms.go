package diff

import (
	"bytes"
	"context"
	"math"
	"sync"
	"sync/atomic"

	"github.com/peftconv/peftconv/internal/weights"
)

// Norms measures the distance of the numbers of B from those of A. Pairs in which one is NaN or infinite are counted
// and left out of the other values.
type Norms struct {
	Relative  *float64 `json:"relative"` // |B-A|/|A| in Frobenius' norm; nil where A is zero
	MaxAbs    float64  `json:"max_abs"`  // max |B-A|
	MaxRow    int64    `json:"max_row"`  // where the first of these stands, counted from 0
	MaxColumn int64    `json:"max_column"`
	Cosine    *float64 `json:"cosine"`    // ⟨A, B⟩/(|A|·|B|); nil where one is zero
	Different int64    `json:"different"` // elements that are not the same number
	NonFinite int64    `json:"nonfinite"` // pairs left out
	Elements  int64    `json:"elements"`
}

// sameBytes says whether two tensors of one type and shape have the same data.
func sameBytes(ctx context.Context, a, b *weights.Tensor) (bool, error) {
	if a.Size() != b.Size() {
		return false, nil
	}
	var differ atomic.Bool
	err := weights.Each(ctx, a.Pieces(), func(i int) error {
		if differ.Load() {
			return nil
		}
		if !bytes.Equal(a.Piece(i), b.Piece(i)) {
			differ.Store(true)
		}
		a.Release(i)
		b.Release(i)
		return nil
	})
	return !differ.Load(), err
}

// sums is what the norms are computed from.
type sums struct {
	aa, bb, ab, dd  float64 // Σa², Σb², Σab, Σ(b-a)²
	max             float64
	at              int64
	different, wild int64
}

// readers are pairs of Readers for one piece at a time.
var readers = sync.Pool{New: func() any { return new([2]weights.Reader) }}

// compareNumbers compares the numbers of two tensors of one shape. The sums of pieces are added in order, so the
// results are the same for any number of threads.
func compareNumbers(ctx context.Context, a, b *weights.Tensor) (*sums, error) {
	parts := make([]sums, a.Pieces())
	err := weights.Each(ctx, len(parts), func(i int) error {
		r := readers.Get().(*[2]weights.Reader)
		defer readers.Put(r)
		parts[i].piece(r, a, b, i)
		a.Release(i)
		b.Release(i)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s := &sums{}
	for i := range parts {
		s.add(&parts[i])
	}
	return s, nil
}

// piece adds piece i of both tensors.
func (s *sums) piece(r *[2]weights.Reader, a, b *weights.Tensor, i int) {
	first := int64(i) * weights.PieceElements
	if x, y := r[0].Singles(a, i), r[1].Singles(b, i); x != nil && y != nil {
		compare(s, x, y, first)
		return
	}
	compare(s, r[0].Numbers(a, i), r[1].Numbers(b, i), first)
}

// compare adds pairs of numbers; the first is element first.
func compare[T float32 | float64](s *sums, a, b []T, first int64) {
	var aa, bb, ab, dd float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		d := y - x
		if d-d != 0 { // NaN or infinite, and so is x or y
			s.wild++
			if x != y && (x == x || y == y) {
				s.different++
			}
			continue
		}
		aa += x * x
		bb += y * y
		ab += x * y
		if d == 0 {
			continue
		}
		dd += d * d
		s.different++
		if d = math.Abs(d); d > s.max {
			s.max, s.at = d, first+int64(i)
		}
	}
	s.add(&sums{aa: aa, bb: bb, ab: ab, dd: dd})
}

func (s *sums) add(o *sums) {
	s.aa += o.aa
	s.bb += o.bb
	s.ab += o.ab
	s.dd += o.dd
	s.different += o.different
	s.wild += o.wild
	if o.max > s.max {
		s.max, s.at = o.max, o.at
	}
}

// norms are the figures of a tensor with rows of cols elements.
func (s *sums) norms(elements, cols int64) *Norms {
	return &Norms{Relative: s.relative(), MaxAbs: s.max, MaxRow: s.at / cols, MaxColumn: s.at % cols, Cosine: s.cosine(),
		Different: s.different, NonFinite: s.wild, Elements: elements}
}

func (s *sums) relative() *float64 {
	if s.aa == 0 {
		return nil
	}
	x := math.Sqrt(s.dd / s.aa)
	return &x
}

func (s *sums) cosine() *float64 {
	if s.aa == 0 || s.bb == 0 {
		return nil
	}
	x := min(1, s.ab/(math.Sqrt(s.aa)*math.Sqrt(s.bb)))
	return &x
}
