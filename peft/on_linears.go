package peft

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/quant"
)

// Placement says where an adapter of a method on linear maps goes, and how it starts: what all these methods' options
// have. The zero value is the method's own choice of weights in every layer.
type Placement struct {
	Targets   []string // see SelectTargets; none is the method's default
	Layers    string   // see ParseLayers; "" is all
	Seed      uint64
	BaseModel string // what PEFT is told to load the adapter onto; "" is what the base's metadata says
}

// choose lists the linear maps of a base that the placement names, with what PEFT calls this choice.
func (p *Placement) choose(b *Base, fallback ...string) ([]*model.Linear, targeting, error) {
	names, err := chooseLinears(b, p.Targets, p.Layers, fallback...)
	if err != nil {
		return nil, targeting{}, err
	}
	var chosen []*model.Linear
	for _, l := range b.Model.Linears() {
		if slices.Contains(names, l.Module) {
			chosen = append(chosen, l)
		}
	}
	var t targeting
	t.Targets, t.Layers = describeTargets(b, names)
	return chosen, t, nil
}

// targeting are the fields of adapter_config.json by which the methods on linear maps say where they are.
type targeting struct {
	Targets Modules   `json:"target_modules"`
	Exclude Modules   `json:"exclude_modules"`
	Layers  layerList `json:"layers_to_transform"`
}

func (t *targeting) checkModules() error {
	if err := t.Targets.check(); err != nil {
		return err
	}
	return t.Exclude.check()
}

// isLayersPattern allows the values of layers_pattern that mean the layers of a decoder.
func isLayersPattern(v any) bool { return isOff(v) || oneOf("layers")(v) || isList(v, "layers") }

// onLinears are the tensors of a method on linear maps, module by module.
type onLinears struct {
	modules []linearModule
	byRow   []string // the tensors whose rows are those of the weight
}

// linearModule is the tensors of one linear map: their places in the adapter's, by what follows the module in their names.
type linearModule struct {
	name  string
	parts map[string]int
}

// onModules sorts tensors by module. parts are the names that tensors of a module may have, those in byRow with rows
// that are the weight's.
func onModules(params []Param, method string, parts, byRow []string) (onLinears, error) {
	o := onLinears{byRow: byRow}
	for i := range params {
		if len(params[i].Shape) == 0 {
			return o, fmt.Errorf("adapter: tensor %q has no dimension", params[i].Name)
		}
		module, part, ok := parsePart(params[i].Name, parts)
		if !ok {
			return o, fmt.Errorf("adapter: tensor %q is not one of %s on a linear map (….%s)", params[i].Name, method,
				strings.Join(parts, ", ."))
		}
		last := len(o.modules) - 1
		if last < 0 || o.modules[last].name != module {
			o.modules = append(o.modules, linearModule{module, map[string]int{}})
			last++
		}
		o.modules[last].parts[part] = i
	}
	if len(o.modules) == 0 {
		return o, fmt.Errorf("adapter: no tensor in it")
	}
	return o, nil
}

// parsePart takes a tensor's name apart.
func parsePart(name string, parts []string) (module, part string, ok bool) {
	module, ok = strings.CutPrefix(name, paramPrefix)
	for _, part := range parts {
		if module, found := strings.CutSuffix(module, "."+part); ok && found {
			return module, part, true
		}
	}
	return "", "", false
}

// need reports the first of the parts that a module lacks.
func (m *linearModule) need(parts ...string) error {
	for _, part := range parts {
		if _, ok := m.parts[part]; !ok {
			return fmt.Errorf("adapter: module %s has no %s", m.name, part)
		}
	}
	return nil
}

// wants compares the shape of a part with the one that it should have.
func (m *linearModule) wants(params []Param, part string, shape ...int) error {
	p := &params[m.parts[part]]
	if !slices.Equal(p.Shape, shape) {
		return fmt.Errorf("adapter: tensor %q has shape %v, expected %v", p.Name, p.Shape, shape)
	}
	return nil
}

// linears finds the linear map of every module in a base. check compares shapes.
func (o *onLinears) linears(b *Base, check func(m *linearModule, l *model.Linear) error) ([]*model.Linear, error) {
	byName := map[string]*model.Linear{}
	for _, l := range b.Model.Linears() {
		byName[l.Module] = l
	}
	found := make([]*model.Linear, len(o.modules))
	for i := range o.modules {
		m := &o.modules[i]
		l := byName[m.name]
		if l == nil {
			return nil, fmt.Errorf("adapter: %s has no linear map %q (it has %d layers): an adapter of another base?",
				b.Path, m.name, len(b.Model.Layers))
		}
		if err := check(m, l); err != nil {
			return nil, fmt.Errorf("%w (the weight in %s is %d×%d): an adapter of another base?", err, b.Path, l.W.Rows, l.W.Cols)
		}
		found[i] = l
	}
	return found, nil
}

// permuted lists the tensors whose rows follow rows that the base stores permuted.
func (o *onLinears) permuted(b *Base) ([]permutation, error) {
	heads := map[string]int{}
	for _, l := range b.Model.Linears() {
		heads[l.Module] = l.PermutedHeads
	}
	var perms []permutation
	for _, m := range o.modules {
		for _, part := range o.byRow {
			if at, ok := m.parts[part]; ok && heads[m.name] > 0 {
				perms = append(perms, permutation{param: at, heads: heads[m.name]})
			}
		}
	}
	return perms, nil
}

// part is a tensor of a module on the tape.
func (m *linearModule) leaf(values, grads []Param, part string) *autograd.Tensor {
	return leaf(values, grads, m.parts[part])
}

// rowLeaf is a part with one dimension, or with one column, as a row on the tape.
func (m *linearModule) rowLeaf(values, grads []Param, part string) *autograd.Tensor {
	return rowLeaf(values, grads, m.parts[part])
}

// nextInput tells attachments that change inputs which linear map an input is of: the one whose weight was asked for just
// before, where there was any (the output head's is not asked for).
type nextInput struct {
	plain
	linear *model.Linear
}

// Weights implements model.Hooks.
func (n *nextInput) Weights(l *model.Linear, w *quant.Matrix) *quant.Matrix {
	n.linear = l
	return w
}

// take is that linear map, or nil.
func (n *nextInput) take() *model.Linear {
	l := n.linear
	n.linear = nil
	return l
}

// timesSuggested is a multiple of what a LoRA starts with, in two digits.
func timesSuggested(b *Base, factor float64) float64 {
	lr, _ := strconv.ParseFloat(strconv.FormatFloat(factor*SuggestLR(b), 'e', 1, 64), 64) // reads what was written
	return lr
}

// linearSite is a method at work on one linear map.
type linearSite interface {
	delta
	// apply gets the input and the product of the linear map and gives what goes on, before the bias.
	apply(t *autograd.Tape, x, y *autograd.Tensor) *autograd.Tensor
}

// linearSites is an attachment of sites.
type linearSites struct {
	plain
	sites map[*model.Linear]linearSite
}

// Linear implements model.Hooks.
func (at *linearSites) Linear(t *autograd.Tape, l *model.Linear, x, y *autograd.Tensor) *autograd.Tensor {
	if site, ok := at.sites[l]; ok {
		return site.apply(t, x, y)
	}
	return y
}

func (at *linearSites) deltas() map[*model.Linear]delta {
	all := make(map[*model.Linear]delta, len(at.sites))
	for l, site := range at.sites {
		all[l] = site
	}
	return all
}
