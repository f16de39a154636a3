package model

import (
	"fmt"
	"slices"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/store"
	"github.com/peftconv/peftconv/quant"
)

// Place says where the weight is in the file: the tensor's name, and which rows where it holds those of other maps too.
func (l *Linear) Place() string {
	if !l.Part {
		return l.Tensor
	}
	return fmt.Sprintf("%s[%d:%d]", l.Tensor, l.FirstRow, l.FirstRow+l.W.Rows)
}

// BiasTensor is the name that the bias has in the file of the weight, or would have.
func (l *Linear) BiasTensor() string {
	if l.biasTensor != "" {
		return l.biasTensor
	}
	return arch.BiasName(l.Tensor)
}

// BiasRow is where the values of the bias begin in its tensor, which holds those of other maps too where the weight's
// does, or would begin.
func (l *Linear) BiasRow() int {
	if l.biasTensor != "" {
		return l.biasRow
	}
	return l.FirstRow
}

// TakesBias reports whether a linear map has a bias or may get one in a GGUF file.
func (m *Model) TakesBias(l *Linear) bool {
	return l.Bias != nil || m.Arch.AddsBiases && !m.InMixture(l)
}

// InHF is the weight of the norm as a Hugging Face checkpoint stores it.
func (n *Norm) InHF() []float32 {
	w := slices.Clone(n.W.Data)
	for i := range w {
		if n.Raised {
			w[i]--
		}
	}
	return w
}

// InMixture reports whether a linear map is one of a mixture of experts, where no architecture takes biases that its
// models do not have.
func (m *Model) InMixture(l *Linear) bool {
	return l.Layer >= 0 && m.Spec.At(l.Layer).Experts.Count > 0 && l.Role.In(FFN)
}

// GGUFTensors are the names that the tensor with the weight of one of the model's linear maps may have in a GGUF file
// of its architecture.
func (m *Model) GGUFTensors(l *Linear) []string {
	t := m.Arch.Tensor(l.Role)
	names := []string{t.InGGUF(l.Layer)}
	if m.HF == nil && l.Tensor != names[0] {
		names = append([]string{l.Tensor}, names...)
	}
	if within := t.Within.In(false, l.Layer); within != "" && !slices.Contains(names, within) {
		names = append(names, within)
	}
	return names
}

// rowsIn finds the weight of one of the model's linear maps in other files of the same model: a tensor of its own, or
// rows of one that holds those of several.
func (m *Model) rowsIn(s *store.Store, l *Linear) (store.Tensor, bool) {
	t, hf := m.Arch.Tensor(l.Role), hfModelOf(s)
	within, inHF := hf.Rename(t.Within.In(s.GGUF == nil, l.Layer)), s.GGUF == nil
	if t.Role.Kind() == arch.Experts {
		if inHF && t.EachExpert() {
			return find(s, hf.Rename(t.ExpertInHF(l.Layer, l.Expert)))
		}
		return m.expertRowsIn(s, l, hf, within)
	}
	name := t.InGGUF(l.Layer)
	if inHF {
		name = hf.Rename(t.InHF(l.Layer))
	}
	if own, ok := find(s, name); ok || within == "" {
		return own, ok
	}
	before, all := t.Within.Rows(&m.Spec, l.Layer)
	whole, ok := find(s, within)
	return rowsOf(whole, ok, []int64{int64(all), int64(l.W.Cols)}, before, l.W.Rows)
}

// expertRowsIn is rowsIn for an expert whose rows stand with those of the others.
func (m *Model) expertRowsIn(s *store.Store, l *Linear, hf *arch.HFModel, within string) (store.Tensor, bool) {
	t := m.Arch.Tensor(l.Role)
	name := t.InGGUF(l.Layer)
	if s.GGUF == nil {
		name = hf.Rename(t.InHF(l.Layer))
	}
	before, all := 0, l.W.Rows
	whole, ok := find(s, name)
	if within != "" && (!ok || s.GGUF == nil) {
		before, all = t.Within.Rows(&m.Spec, l.Layer)
		whole, ok = find(s, within)
	}
	count := m.Spec.At(l.Layer).Experts.Count
	return rowsOf(whole, ok, []int64{int64(count), int64(all), int64(l.W.Cols)}, l.Expert*all+before, l.W.Rows)
}

// rowsOf is n rows of a tensor from row first on; ok is false where it has not the given shape.
func rowsOf(t store.Tensor, ok bool, shape []int64, first, n int) (store.Tensor, bool) {
	if !ok || !sameShape(t.Shape, shape) || !quant.Supported(t.Type) {
		return t, false
	}
	cols := shape[len(shape)-1]
	w := quant.Matrix{Type: t.Type, Cols: int(cols)}
	size := w.RowSize()
	t.Shape, t.Data = []int64{int64(n), cols}, t.Data[first*size:(first+n)*size]
	return t, true
}

// hfModelOf is the kind of model that the config.json beside a store names; nil where there is none.
func hfModelOf(s *store.Store) *arch.HFModel {
	_, hf := arch.ByModelType(s.ModelType())
	return hf
}
