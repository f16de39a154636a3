package model

import "fmt"

// Spec says what a decoder computes. All sizes count float32 values.
type Spec struct {
	Architecture string // as GGUF names it: "llama"
	Layers       int
	Width        int // D, the residual stream
	FFN          int // inner width of the feed-forward network
	QueryHeads   int
	KeyHeads     int // key and value heads
	HeadDim      int
	Vocab        int
	Context      int     // tokens the model was trained for
	NormEps      float32 // of every RMSNorm
	Tied         bool    // the output head is the embedding table

	Rope Rope
}

// Rope is rotary position embedding: see autograd.RopeTable.
type Rope struct {
	Dim     int       // values of a head that turn
	Base    float64   // theta
	Scale   float64   // positions are multiplied by it; 1 where there is no linear scaling
	Factors []float32 // (Dim/2) divisors of the angles, or nil
	Neox    bool      // pairs are halves of the head, not neighbours
}

// check reports sizes that no decoder can have.
func (s *Spec) check() error {
	sizes := []struct {
		name  string
		value int
	}{
		{"layers", s.Layers}, {"embedding length", s.Width}, {"feed-forward length", s.FFN}, {"heads", s.QueryHeads},
		{"key-value heads", s.KeyHeads}, {"head size", s.HeadDim}, {"vocabulary", s.Vocab},
	}
	for _, size := range sizes {
		if size.value <= 0 || size.value > 1<<30 {
			return fmt.Errorf("%s is %d, expected a positive number", size.name, size.value)
		}
	}
	switch {
	case s.Layers > 1<<16:
		return fmt.Errorf("layers is %d, expected at most %d", s.Layers, 1<<16)
	case s.QueryHeads%s.KeyHeads != 0:
		return fmt.Errorf("%d heads cannot share %d key-value heads evenly", s.QueryHeads, s.KeyHeads)
	case s.Rope.Dim < 0 || s.Rope.Dim > s.HeadDim || s.Rope.Dim%2 != 0:
		return fmt.Errorf("rope turns %d values of heads of %d, expected an even number of at most that", s.Rope.Dim, s.HeadDim)
	case !(s.Rope.Base > 0) || !(s.Rope.Scale > 0):
		return fmt.Errorf("rope base %g and scale %g, expected positive numbers", s.Rope.Base, s.Rope.Scale)
	case s.Rope.Factors != nil && len(s.Rope.Factors) != s.Rope.Dim/2:
		return fmt.Errorf("%d rope factors, expected %d", len(s.Rope.Factors), s.Rope.Dim/2)
	case !(s.NormEps > 0):
		return fmt.Errorf("norm epsilon is %g, expected a positive number", s.NormEps)
	}
	return nil
}
