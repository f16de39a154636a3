package methods

import (
	"errors"
	"fmt"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/method"
)

// MethodBitFit is the peft_type of trained biases. PEFT has no method of its own for them: the files are this
// program's.
const MethodBitFit = "BITFIT"

// bitFitSettings are the fields of the configuration.
type bitFitSettings struct{ attach.Targeting }

func (s *bitFitSettings) Check() error { return s.CheckModules() }

// NewBitFit makes an adapter of biases, which start as the base's, or at zero where it has none. A target that cannot
// have a bias in the base's architecture is an error: the adapter could never be merged.
func NewBitFit(b *attach.Base, opt method.BitFit) (*attach.Adapter, error) {
	chosen, where, err := attach.Choose(b, &opt.Placement, attach.AllLinear)
	if err != nil {
		return nil, err
	}
	shapes, start := map[string][]int{}, map[string]*model.Linear{}
	for _, l := range chosen {
		switch {
		case b.Model.TakesBias(l):
			name := attach.PartName(l.Module, attach.BiasPart)
			shapes[name], start[name] = []int{l.W.Rows}, l
		case opt.Targets != nil:
			return nil, fmt.Errorf("%s: in a model of architecture %s it has no bias", l.Module, b.Architecture())
		}
	}
	if len(shapes) == 0 {
		return nil, errkind.Errorf(errors.ErrUnsupported, "new adapter: in a model of architecture %s no linear map has a "+
			"bias", b.Architecture())
	}
	if len(shapes) < len(chosen) {
		where.Targets, where.Layers = attach.DescribeTargets(b, modulesOf(start))
	}
	c := attach.Config{Method: MethodBitFit, BaseModel: opt.BaseModel, Settings: &bitFitSettings{where}}
	return attach.NewAdapter(b, c, shapes, func(p *attach.Param) { startBias(p, start[p.Name]) })
}

func modulesOf(linears map[string]*model.Linear) []string {
	var names []string
	for _, l := range linears {
		names = append(names, l.Module)
	}
	return names
}

// startBias copies the base's bias, with rows in the order of the Hugging Face checkpoint.
func startBias(p *attach.Param, l *model.Linear) {
	if l.Bias != nil {
		copy(p.Data, model.InHFRows(l.Bias, l))
	}
}

func init() {
	attach.RegisterFamily(bitFitFamily())
	attach.RegisterOptions(nil, NewBitFit)
}

// bitFitFamily is the tuning of biases.
func bitFitFamily() *attach.Family {
	return &attach.Family{
		Name: "bitfit", PeftType: MethodBitFit, Own: true,
		Settings: func() attach.Settings { return &bitFitSettings{} },
		Method:   func(_ *attach.Config, params []attach.Param) (attach.Method, error) { return newBitFit(params) },
	}
}

// bitFit trains biases of linear maps and nothing else (Ben Zaken et al. 2021, "BitFit").
type bitFit struct{ attach.OnLinears }

func newBitFit(params []attach.Param) (*bitFit, error) {
	o, err := attach.OnModules(params, "BitFit", []string{attach.BiasPart}, []string{attach.BiasPart}, nil)
	return &bitFit{o}, err
}

func (m *bitFit) Describe() string { return fmt.Sprintf("biases of %d weights", len(m.Modules)) }

// SuggestLR is a learning rate to start with: over models of width 64 and 256 a rate of 0.03 was measured best.
func (m *bitFit) SuggestLR(b *attach.Base) float64 { return attach.TimesSuggested(b, 10) }

func (m *bitFit) Bind(b *attach.Base, values, grads []attach.Param, strength float64) (attach.Attachment, error) {
	linears, err := m.Linears(b, func(mod *attach.LinearModule, l *model.Linear) error {
		return mod.Wants(values, attach.BiasPart, l.W.Rows)
	})
	if err != nil {
		return nil, err
	}
	at := &biasAttachment{strength: float32(strength), linears: linears, biases: map[*model.Linear]*autograd.Tensor{}}
	for i, l := range linears {
		at.biases[l] = m.Modules[i].RowLeaf(values, grads, attach.BiasPart)
	}
	return at, nil
}

// biasAttachment is trained biases bound to a base.
type biasAttachment struct {
	attach.Plain
	strength float32
	linears  []*model.Linear
	biases   map[*model.Linear]*autograd.Tensor // (1, out)
}

// Linear adds the trained bias less the base's, which is added later.
func (at *biasAttachment) Linear(t *autograd.Tape, l *model.Linear, _, y *autograd.Tensor) *autograd.Tensor {
	if bias := at.biases[l]; bias != nil {
		return t.AddRow(y, bias, at.strength, l.Bias)
	}
	return y
}

// Effect is the changes of the vectors.
func (at *biasAttachment) Effect() attach.Effect { return attach.Effect{Vectors: at.vectors} }

// vectors are the changes of the biases.
func (at *biasAttachment) vectors() []attach.VectorChange {
	var all []attach.VectorChange
	for _, l := range at.linears {
		change := append([]float32(nil), at.biases[l].Data...)
		if l.Bias != nil {
			kernels.Axpy(-1, l.Bias, change)
		}
		kernels.Scale(at.strength, change)
		all = append(all, attach.VectorChange{Linear: l, Change: change})
	}
	return all
}
