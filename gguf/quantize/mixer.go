package quantize

import (
	"fmt"

	"github.com/peftconv/peftconv/gguf"
)

// mixer chooses the types of a model's tensors. It must see them in the order in which they are written.
type mixer struct {
	opt    *settings
	model  traits
	values int // tensors of attention values in the model

	seen map[role]int // tensors of a role that the rules have seen
}

func newMixer(tensors []*gguf.Tensor, model traits, opt *settings) *mixer {
	m := &mixer{opt: opt, model: model, seen: map[role]int{}}
	for _, t := range tensors {
		if model.roleOf(t.Name) == attnV {
			m.values++
		}
	}
	return m
}

// chosen is a type, and whether it replaces the wanted one.
type chosen struct {
	gguf.Type
	fallback bool // rows are not a whole number of blocks of the wanted type
}

// choose is the type that a tensor gets.
func (m *mixer) choose(t *gguf.Tensor) (chosen, error) {
	if !m.model.quantizable(t) || m.opt.LeaveOutput && m.model.roleOf(t.Name) == head {
		return chosen{Type: t.Type}, nil
	}
	if to := m.fixed(t); to != nil {
		return chosen{Type: *to}, checkRows(t, *to)
	}
	to := m.opt.Type.Type
	if !quantized(to) {
		return chosen{Type: to}, nil
	}
	if over := m.opt.override(t.Name); over != nil {
		to = over.Type
	} else if !m.opt.Pure {
		var err error
		if to, err = m.mix(t); err != nil {
			return chosen{}, err
		}
	}
	return fit(t, to)
}

// fixed is the type that an option gives the embedding or the head; nil: there is none.
func (m *mixer) fixed(t *gguf.Tensor) *gguf.Type {
	switch m.model.roleOf(t.Name) {
	case embedding:
		if t.Name == perLayerName && m.opt.override(t.Name) != nil {
			return nil
		}
		return m.opt.EmbeddingType
	case head:
		return m.opt.OutputType
	}
	return nil
}

// mix is the type by the rules of the file type.
func (m *mixer) mix(t *gguf.Tensor) (gguf.Type, error) {
	r := m.model.roleOf(t.Name)
	if r == head || r == embedding && m.model.tied {
		return m.headType(t), nil
	}
	p, err := m.place(t, r)
	if err != nil {
		return 0, err
	}
	ft := &m.opt.Type
	if !ft.own && p.experts == 8 && (r == attnV || r == attnK) { // small beside the experts
		return gguf.Q8_0, nil
	}
	to := ft.rule(r, p)
	if !ft.own && p.wide && r == attnV && (to == gguf.Q3_K || to == gguf.Q4_K) {
		to = gguf.Q5_K
	}
	return to, nil
}

// headType is the type of the output head, or of the embedding that is the head too.
func (m *mixer) headType(t *gguf.Tensor) gguf.Type {
	ft := &m.opt.Type
	switch {
	case m.opt.OutputType != nil:
		return *m.opt.OutputType
	case ft.Type == gguf.Q8_0 || m.model.rules.OwnMixtures || !wholeRows(t, ft.Type):
		return gguf.Q8_0
	}
	for _, r := range ft.rules {
		if r.role == head {
			return r.to
		}
	}
	return gguf.Q6_K
}

// rule is the type by the rules of the file type for a role and a place.
func (ft *FileType) rule(r role, p *place) gguf.Type {
	for i := range ft.rules {
		rule := &ft.rules[i]
		if (rule.role == r || rule.role == anyRole) && rule.holds(p) {
			return rule.to
		}
	}
	return ft.Type
}

// place is the position of a tensor of a role, which it counts.
func (m *mixer) place(t *gguf.Tensor, r role) (*place, error) {
	p := &place{traits: &m.model, stack: dim(t, 2) > 1, i: m.seen[r], n: m.model.layers}
	m.seen[r]++
	switch r {
	case attnV:
		p.n = m.values
	case ffnUp, ffnGate, ffnDown:
		if m.model.experts <= 1 || m.opt.Type.own {
			break // the number of the tensor is that of its layer
		}
		if p.i = m.model.layerOf(t.Name); p.i < 0 || p.i >= p.n {
			return nil, fmt.Errorf("tensor %q: its name has no layer number below %d, on which its type depends", t.Name, p.n)
		}
	}
	return p, nil
}

// fallbacks are the types with shorter blocks, for rows that are not a whole number of blocks.
var fallbacks = map[gguf.Type]gguf.Type{
	gguf.IQ1_S: gguf.IQ4_NL, gguf.IQ1_M: gguf.IQ4_NL, gguf.IQ2_XXS: gguf.IQ4_NL, gguf.IQ2_XS: gguf.IQ4_NL,
	gguf.IQ2_S:   gguf.IQ4_NL,
	gguf.IQ3_XXS: gguf.IQ4_NL, gguf.IQ3_S: gguf.IQ4_NL, gguf.IQ4_XS: gguf.IQ4_NL, gguf.NVFP4: gguf.IQ4_NL,
	gguf.Q2_0: gguf.Q4_0, gguf.Q2_K: gguf.Q4_0, gguf.Q3_K: gguf.Q4_0, gguf.TQ1_0: gguf.Q4_0, gguf.TQ2_0: gguf.Q4_0,
	gguf.Q4_K: gguf.Q5_0, gguf.Q5_K: gguf.Q5_1, gguf.Q6_K: gguf.Q8_0,
}

// fit is a type, or its replacement where rows are not a whole number of its blocks: one with shorter blocks, or F16.
func fit(t *gguf.Tensor, to gguf.Type) (chosen, error) {
	if wholeRows(t, to) {
		return chosen{Type: to}, nil
	}
	short, ok := fallbacks[to]
	if !ok && to.BlockLen() > 32 {
		return chosen{}, fmt.Errorf("%w, and there is no other type for it", checkRows(t, to))
	}
	if !ok || !wholeRows(t, short) {
		short = gguf.F16
	}
	return chosen{Type: short, fallback: true}, nil
}

// FitRows is the type that a tensor with rows of so many weights gets where a type is wanted: that, or its replacement
// where the rows are no whole number of its blocks. An error says that there is none.
func FitRows(name string, cols int64, to gguf.Type) (gguf.Type, error) {
	fitted, err := fit(&gguf.Tensor{Name: name, Shape: []int64{cols}}, to)
	return fitted.Type, err
}

// wholeRows says whether the rows of a tensor are whole blocks of a type.
func wholeRows(t *gguf.Tensor, to gguf.Type) bool { return t.Cols()%int64(to.BlockLen()) == 0 }

func checkRows(t *gguf.Tensor, to gguf.Type) error {
	if wholeRows(t, to) {
		return nil
	}
	return fmt.Errorf("tensor %q has rows of %d weights, which are no whole number of %v blocks of %d", t.Name, t.Cols(),
		to, to.BlockLen())
}

// quantized says whether a type has blocks, rather than numbers.
func quantized(t gguf.Type) bool { return t.BlockLen() > 1 }
