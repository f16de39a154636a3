package archtest

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
)

// Parts are small models with linear maps in a type, some of which lie in tensors with rows of several: fused
// projections to queries, keys and values, with biases and without; experts; and two of other kinds.
func Parts(typ gguf.Type) []Model {
	attention := []arch.Role{arch.Query, arch.Key, arch.Value}
	of := func(name string) Model {
		return cases[slices.IndexFunc(cases, func(m Model) bool { return m.Name == name })]
	}
	list := []Model{of("llama"), of("llama-fused"), of("mixtral"), of("phi3")}
	biases := of("llama-fused")
	biases.Name, biases.Biases = "llama-fused-biases", slices.Concat(attention, []arch.Role{arch.AttentionOutput})
	experts := of("mixtral")
	experts.Name, experts.Fused = "mixtral-fused", slices.Concat(attention, []arch.Role{arch.ExpertGate, arch.ExpertUp})
	expertBiases := of("mixtral")
	expertBiases.Name, expertBiases.Biases = "mixtral-biases", []arch.Role{arch.ExpertGate, arch.ExpertUp, arch.ExpertDown}
	list = append(list, biases, experts, expertBiases)
	for i := range list {
		m := &list[i]
		if m.Fields = maps.Clone(m.Fields); typ.BlockLen() > 32 {
			m.Fields["embedding_length"], m.Fields["feed_forward_length"] = 256, 256
		}
		m.Type = func(name string) gguf.Type {
			if strings.HasPrefix(name, "blk.") {
				return typ
			}
			return gguf.F32
		}
	}
	return list
}

// OwnBiases gives a model whose projections to queries, keys and values are one tensor a bias for each of them.
func OwnBiases(t testing.TB, m Model) Model {
	t.Helper()
	s := m.Spec(t)
	for layer := range s.Layers {
		for _, role := range m.Fused {
			tensor := arch.ByName(m.Arch).Tensor(role)
			m.Extra = append(m.Extra, gguf.Tensor{Name: arch.BiasName(tensor.InGGUF(layer)),
				Shape: tensor.Sizes(&s, layer)[:1]})
		}
	}
	return m
}
