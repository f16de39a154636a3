package tohf

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/floats"
)

// check reads a config.json as that of a Hugging Face directory would be read, and compares what the class computes
// with what it shall. anyRope: not how contexts are extended.
func check(c *arch.Config, text []byte, anyRope bool) error {
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		return err
	}
	m, err := arch.ReadValues(config)
	if err != nil {
		return fmt.Errorf("%s cannot compute what the file does: %w", c.Class.Class, err)
	}
	if anyRope {
		for _, s := range []*arch.Spec{&m.Spec, c.Spec} {
			s.EditRope(func(r *arch.Rope) { *r = arch.Rope{Dim: r.Dim, Base: r.Base} })
		}
	}
	if what := difference(c.Spec, &m.Spec); what != "" {
		return errkind.Errorf(arch.ErrUnsupported, "%s cannot compute what the file does: %s", c.Class.Class, what)
	}
	return nil
}

// difference says in what two Specs do not compute the same, "" where they do. Numbers may differ by roundings. It
// does not look at how rows are ordered, which the tensors follow, nor at the two forms of GELU, which GGUF files do
// not tell apart.
func difference(a, b *arch.Spec) string {
	top := func(s *arch.Spec) arch.Spec {
		t := *s
		t.Architecture, t.Layer, t.Each, t.Drafts = "", arch.Layer{}, nil, 0
		t.EmbeddingScale, t.ResidualScale = cmp.Or(t.EmbeddingScale, 1), cmp.Or(t.ResidualScale, 1)
		t.LogitScale = cmp.Or(t.LogitScale, 1)
		return t
	}
	if what := differs("", reflect.ValueOf(top(a)), reflect.ValueOf(top(b))); what != "" {
		return what
	}
	for i := range a.Layers {
		x, y := plainLayer(*a.At(i)), plainLayer(*b.At(i))
		if what := differs("", reflect.ValueOf(x), reflect.ValueOf(y)); what != "" {
			return fmt.Sprintf("layer %d: %s", i, what)
		}
	}
	return ""
}

// plainLayer has one form for what a Layer can say in several, and nothing where nothing reads it.
func plainLayer(l arch.Layer) arch.Layer {
	if l.Activation == arch.GELUErf {
		l.Activation = arch.GELU
	}
	if l.Experts.Count == 0 {
		l.Experts = arch.MoE{}
	} else {
		l.Experts.Scale = cmp.Or(l.Experts.Scale, 1)
		if l.Experts.Groups < 2 {
			l.Experts.Groups, l.Experts.GroupsUsed = 0, 0
		}
	}
	if l.Mixer != arch.SelfAttention {
		return arch.Layer{Mixer: l.Mixer, Parallel: l.Parallel, FFN: l.FFN, Activation: l.Activation, Experts: l.Experts,
			Delta: l.Delta, Mamba: l.Mamba, Taps: l.Taps}
	}
	l.Delta, l.Mamba, l.Taps = arch.Delta{}, arch.Mamba{}, 0
	l.ScoreScale = l.Scale()
	l.ValueDim = l.Values()
	r := &l.Rope
	r.Neox, r.Plain = false, false
	if r.Dim == 0 {
		*r = arch.Rope{}
	}
	r.Magnitude = cmp.Or(r.Magnitude, 1)
	if r.Long == nil && r.Yarn == nil {
		r.Original = 0
	}
	return l
}

// differs compares two values of a type, field by field.
func differs(name string, a, b reflect.Value) string {
	same := true
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			if what := differs(a.Type().Field(i).Name, a.Field(i), b.Field(i)); what != "" {
				return what
			}
		}
	case reflect.Pointer:
		if !a.IsNil() && !b.IsNil() {
			return differs(name, a.Elem(), b.Elem())
		}
		same = a.IsNil() && b.IsNil()
	case reflect.Slice:
		same = a.Len() == b.Len()
		for i := 0; same && i < a.Len(); i++ {
			same = differs(name, a.Index(i), b.Index(i)) == ""
		}
	case reflect.Float32, reflect.Float64:
		same = floats.Near(a.Float(), b.Float())
	default:
		same = a.Equal(b)
	}
	if same {
		return ""
	}
	return fmt.Sprintf("%s would be %v in place of %v", name, b, a)
}
