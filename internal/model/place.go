package model

import (
	"fmt"
	"slices"
)

// HF's names of the matrices at both ends of a decoder.
const (
	EmbedModule = "model.embed_tokens"
	HeadModule  = "lm_head"
)

// InGGUF is the name that the weight of one of the model's linear maps has in a GGUF file of its architecture, and the
// number of heads whose rows stand permuted there (0: they are in order). It panics for a map of another model.
func (m *Model) InGGUF(l *Linear) (tensor string, permutedHeads int) {
	switch l.Module {
	case EmbedModule:
		return ggufNames.embed, 0
	case HeadModule:
		return ggufNames.head, 0
	}
	for i, layer := range m.Layers {
		j := slices.Index(layer.Linears(), l)
		if j < 0 {
			continue
		}
		if architectures[m.Spec.Architecture].permuted {
			permutedHeads = [7]int{m.Spec.QueryHeads, m.Spec.KeyHeads}[j]
		}
		return fmt.Sprintf(ggufNames.block, i) + ggufNames.linears[j] + ".weight", permutedHeads
	}
	panic("model: InGGUF of a linear map of another model")
}
