package peft

import (
	"fmt"
	"slices"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/quant"
)

// MethodIA3 is the peft_type of (IA)³ adapters.
const MethodIA3 = "IA3"

// ia3Part is the vector of a module: (out, 1) where it scales the output, (1, in) where it scales the input.
const ia3Part = "ia3_l"

// IA3Options says what NewIA3 makes. The zero value scales keys, values and the inner activations of the feed-forward
// network: k_proj, v_proj and the input of down_proj.
type IA3Options struct {
	Placement
	FeedForward []string // those of the targets whose input is scaled, by name; nil: down_proj
}

// ia3Settings are the fields of an (IA)³ adapter's configuration.
type ia3Settings struct {
	targeting
	FeedForward Modules `json:"feedforward_modules"`
	Init        bool    `json:"init_ia3_weights"`
}

func (s *ia3Settings) check() error {
	if err := s.FeedForward.check(); err != nil {
		return err
	}
	return s.checkModules()
}

// NewIA3 makes an (IA)³ adapter that changes nothing yet: all its vectors are 1.
func NewIA3(b *Base, opt IA3Options) (*Adapter, error) {
	chosen, where, err := opt.choose(b, "k_proj", "v_proj", "down_proj")
	if err != nil {
		return nil, err
	}
	s := &ia3Settings{targeting: where, Init: true}
	names := opt.FeedForward
	if names == nil {
		names = []string{"down_proj"}
	}
	shapes := map[string][]int{}
	for _, l := range chosen {
		shape := []int{l.W.Rows, 1}
		for _, name := range names {
			if hit, err := targetMatches(name, l); err != nil {
				return nil, err
			} else if hit {
				shape = []int{1, l.W.Cols}
			}
		}
		if kind := lastPart(l.Module); shape[0] == 1 && !slices.Contains(s.FeedForward.Names, kind) {
			s.FeedForward.Names = append(s.FeedForward.Names, kind)
		}
		shapes[partName(l.Module, ia3Part)] = shape
	}
	c := Config{Method: MethodIA3, BaseModel: opt.BaseModel, Settings: s}
	return newAdapter(b, c, shapes, func(p *Param) {
		for i := range p.Data {
			p.Data[i] = 1
		}
	})
}

// ia3Family is (IA)³.
func ia3Family() *family {
	return &family{
		name: "ia3", peftType: MethodIA3,
		settings: func() Settings { return &ia3Settings{Init: true} },
		allowed:  map[string]func(v any) bool{"layers_pattern": isLayersPattern},
		method:   func(c *Config, params []Param) (method, error) { return newIA3(c, params) },
	}
}

// ia3 is (IA)³ (Liu et al. 2022, "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context
// Learning"): vectors that scale the outputs, or the inputs, of linear maps.
type ia3 struct {
	onLinears
	input map[string]bool // modules whose input is scaled
}

func newIA3(c *Config, params []Param) (*ia3, error) {
	o, err := onModules(params, "(IA)³", []string{ia3Part}, nil)
	if err != nil {
		return nil, err
	}
	m, s := &ia3{o, map[string]bool{}}, c.Settings.(*ia3Settings)
	for _, mod := range o.modules {
		p := &params[mod.parts[ia3Part]]
		m.input[mod.name] = s.FeedForward.Match(mod.name)
		want, which := []int{len(p.Data), 1}, "output"
		if m.input[mod.name] {
			want, which = []int{1, len(p.Data)}, "input"
		}
		if !slices.Equal(p.Shape, want) {
			return nil, fmt.Errorf("adapter: tensor %q has shape %v, expected %v, because by feedforward_modules it scales the %s",
				p.Name, p.Shape, want, which)
		}
	}
	return m, nil
}

func (m *ia3) describe() string {
	return fmt.Sprintf("(IA)³ with a vector on %d weights", len(m.modules))
}

// fit finds the linear maps and checks that the vectors have a value for each output or input.
func (m *ia3) fit(b *Base, params []Param) ([]*model.Linear, error) {
	return m.linears(b, func(mod *linearModule, l *model.Linear) error {
		if m.input[mod.name] {
			return mod.wants(params, ia3Part, 1, l.W.Cols)
		}
		return mod.wants(params, ia3Part, l.W.Rows, 1)
	})
}

// permuted lists the vectors that scale permuted outputs.
func (m *ia3) permuted(b *Base) ([]permutation, error) {
	var perms []permutation
	for _, l := range b.Model.Linears() {
		for _, mod := range m.modules {
			if mod.name == l.Module && l.PermutedHeads > 0 && !m.input[mod.name] {
				perms = append(perms, permutation{param: mod.parts[ia3Part], heads: l.PermutedHeads})
			}
		}
	}
	return perms, nil
}

func (m *ia3) bind(b *Base, values, grads []Param, strength float64) (attachment, error) {
	linears, err := m.fit(b, values)
	if err != nil {
		return nil, err
	}
	at := &ia3Attachment{
		base: b, strength: float32(strength),
		outputs: map[*model.Linear]*autograd.Tensor{}, inputs: map[*model.Linear]*autograd.Tensor{},
	}
	for i, l := range linears {
		vector := m.modules[i].rowLeaf(values, grads, ia3Part)
		if m.input[l.Module] {
			at.inputs[l] = vector
		} else {
			at.outputs[l] = vector
		}
	}
	return at, nil
}

