package bench

import (
	"fmt"
	"strings"

	"github.com/peftconv/peftconv/internal/arch"
)

// shape is a decoder that has a name.
type shape struct {
	name string
	spec arch.Spec
}

// shapes are common model sizes, smallest first.
var shapes = []shape{
	{"110m", llama(12, 768, 2048, 12, 12, 64, 32000, 10000, false)},
	{"qwen2-0.5b", qwen2(24, 896, 4864, 14, 2, 64, 151936, true)},
	{"tinyllama-1.1b", llama(22, 2048, 5632, 32, 4, 64, 32000, 10000, false)},
	{"llama-1b", llama(16, 2048, 8192, 32, 8, 64, 128256, 500000, true)},
	{"qwen2-1.5b", qwen2(28, 1536, 8960, 12, 2, 128, 151936, true)},
	{"llama-3b", llama(28, 3072, 8192, 24, 8, 128, 128256, 500000, true)},
	{"mistral-7b", llama(32, 4096, 14336, 32, 8, 128, 32000, 10000, false)},
	{"qwen2-7b", qwen2(28, 3584, 18944, 28, 4, 128, 152064, false)},
	{"llama-8b", llama(32, 4096, 14336, 32, 8, 128, 128256, 500000, false)},
}

func llama(layers, width, ffn, queries, keys, headDim, vocab int, base float64, tied bool) arch.Spec {
	return arch.Spec{
		Architecture: arch.Llama, Layers: layers, Width: width, Vocab: vocab, Context: 1 << 17, NormEps: 1e-5, Tied: tied,
		Layer: arch.Layer{
			FFN: ffn, QueryHeads: queries, KeyHeads: keys, HeadDim: headDim, Rope: arch.Rope{Dim: headDim, Base: base, Scale: 1},
		},
	}
}

func qwen2(layers, width, ffn, queries, keys, headDim, vocab int, tied bool) arch.Spec {
	s := llama(layers, width, ffn, queries, keys, headDim, vocab, 1e6, tied)
	s.Architecture, s.Rope.Neox = arch.Qwen2, true
	return s
}

// Shapes are the names of the shapes, smallest first.
func Shapes() []string {
	names := make([]string, len(shapes))
	for i, s := range shapes {
		names[i] = s.name
	}
	return names
}

// find is the shape of a name.
func find(name string) (arch.Spec, error) {
	for _, s := range shapes {
		if s.name == strings.ToLower(name) {
			return s.spec, nil
		}
	}
	return arch.Spec{}, fmt.Errorf("shape %q is not known, expected one of %s", name, strings.Join(Shapes(), ", "))
}
