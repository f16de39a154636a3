package arch

import (
	"fmt"
	"slices"
)

// Spec says what a decoder computes. All sizes count float32 values.
type Spec struct {
	Architecture string // the name of the Arch
	Layers       int
	Width        int // D, the residual stream
	Vocab        int
	Context      int     // tokens the model was trained for
	NormEps      float32 // of every RMSNorm
	Tied         bool    // the output head is the embedding table

	Layer         // what every layer computes or, where they differ, the first
	Each  []Layer // (Layers) what each computes, nil where all are alike
}

// Layer says what one layer computes.
type Layer struct {
	FFN        int // inner width of the feed-forward network
	QueryHeads int
	KeyHeads   int // key and value heads
	HeadDim    int
	Rope       Rope
}

// Rope is rotary position embedding: see autograd.Rope.
type Rope struct {
	Dim     int       // values of a head that turn
	Base    float64   // theta
	Scale   float64   // positions are multiplied by it; 1 where there is no linear scaling
	Factors []float32 // (Dim/2) divisors of the angles, or nil
	Neox    bool      // pairs are halves of the head, not neighbours
}

// Equal reports whether two turn alike.
func (r *Rope) Equal(o *Rope) bool {
	return r.Dim == o.Dim && r.Base == o.Base && r.Scale == o.Scale && r.Neox == o.Neox &&
		slices.Equal(r.Factors, o.Factors)
}

// At is what layer i computes.
func (s *Spec) At(i int) *Layer {
	if s.Each != nil {
		return &s.Each[i]
	}
	return &s.Layer
}

// EditRope changes rotary position embedding in all layers.
func (s *Spec) EditRope(edit func(r *Rope)) {
	edit(&s.Rope)
	for i := range s.Each {
		edit(&s.Each[i].Rope)
	}
}

// Widest is the width of the widest activation of any layer.
func (s *Spec) Widest() int {
	widest := 0
	for i := range max(len(s.Each), 1) {
		l := s.At(i)
		widest = max(widest, s.Width, l.FFN, l.QueryHeads*l.HeadDim)
	}
	return widest
}

// Check reports sizes that no decoder can have.
func (s *Spec) Check() error {
	switch {
	case s.Layers > 1<<16:
		return fmt.Errorf("layers is %d, expected at most %d", s.Layers, 1<<16)
	case s.Each != nil && len(s.Each) != s.Layers:
		return fmt.Errorf("%d layers are described, expected %d", len(s.Each), s.Layers)
	}
	for i := range max(len(s.Each), 1) {
		if err := s.checkLayer(s.At(i)); err != nil {
			return err
		}
	}
	if !(s.NormEps > 0) {
		return fmt.Errorf("norm epsilon is %g, expected a positive number", s.NormEps)
	}
	return nil
}

// checkLayer reports sizes that no decoder with such a layer can have.
func (s *Spec) checkLayer(l *Layer) error {
	sizes := []struct {
		name  string
		value int
	}{
		{"layers", s.Layers}, {"embedding length", s.Width}, {"feed-forward length", l.FFN}, {"heads", l.QueryHeads},
		{"key-value heads", l.KeyHeads}, {"head size", l.HeadDim}, {"vocabulary", s.Vocab},
	}
	for _, size := range sizes {
		if size.value <= 0 || size.value > 1<<30 {
			return fmt.Errorf("%s is %d, expected a positive number", size.name, size.value)
		}
	}
	switch {
	case l.QueryHeads%l.KeyHeads != 0:
		return fmt.Errorf("%d heads cannot share %d key-value heads evenly", l.QueryHeads, l.KeyHeads)
	case l.Rope.Dim < 0 || l.Rope.Dim > l.HeadDim || l.Rope.Dim%2 != 0:
		return fmt.Errorf("rope turns %d values of heads of %d, expected an even number of at most that",
			l.Rope.Dim, l.HeadDim)
	case !(l.Rope.Base > 0) || !(l.Rope.Scale > 0):
		return fmt.Errorf("rope base %g and scale %g, expected positive numbers", l.Rope.Base, l.Rope.Scale)
	case l.Rope.Factors != nil && len(l.Rope.Factors) != l.Rope.Dim/2:
		return fmt.Errorf("%d rope factors, expected %d", len(l.Rope.Factors), l.Rope.Dim/2)
	}
	return nil
}
