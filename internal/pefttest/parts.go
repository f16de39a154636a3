package pefttest

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/archtest"
	"github.com/peftconv/peftconv/internal/attach"
)

// PartCases are small models with linear maps in a type, some of which lie in tensors with rows of several: fused
// projections to queries, keys and values, with biases and without; experts; and two of other kinds.
func PartCases(t testing.TB, typ gguf.Type) []archtest.Model {
	t.Helper()
	attention := []arch.Role{arch.Query, arch.Key, arch.Value}
	of := func(name string) archtest.Model {
		all := archtest.All()
		i := slices.IndexFunc(all, func(m archtest.Model) bool { return m.Name == name })
		if i < 0 {
			t.Fatalf("there is no model %s", name)
		}
		return all[i]
	}
	list := []archtest.Model{of("llama"), of("llama-fused"), of("mixtral"), of("phi3")}
	biases := of("llama-fused")
	biases.Name, biases.Biases = "llama-fused-biases", append(attention, arch.AttentionOutput)
	experts := of("mixtral")
	experts.Name, experts.Fused = "mixtral-fused", append(attention, arch.ExpertGate, arch.ExpertUp)
	list = append(list, biases, experts)
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

// OpenModel writes a model as a GGUF file and opens it for the length of the test.
func OpenModel(t testing.TB, m *archtest.Model) *attach.Base {
	t.Helper()
	path := filepath.Join(t.TempDir(), m.Name+".gguf")
	m.Write(t, path)
	return OpenBase(t, path)
}
