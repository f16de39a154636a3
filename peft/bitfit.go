package peft

import (
	"fmt"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
)

// MethodBitFit is the peft_type of trained biases. PEFT has no method of its own for them: the files are this program's.
const MethodBitFit = "BITFIT"

// biasPart is the bias of a linear map, (out).
const biasPart = "bias"

// BitFitOptions says what NewBitFit makes. The zero value is a bias on every linear map that can have one in the base's
// architecture.
type BitFitOptions struct{ Placement }

// bitFitSettings are the fields of the configuration.
type bitFitSettings struct{ targeting }

func (s *bitFitSettings) check() error { return s.checkModules() }

// NewBitFit makes an adapter of biases, which start as the base's, or at zero where it has none. A target that cannot have
// a bias in the base's architecture is an error: the adapter could never be merged.
func NewBitFit(b *Base, opt BitFitOptions) (*Adapter, error) {
	chosen, where, err := opt.choose(b, allLinear)
	if err != nil {
		return nil, err
	}
	shapes, start := map[string][]int{}, map[string]*model.Linear{}
	for _, l := range chosen {
		switch {
		case l.Bias != nil || b.Model.Arch.AddsBiases:
			name := partName(l.Module, biasPart)
			shapes[name], start[name] = []int{l.W.Rows}, l
		case opt.Targets != nil:
			return nil, fmt.Errorf("%s: in a model of architecture %s it has no bias", l.Module, b.Architecture())
		}
	}
	if len(shapes) < len(chosen) {
		where.Targets, where.Layers = describeTargets(b, modulesOf(start))
	}
	c := Config{Method: MethodBitFit, BaseModel: opt.BaseModel, Settings: &bitFitSettings{where}}
	return newAdapter(b, c, shapes, func(p *Param) { startBias(p, start[p.Name]) })
}

func modulesOf(linears map[string]*model.Linear) []string {
	var names []string
	for _, l := range linears {
		names = append(names, l.Module)
	}
	return names
}

// startBias copies the base's bias, with rows in the order of the Hugging Face checkpoint.
func startBias(p *Param, l *model.Linear) {
	if l.Bias != nil {
		copy(p.Data, inHFRows(l.Bias, l))
	}
}

// bitFitFamily is the tuning of biases.
func bitFitFamily() *family {
	return &family{
		name: "bitfit", peftType: MethodBitFit, own: true,
		settings: func() Settings { return &bitFitSettings{} },
		method:   func(_ *Config, params []Param) (method, error) { return newBitFit(params) },
	}
}

// bitFit trains biases of linear maps and nothing else (Ben Zaken et al. 2021, "BitFit").
type bitFit struct{ onLinears }

func newBitFit(params []Param) (*bitFit, error) {
	o, err := onModules(params, "BitFit", []string{biasPart}, []string{biasPart})
	return &bitFit{o}, err
}

func (m *bitFit) describe() string { return fmt.Sprintf("biases of %d weights", len(m.modules)) }

// suggestLR is a learning rate to start with: over models of width 64 and 256 a rate of 0.03 was measured best.
func (m *bitFit) suggestLR(b *Base) float64 { return timesSuggested(b, 10) }

func (m *bitFit) bind(b *Base, values, grads []Param, strength float64) (attachment, error) {
	linears, err := m.linears(b, func(mod *linearModule, l *model.Linear) error {
		return mod.wants(values, biasPart, l.W.Rows)
	})
	if err != nil {
		return nil, err
	}
	at := &biasAttachment{strength: float32(strength), linears: linears, biases: map[*model.Linear]*autograd.Tensor{}}
	for i, l := range linears {
		at.biases[l] = m.modules[i].rowLeaf(values, grads, biasPart)
	}
	return at, nil
}

// biasAttachment is trained biases at work.
type biasAttachment struct {
	plain
	strength float32
	linears  []*model.Linear
	biases   map[*model.Linear]*autograd.Tensor // (1, out)
}

// Linear adds the trained bias less the base's, which is still to come.
func (at *biasAttachment) Linear(t *autograd.Tape, l *model.Linear, _, y *autograd.Tensor) *autograd.Tensor {
	if bias := at.biases[l]; bias != nil {
		return t.AddRow(y, bias, at.strength, l.Bias)
	}
	return y
}

// vectors are the changes of the biases.
func (at *biasAttachment) vectors() []vectorChange {
	var all []vectorChange
	for _, l := range at.linears {
		change := append([]float32(nil), at.biases[l].Data...)
		if l.Bias != nil {
			kernels.Axpy(-1, l.Bias, change)
		}
		kernels.Scale(at.strength, change)
		all = append(all, vectorChange{linear: l, change: change})
	}
	return all
}
