package arch

import (
	"strconv"
	"strings"
)

// Tensor is a line of an architecture's table. Names have %d where the number of the layer is.
type Tensor struct {
	Role      Role
	GGUF      string // name in a GGUF file
	HF        string // name in Hugging Face files, "" where they have none
	Shape     []Dim  // rows first
	Transform Transform
	Optional  bool // a file need not have it
	Bias      bool // a bias may stand beside the weight
}

// Transform is what a conversion from Hugging Face to GGUF does to a tensor, and to the bias beside it; nil is nothing.
type Transform interface{ transform() }

// PermuteHeads brings the rows of each of so many heads into the order in which RoPE turns neighbours: Hugging Face
// turns row i of a head together with row i + half of it, GGUF row 2i with 2i + 1.
type PermuteHeads struct{ Heads Dim }

func (PermuteHeads) transform() {}

// PermutedHeads is the number of heads whose rows stand permuted in a GGUF file, 0 where they are in order.
func (t *Tensor) PermutedHeads(s *Spec, layer int) int {
	if p, ok := t.Transform.(PermuteHeads); ok {
		return p.Heads.Of(s, layer)
	}
	return 0
}

const layerNumber = "%d"

// PerLayer reports whether each layer has such a tensor.
func (t *Tensor) PerLayer() bool { return strings.Contains(t.GGUF, layerNumber) }

// InGGUF is the name in a GGUF file.
func (t *Tensor) InGGUF(layer int) string { return inLayer(t.GGUF, layer) }

// InHF is the name in Hugging Face files.
func (t *Tensor) InHF(layer int) string { return inLayer(t.HF, layer) }

// Module is Hugging Face's name of the module that the tensor is the weight of.
func (t *Tensor) Module(layer int) string { return strings.TrimSuffix(t.InHF(layer), weightSuffix) }

const weightSuffix = ".weight"

// BiasName is the name of the bias beside a weight, in any file.
func BiasName(weight string) string { return strings.TrimSuffix(weight, weightSuffix) + ".bias" }

func inLayer(name string, layer int) string {
	return strings.Replace(name, layerNumber, strconv.Itoa(layer), 1)
}

// layerOf reports whether a name is one of those that a pattern stands for, and the number of the layer, -1 without
// one.
func layerOf(pattern, name string) (layer int, ok bool) {
	before, after, perLayer := strings.Cut(pattern, layerNumber)
	if !perLayer {
		return -1, name == pattern
	}
	rest, found := strings.CutPrefix(name, before)
	number, ends := strings.CutSuffix(rest, after)
	if !found || !ends {
		return 0, false
	}
	layer, err := strconv.Atoi(number)
	return layer, err == nil && layer >= 0 && inLayer(pattern, layer) == name
}

// Dim is a dimension of a tensor by name; its size follows from the Spec.
type Dim uint8

// The dimensions.
const (
	DimVocab      Dim = iota // tokens
	DimWidth                 // of the residual stream
	DimQuery                 // all query heads
	DimKey                   // all key heads, or value heads
	DimQueryHeads            // number of query heads
	DimKeyHeads              // number of key heads
	DimFFN                   // inner width of the feed-forward network
	DimRopePairs             // pairs of values of a head that turn
)

// Of is the size in a layer; tensors of no layer have the sizes of the first.
func (d Dim) Of(s *Spec, layer int) int {
	l := s.At(max(layer, 0))
	switch d {
	case DimVocab:
		return s.Vocab
	case DimWidth:
		return s.Width
	case DimQuery:
		return l.QueryHeads * l.HeadDim
	case DimKey:
		return l.KeyHeads * l.HeadDim
	case DimQueryHeads:
		return l.QueryHeads
	case DimKeyHeads:
		return l.KeyHeads
	case DimFFN:
		return l.FFN
	case DimRopePairs:
		return l.Rope.Dim / 2
	}
	panic("arch: a dimension without a size")
}

// Sizes is the shape in a layer, rows first.
func (t *Tensor) Sizes(s *Spec, layer int) []int64 {
	sizes := make([]int64, len(t.Shape))
	for i, d := range t.Shape {
		sizes[i] = int64(d.Of(s, layer))
	}
	return sizes
}
