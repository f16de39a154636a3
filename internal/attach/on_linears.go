package attach

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/peft/method"
)

// Choose lists the linear maps of a base that the placement names, with what PEFT calls this choice.
func Choose(b *Base, p *method.Placement, fallback ...string) ([]*model.Linear, Targeting, error) {
	names, err := ChooseLinears(b, p.Targets, p.Layers, fallback...)
	if err != nil {
		return nil, Targeting{}, err
	}
	var chosen []*model.Linear
	in := set(names)
	for _, l := range b.Model.Linears() {
		if in[l.Module] {
			chosen = append(chosen, l)
		}
	}
	var t Targeting
	t.Targets, t.Layers = DescribeTargets(b, names)
	return chosen, t, nil
}

// Targeting are the fields of adapter_config.json by which the methods on linear maps say where they are.
type Targeting struct {
	Targets Modules   `json:"target_modules"`
	Exclude Modules   `json:"exclude_modules"`
	Layers  LayerList `json:"layers_to_transform"`
}

// Named is the same choice of linear maps by their whole names where it is one of layers too.
func (t Targeting) Named(chosen []*model.Linear) Targeting {
	if t.Layers == nil {
		return t
	}
	var names []string
	for _, l := range chosen {
		names = append(names, l.Module)
	}
	slices.Sort(names)
	return Targeting{Targets: Modules{Names: names}}
}

// CheckModules reports patterns of modules that cannot be read.
func (t *Targeting) CheckModules() error {
	if err := t.Targets.Check(); err != nil {
		return err
	}
	return t.Exclude.Check()
}

// IsLayersPattern allows the values of layers_pattern that mean the layers of a decoder.
func IsLayersPattern(v any) bool { return IsOff(v) || oneOf("layers")(v) || isList(v, "layers") }

// OnLinears are the tensors of a method on linear maps, module by module.
type OnLinears struct {
	Modules []LinearModule
	byRow   []string // the tensors whose rows are those of the weight
	byCol   []string // and those whose columns are
}

// LinearModule is the tensors of one linear map: their places in the adapter's, by what follows the module in their
// names.
type LinearModule struct {
	Name  string
	Parts map[string]int
}

// OnModules sorts tensors by module. parts are the names that tensors of a module may have, those in byRow with rows
// that are the weight's, those in byCol with its columns.
func OnModules(params []Param, method string, parts, byRow, byCol []string) (OnLinears, error) {
	o := OnLinears{byRow: byRow, byCol: byCol}
	for i := range params {
		if len(params[i].Shape) == 0 {
			return o, fmt.Errorf("adapter: tensor %q has no dimension", params[i].Name)
		}
		module, part, ok := ParsePart(params[i].Name, parts)
		if !ok {
			return o, fmt.Errorf("adapter: tensor %q is not one of %s on a linear map (….%s)", params[i].Name, method,
				strings.Join(parts, ", ."))
		}
		last := len(o.Modules) - 1
		if last < 0 || o.Modules[last].Name != module {
			o.Modules = append(o.Modules, LinearModule{module, map[string]int{}})
			last++
		}
		o.Modules[last].Parts[part] = i
	}
	if len(o.Modules) == 0 {
		return o, fmt.Errorf("adapter: no tensor in it")
	}
	return o, nil
}

// ParsePart takes a tensor's name apart.
func ParsePart(name string, parts []string) (module, part string, ok bool) {
	module, ok = strings.CutPrefix(name, ParamPrefix)
	for _, part := range parts {
		if module, found := strings.CutSuffix(module, "."+part); ok && found {
			return module, part, true
		}
	}
	return "", "", false
}

// Need reports the first of the parts that a module lacks.
func (m *LinearModule) Need(parts ...string) error {
	for _, part := range parts {
		if _, ok := m.Parts[part]; !ok {
			return fmt.Errorf("adapter: module %s has no %s", m.Name, part)
		}
	}
	return nil
}

// Wants compares the shape of a part with the one that it should have.
func (m *LinearModule) Wants(params []Param, part string, shape ...int) error {
	p := &params[m.Parts[part]]
	if !slices.Equal(p.Shape, shape) {
		return fmt.Errorf("adapter: tensor %q has shape %v, expected %v", p.Name, p.Shape, shape)
	}
	return nil
}

