package model

import "github.com/peftconv/peftconv/internal/arch"

// Location is where a GGUF file has the weight of a linear map.
type Location struct {
	Tensor          string
	Order               // of the weight's rows and columns
	First, Rows     int // where its rows begin and how many there are, in the tensor or in the matrix of each expert
	Expert, Experts int // its number, and of how many; Experts 0: the tensor is one matrix
}

// Location is where the model's own GGUF file has the weight of one of its linear maps or, where the model is from
// Hugging Face files, where one that is converted from these has it.
func (m *Model) Location(l *Linear) Location {
	t := m.Arch.Tensor(l.Role)
	p := Location{Rows: l.W.Rows}
	p.Tensor, p.Order = m.InGGUF(l)
	if l.Role.Kind() == arch.Experts {
		p.Expert, p.Experts = l.Expert, m.Spec.At(l.Layer).Experts.Count
	}
	if m.HF == nil {
		if p.Tensor = l.Tensor; t.Within != nil && l.Tensor == t.Within.In(false, l.Layer) {
			p.First, p.Rows = t.Within.Rows(&m.Spec, l.Layer)
		}
	}
	return p
}
