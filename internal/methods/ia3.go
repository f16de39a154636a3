package methods

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/quant"
)

// MethodIA3 is the peft_type of (IA)³ adapters.
const MethodIA3 = "IA3"

// ia3Part is the vector of a module: (out, 1) where it scales the output, (1, in) where it scales the input.
const ia3Part = "ia3_l"

// ia3Settings are the fields of an (IA)³ adapter's configuration.
type ia3Settings struct {
	attach.Targeting
	// Layers is read of files that were written here before: PEFT has no such field, and modules of some layers have
	// their whole names in Targets.
	Layers      attach.LayerList `json:"layers_to_transform,omitempty"`
	FeedForward attach.Modules   `json:"feedforward_modules"`
	Init        bool             `json:"init_ia3_weights"`
}

func (s *ia3Settings) Check() error {
	if err := s.FeedForward.Check(); err != nil {
		return err
	}
	return s.CheckModules()
}

// NewIA3 makes an (IA)³ adapter that changes nothing yet: all its vectors are 1.
func NewIA3(b *attach.Base, opt method.IA3) (*attach.Adapter, error) {
	keys, inputs := keysAndValues(b), downProjections(b)
	if len(opt.Targets) == 0 && len(keys) == 0 {
		return nil, errkind.Errorf(errors.ErrUnsupported, "new adapter: (IA)³ needs targets: in a model of architecture %s "+
			"no linear maps make keys and values", b.Architecture())
	}
	chosen, where, err := attach.Choose(b, &opt.Placement, append(keys, inputs...)...)
	if err != nil {
		return nil, err
	}
	s := &ia3Settings{Targeting: where.Named(chosen), Init: true}
	names := opt.FeedForward
	if names == nil {
		names = inputs
	}
	shapes := map[string][]int{}
	var scaled []string
	for _, l := range chosen {
		shape := []int{l.W.Rows, 1}
		for _, name := range names {
			if hit, err := attach.TargetMatches(b, name, l); err != nil {
				return nil, err
			} else if hit {
				shape = []int{1, l.W.Cols}
			}
		}
		if shape[1] > 1 {
			scaled = append(scaled, l.Module)
		}
		shapes[attach.PartName(l.Module, ia3Part)] = shape
	}
	s.FeedForward, _ = attach.DescribeTargets(b, scaled)
	if where.Layers != nil { // PEFT wants names that are among the targets
		s.FeedForward = attach.Modules{Names: scaled}
	}
	c := attach.Config{Method: MethodIA3, BaseModel: opt.BaseModel, Settings: s}
	return attach.NewAdapter(b, c, shapes, func(p *attach.Param) {
		for i := range p.Data {
			p.Data[i] = 1
		}
	})
}

// keysAndValues are targets for the maps that make keys and values, alone or with the queries.
func keysAndValues(b *attach.Base) []string {
	return targetsOf(b, arch.Key, arch.Value, arch.KeyValueUp, arch.QKV)
}

// downProjections are targets for the last maps of feed-forward networks, those of experts too.
func downProjections(b *attach.Base) []string {
	return targetsOf(b, arch.Down, arch.ExpertDown, arch.SharedDown)
}

// targetsOf are targets for the linear maps of roles.
func targetsOf(b *attach.Base, roles ...arch.Role) []string {
	var names []string
	for _, l := range b.Model.Linears() {
		if slices.Contains(roles, l.Role) && !slices.Contains(names, targetName(b, l)) {
			names = append(names, targetName(b, l))
		}
	}
	return names
}

// targetName is the last part of a map's name, with the part before it where maps of another role have the same.
func targetName(b *attach.Base, l *model.Linear) string {
	name := attach.LastPart(l.Module)
	for _, o := range b.Model.Linears() {
		if o.Role != l.Role && attach.LastPart(o.Module) == name && o.Role.In(model.Attention) != l.Role.In(model.Attention) {
			before := strings.TrimSuffix(l.Module, "."+name)
			return attach.LastPart(before) + "." + name
		}
	}
	return name
}

func init() {
	attach.RegisterFamily(ia3Family())
	attach.RegisterOptions(nil, NewIA3)
}

// ia3Family is (IA)³.
func ia3Family() *attach.Family {
	return &attach.Family{
		Name: "ia3", PeftType: MethodIA3,
		Settings: func() attach.Settings { return &ia3Settings{Init: true} },
		Allowed:  map[string]func(v any) bool{"layers_pattern": attach.IsLayersPattern},
		Method:   func(c *attach.Config, params []attach.Param) (attach.Method, error) { return newIA3(c, params) },
	}
}

// ia3 is (IA)³ (Liu et al. 2022, "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context
// Learning"): vectors that scale the outputs, or the inputs, of linear maps.
type ia3 struct {
	attach.OnLinears
	input map[string]bool // modules whose input is scaled
}

func newIA3(c *attach.Config, params []attach.Param) (*ia3, error) {
	o, err := attach.OnModules(params, "(IA)³", []string{ia3Part}, nil, nil)
	if err != nil {
		return nil, err
	}
	m, s := &ia3{o, map[string]bool{}}, c.Settings.(*ia3Settings)
	for _, mod := range o.Modules {
		p := &params[mod.Parts[ia3Part]]
		m.input[mod.Name] = s.FeedForward.Match(mod.Name)
		want, which := []int{len(p.Data), 1}, "output"
		if m.input[mod.Name] {
			want, which = []int{1, len(p.Data)}, "input"
		}
		if !slices.Equal(p.Shape, want) {
			return nil, fmt.Errorf("adapter: tensor %q has shape %v, expected %v, because "+
				"by feedforward_modules it scales the %s", p.Name, p.Shape, want, which)
		}
	}
	return m, nil
}