// Linears finds the linear map of every module in a base. check compares shapes.
func (o *OnLinears) Linears(b *Base, check func(m *LinearModule, l *model.Linear) error) ([]*model.Linear, error) {
	byName := b.LinearsByName(b.Model.Linears())
	found := make([]*model.Linear, len(o.Modules))
	for i := range o.Modules {
		m := &o.Modules[i]
		l := byName[b.Canonical(m.Name)]
		if l == nil {
			return nil, errkind.Errorf(ErrWrongBase, "adapter: %s has no linear map %q (it has %d layers): an "+
				"adapter of another base?",
				b.Path, m.Name, len(b.Model.Layers))
		}
		if err := check(m, l); err != nil {
			return nil, errkind.Errorf(ErrWrongBase, "%w (the weight in %s is %d×%d): an adapter of another base?",
				err, b.Path, l.W.Rows, l.W.Cols)
		}
		found[i] = l
	}
	return found, nil
}

// Traits are none.
func (o *OnLinears) Traits() Traits { return Traits{} }

// Permuted lists the tensors whose rows or columns follow those that the base has in another order.
func (o *OnLinears) Permuted(b *Base) ([]Permutation, error) {
	byName := b.LinearsByName(b.Model.Linears())
	var perms []Permutation
	for _, m := range o.Modules {
		l := byName[b.Canonical(m.Name)]
		if l == nil {
			continue // which binding reports
		}
		perms = append(perms, ByRow(l, m.places(o.byRow)...)...)
		perms = append(perms, ByCol(l, m.places(o.byCol)...)...)
	}
	return perms, nil
}

// places are those of some parts, where the module has them.
func (m *LinearModule) places(parts []string) (at []int) {
	for _, part := range parts {
		if i, ok := m.Parts[part]; ok {
			at = append(at, i)
		}
	}
	return at
}

// Leaf is a tensor of a module on the tape.
func (m *LinearModule) Leaf(values, grads []Param, part string) *autograd.Tensor {
	return Leaf(values, grads, m.Parts[part])
}

// RowLeaf is a part with one dimension, or with one column, as a row on the tape.
func (m *LinearModule) RowLeaf(values, grads []Param, part string) *autograd.Tensor {
	return RowLeaf(values, grads, m.Parts[part])
}

// TimesSuggested is a multiple of what a LoRA starts with, in two digits.
func TimesSuggested(b *Base, factor float64) float64 {
	lr, _ := strconv.ParseFloat(strconv.FormatFloat(factor*SuggestLR(b), 'e', 1, 64), 64) // cannot fail
	return lr
}

// SuggestLR is a learning rate to start with for a LoRA over a base, in two digits: 5e-4 at a width of 2048, more where
// the model is narrower. The best rate of a LoRA hardly depends on its rank but falls with the width of the model,
// about as the power -0.78 of it for the llama family (Schulman et al. 2025, "LoRA Without Regret"). Over a model of
// width 64, where it gives 7.5e-3, rates from 2e-3 to 2e-2 were measured to end within 0.04 of the best loss, and 2e-4
// 0.5 above.
func SuggestLR(b *Base) float64 {
	lr := 5e-4 * math.Pow(2048/float64(b.Model.Spec.Width), 0.78)
	lr, _ = strconv.ParseFloat(strconv.FormatFloat(lr, 'e', 1, 64), 64) // cannot fail
	return lr
}

// LinearSite is a method bound to one linear map.
type LinearSite interface {
	// Change is what the site does to the weight.
	Change() Change
	// Apply returns the output before the bias, given the input and the product of the linear map.
	Apply(t *autograd.Tape, x, y *autograd.Tensor) *autograd.Tensor
}

// LinearSites is an attachment of sites.
type LinearSites struct {
	Plain
	Sites map[*model.Linear]LinearSite
}

// Linear implements model.Hooks.
func (at *LinearSites) Linear(t *autograd.Tape, l *model.Linear, x, y *autograd.Tensor) *autograd.Tensor {
	if site, ok := at.Sites[l]; ok {
		return site.Apply(t, x, y)
	}
	return y
}

// Effect is the changes of all sites.
func (at *LinearSites) Effect() Effect { return Effect{Changes: at.changes} }

func (at *LinearSites) changes() map[*model.Linear]Change {
	all := make(map[*model.Linear]Change, len(at.Sites))
	for l, site := range at.Sites {
		all[l] = site.Change()
	}
	return all
}
