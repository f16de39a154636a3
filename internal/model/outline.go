package model

import (
	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/store"
)

// Outline is a model without weights: the names, sizes and orders of its linear maps, as a GGUF file that is converted
// from Hugging Face files has them, with the module names of the kind of model. Nothing can be computed with it. For a
// Spec from metadata alone; errors as Load's.
func Outline(info *arch.Model) (*Model, error) {
	l := &loader{source: noWeights{info.Arch}, arch: info.Arch, used: map[string]bool{}, empty: true}
	m := l.load(info.Spec)
	if l.err != nil {
		return nil, l.err
	}
	joints := map[*Joint]bool{}
	for _, m := range m.Matrices() {
		m.Module = info.HF.Rename(m.Module)
		if j := m.Joint; j != nil && !joints[j] {
			joints[j] = true
			j.Module = info.HF.Rename(j.Module)
		}
	}
	for _, n := range m.Norms() {
		n.Module = info.HF.Rename(n.Module)
	}
	return m, nil
}

// noWeights has every weight of an architecture by its name in GGUF files, and nothing else that is optional.
type noWeights struct{ arch *arch.Arch }

// Tensor finds a tensor's name.
func (s noWeights) Tensor(name string) (store.Tensor, bool) {
	t, _, ok := s.arch.InGGUF(name)
	if !ok {
		return store.Tensor{}, false
	}
	kind := t.Role.Kind()
	return store.Tensor{Name: name}, !t.Optional || kind == arch.Linear || kind == arch.Experts
}