// ia3Attachment is an (IA)³ adapter at work.
type ia3Attachment struct {
	nextInput
	base     *Base
	strength float32
	outputs  map[*model.Linear]*autograd.Tensor // (1, out)
	inputs   map[*model.Linear]*autograd.Tensor // (1, in)
}

// Input scales the input.
func (at *ia3Attachment) Input(t *autograd.Tape, _ *quant.Matrix, x *autograd.Tensor) *autograd.Tensor {
	if vector := at.inputs[at.take()]; vector != nil {
		return t.ScaleColumns(x, vector, at.strength, nil)
	}
	return x
}

// Linear scales the output, the bias that is still to come with it.
func (at *ia3Attachment) Linear(t *autograd.Tape, l *model.Linear, _, y *autograd.Tensor) *autograd.Tensor {
	if vector := at.outputs[l]; vector != nil {
		return t.ScaleColumns(y, vector, at.strength, l.Bias)
	}
	return y
}

// readsProduct reports whether the output of a linear map is scaled.
func (at *ia3Attachment) readsProduct(l *model.Linear) bool { return at.outputs[l] != nil }

// scaled lists the weights whose rows or columns are multiplied, in the order of the model.
func (at *ia3Attachment) scaled() []*scaledWeight {
	var all []*scaledWeight
	for _, layer := range at.base.Model.Layers {
		for _, l := range layer.Linears() {
			s := &scaledWeight{linear: l}
			switch out, in := at.outputs[l], at.inputs[l]; {
			case out != nil:
				s.rows = at.factors(out)
			case in != nil:
				s.columns = at.factors(in)
				if l.Role == arch.Down {
					s.before = layer.Linear(arch.Up)
				}
			default:
				continue
			}
			all = append(all, s)
		}
	}
	return all
}

// factors are what a vector multiplies by.
func (at *ia3Attachment) factors(vector *autograd.Tensor) []float32 {
	f := make([]float32, len(vector.Data))
	for i, v := range vector.Data {
		f[i] = 1 + float32(at.strength*(v-1))
	}
	return f
}

func (at *ia3Attachment) deltas() map[*model.Linear]delta {
	all := map[*model.Linear]delta{}
	for _, s := range at.scaled() {
		all[s.linear] = s
	}
	return all
}

// vectors are the changes of biases: what scales outputs scales them too.
func (at *ia3Attachment) vectors() []vectorChange {
	var all []vectorChange
	for _, s := range at.scaled() {
		if s.rows != nil {
			all = append(all, vectorChange{linear: s.linear, factors: s.rows})
		}
	}
	return all
}

// scaledWeight is the change of a weight whose rows, or columns, are multiplied by factors.
type scaledWeight struct {
	linear        *model.Linear
	rows, columns []float32 // one of them is nil
	// before is the weight on whose output the input that columns scale depends linearly; nil where there is none.
	before *model.Linear
	late   bool // what is scaled comes after everything else that other adapters do to the weight
}

// moved is the same change as one of the rows of the weight before, where quantized blocks can have it exactly: the
// feed-forward network is linear in the output of its up-projection, so that a scale of the down-projection's input is
// one of these rows. nil where there is no such weight. It is the same only where nothing else changes the weight itself.
func (s *scaledWeight) moved() *scaledWeight {
	if s.before == nil {
		return nil
	}
	return &scaledWeight{linear: s.before, rows: s.columns, late: true}
}

// multiply multiplies rows r0 to r1-1 of a matrix by the factors.
func (s *scaledWeight) multiply(x []float32, r0, r1 int) {
	cols := s.linear.W.Cols
	for r := r0; r < r1; r++ {
		row := x[(r-r0)*cols:][:cols]
		if s.rows != nil {
			kernels.Scale(s.rows[r], row)
		} else {
			kernels.Mul(row, s.columns)
		}
	}
}

func (s *scaledWeight) phase() mergePhase {
	switch {
	case s.columns != nil:
		return inputPhase
	case s.late:
		return latePhase
	}
	return inOrder
}

// addRows is dst += (factors - 1)·W.
func (s *scaledWeight) addRows(dst []float32, r0, r1 int) {
	w := &s.linear.W
	row := make([]float32, w.Cols)
	for r := r0; r < r1; r++ {
		w.Row(row, r)
		to := dst[(r-r0)*w.Cols:][:w.Cols]
		if s.rows != nil {
			fusedAxpy(s.rows[r]-1, row, to)
			continue
		}
		for j, f := range s.columns {
			to[j] += float32((f - 1) * row[j])
		}
	}
}

// scalesRows reports whether only rows are multiplied, which the scales of quantized blocks can take up.
func (s *scaledWeight) scalesRows() bool { return s.rows != nil }

// suggestLR is a learning rate to start with: over models of width 64 and 256 a rate of 0.1 was measured best, and 0.3
// within 0.1 of it in loss.
func (m *ia3) suggestLR(b *Base) float64 { return timesSuggested(b, 30) }
