package model

import (
	"strings"

	"github.com/peftconv/peftconv/internal/arch"
)

// Joint is a module of Hugging Face's classes of which the weight has the rows of several linear maps of a layer, or of
// which it has those of all experts.
type Joint struct {
	Module     string // its name, or that of the parameter
	Parameter  bool   // it is a parameter of the module of the experts, beside others; otherwise a module's weight
	Experts    int    // 0: the weight is one matrix, otherwise it has one for each
	Rows, Cols int    // of the matrix, or of each
	Parts      []*Linear
	Order      []int32 // (Rows) where the rows of the parts, one after the other, have each row; nil: in place
}

// Names are those that a linear map is called by: of its module and, where it is a part of one, of that.
func (l *Linear) Names() []string {
	if l.Joint != nil {
		return []string{l.Module, l.Joint.Module}
	}
	return []string{l.Module}
}

// join finds the joint modules of a layer.
func (l *loader) join(layer *Layer) {
	byName := map[string]*Joint{}
	orders := map[*Joint][]int32{} // the rows of the parts of one expert
	for _, m := range layer.linearList {
		t := l.arch.Tensor(m.Role)
		name := t.Joint(layer.Index)
		if name == "" {
			continue
		}
		name, weight := strings.CutSuffix(name, ".weight")
		name = l.hf.Rename(name)
		j := byName[name]
		if j == nil {
			j = &Joint{Module: name, Parameter: !weight, Cols: m.W.Cols}
			byName[name] = j
		}
		if m.Role.Kind() == arch.Experts {
			j.Experts = layer.Spec.Experts.Count
		}
		if m.Joint = j; m.Expert == 0 {
			orders[j] = append(orders[j], t.JointRows(l.spec, layer.Index)...)
			j.Rows += m.W.Rows
		}
		j.Parts = append(j.Parts, m)
	}
	for j, rows := range orders {
		for at, r := range rows {
			if int(r) != at {
				j.Order = l.order(rows)
				break
			}
		}
	}
}

// First is the row at which those of part i begin among those of its expert's parts.
func (j *Joint) First(i int) int {
	first := 0
	for _, p := range j.Parts[:i] {
		if p.Expert == j.Parts[i].Expert {
			first += p.W.Rows
		}
	}
	return first
}