func (m *ia3) Describe() string {
	return fmt.Sprintf("(IA)³ with a vector on %d weights", len(m.Modules))
}

// fit finds the linear maps and checks that the vectors have a value for each output or input.
func (m *ia3) fit(b *attach.Base, params []attach.Param) ([]*model.Linear, error) {
	return m.Linears(b, func(mod *attach.LinearModule, l *model.Linear) error {
		if m.input[mod.Name] {
			return mod.Wants(params, ia3Part, 1, l.W.Cols)
		}
		return mod.Wants(params, ia3Part, l.W.Rows, 1)
	})
}

// Permuted lists the vectors that scale outputs or inputs which the base has in another order.
func (m *ia3) Permuted(b *attach.Base) ([]attach.Permutation, error) {
	var perms []attach.Permutation
	for _, l := range b.Model.Linears() {
		for _, mod := range m.Modules {
			switch at := mod.Parts[ia3Part]; {
			case mod.Name != l.Module:
			case m.input[mod.Name]:
				perms = append(perms, attach.ByCol(l, at)...)
			default:
				perms = append(perms, attach.ByRow(l, at)...)
			}
		}
	}
	return perms, nil
}

func (m *ia3) Bind(b *attach.Base, values, grads []attach.Param, strength float64) (attach.Attachment, error) {
	linears, err := m.fit(b, values)
	if err != nil {
		return nil, err
	}
	at := &ia3Attachment{
		base: b, strength: float32(strength),
		outputs: map[*model.Linear]*autograd.Tensor{}, inputs: map[*model.Linear]*autograd.Tensor{},
	}
	for i, l := range linears {
		vector := m.Modules[i].RowLeaf(values, grads, ia3Part)
		if m.input[l.Module] {
			at.inputs[l] = vector
		} else {
			at.outputs[l] = vector
		}
	}
	return at, nil
}

// ia3Attachment is an (IA)³ adapter bound to a base.
type ia3Attachment struct {
	attach.Plain
	base     *attach.Base
	strength float32
	outputs  map[*model.Linear]*autograd.Tensor // (1, out)
	inputs   map[*model.Linear]*autograd.Tensor // (1, in)
}

// Input scales the input.
func (at *ia3Attachment) Input(t *autograd.Tape, l *model.Linear, _ *quant.Matrix,
	x *autograd.Tensor) *autograd.Tensor {
	if vector := at.inputs[l]; vector != nil {
		return t.ScaleColumns(x, vector, at.strength, nil)
	}
	return x
}

// Linear scales the output, including the bias, which is added later.
func (at *ia3Attachment) Linear(t *autograd.Tape, l *model.Linear, _, y *autograd.Tensor) *autograd.Tensor {
	if vector := at.outputs[l]; vector != nil {
		return t.ScaleColumns(y, vector, at.strength, l.Bias)
	}
	return y
}

// readsProduct reports whether the output of a linear map is scaled.
func (at *ia3Attachment) readsProduct(l *model.Linear) bool { return at.outputs[l] != nil }

// scaled lists the weights whose rows or columns are multiplied, in the order of the model.
func (at *ia3Attachment) scaled() []*attach.Scaling {
	var all []*attach.Scaling
	for _, layer := range at.base.Model.Layers {
		for _, l := range layer.Linears() {
			s := &attach.Scaling{Linear: l}
			switch out, in := at.outputs[l], at.inputs[l]; {
			case out != nil:
				s.Rows = at.factors(out)
			case in != nil:
				s.Columns = at.factors(in)
				s.Before = linearBefore(layer, l)
			default:
				continue
			}
			all = append(all, s)
		}
	}
	return all
}

// linearBefore is the up-projection on whose output the input of a down-projection depends linearly; nil where there is
// none, as in networks without a gate or with a norm in between.
func linearBefore(layer *model.Layer, l *model.Linear) *model.Linear {
	if layer.Spec.Activation == arch.OAI || layer.Norm(arch.FFNSubNorm) != nil {
		return nil
	}
	switch gates := layer.Experts(arch.ExpertGate); {
	case l.Role == arch.Down && layer.Linear(arch.Gate) != nil:
		return layer.Linear(arch.Up)
	case l.Role == arch.ExpertDown && gates != nil:
		return layer.Experts(arch.ExpertUp)[l.Expert]
	case l.Role == arch.SharedDown && layer.Linear(arch.SharedGate) != nil:
		return layer.Linear(arch.SharedUp)
	}
	return nil
}

// factors are what a vector multiplies by.
func (at *ia3Attachment) factors(vector *autograd.Tensor) []float32 {
	f := make([]float32, len(vector.Data))
	for i, v := range vector.Data {
		f[i] = 1 + float32(at.strength*(v-1))
	}
	return f
}

// Effect is the scaled weights and biases.
func (at *ia3Attachment) Effect() attach.Effect {
	return attach.Effect{Changes: at.changes, Vectors: at.vectors, ReadsProduct: at.readsProduct}
}

func (at *ia3Attachment) changes() map[*model.Linear]attach.Change {
	all := map[*model.Linear]attach.Change{}
	for _, s := range at.scaled() {
		all[s.Linear] = s.Change()
	}
	return all
}

// vectors are the changes of biases: what scales outputs scales them too.
func (at *ia3Attachment) vectors() []attach.VectorChange {
	var all []attach.VectorChange
	for _, s := range at.scaled() {
		if s.Rows != nil {
			all = append(all, attach.VectorChange{Linear: s.Linear, Factors: s.Rows})
		}
	}
	return all
}

// SuggestLR is a learning rate to start with: over models of width 64 and 256 a rate of 0.1 was measured best, and 0.3
// within 0.1 of it in loss.
func (m *ia3) SuggestLR(b *attach.Base) float64 { return attach.TimesSuggested(b, 30) }
