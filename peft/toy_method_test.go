package peft_test

import (
	"fmt"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/peft/method"
)

// meanShift is a method that adds the mean of a linear map's input, times a trained vector, to its output:
// ΔW = v·1ᵀ/in.
type meanShift struct{ attach.OnLinears }

// meanShiftOptions says what peft.New makes.
type meanShiftOptions struct{ method.Placement }

func (meanShiftOptions) Method() string { return "mean-shift" }

// meanShiftSettings are the fields of the configuration.
type meanShiftSettings struct{ attach.Targeting }

func (s *meanShiftSettings) Check() error { return s.CheckModules() }

// shiftPart is the vector (out, 1).
const shiftPart = "mean_shift"

func init() {
	attach.RegisterFamily(&attach.Family{
		Name: "mean-shift", PeftType: "MEAN_SHIFT", Own: true,
		Settings: func() attach.Settings { return &meanShiftSettings{} },
		Method: func(_ *attach.Config, params []attach.Param) (attach.Method, error) {
			on, err := attach.OnModules(params, "mean shift", []string{shiftPart}, []string{shiftPart}, nil)
			return &meanShift{on}, err
		},
	})
	attach.RegisterOptions(nil, func(b *attach.Base, opt meanShiftOptions) (*attach.Adapter, error) {
		chosen, where, err := attach.Choose(b, &opt.Placement, attach.AllLinear)
		if err != nil {
			return nil, err
		}
		shapes := map[string][]int{}
		for _, l := range chosen {
			shapes[attach.PartName(l.Module, shiftPart)] = []int{l.W.Rows, 1}
		}
		c := attach.Config{Method: "MEAN_SHIFT", Settings: &meanShiftSettings{where}}
		return attach.NewAdapter(b, c, shapes, func(*attach.Param) {})
	})
}

func (m *meanShift) Describe() string { return fmt.Sprintf("mean shift of %d weights", len(m.Modules)) }

func (m *meanShift) SuggestLR(b *attach.Base) float64 { return attach.TimesSuggested(b, 30) }

func (m *meanShift) Bind(b *attach.Base, values, grads []attach.Param, strength float64) (attach.Attachment, error) {
	linears, err := m.Linears(b, func(mod *attach.LinearModule, l *model.Linear) error {
		return mod.Wants(values, shiftPart, l.W.Rows, 1)
	})
	if err != nil {
		return nil, err
	}
	at := &attach.LinearSites{Sites: map[*model.Linear]attach.LinearSite{}}
	for i, l := range linears {
		mean := make([]float32, l.W.Cols)
		for j := range mean {
			mean[j] = 1 / float32(len(mean))
		}
		at.Sites[l] = &shiftSite{
			mean: autograd.NewConst(1, len(mean), mean), shift: m.Modules[i].Leaf(values, grads, shiftPart),
			strength: float32(strength),
		}
	}
	return at, nil
}

// shiftSite is the vector at its linear map.
type shiftSite struct {
	mean, shift *autograd.Tensor // (1, in), (out, 1)
	strength    float32
}

func (s *shiftSite) Apply(t *autograd.Tape, x, y *autograd.Tensor) *autograd.Tensor {
	return t.LoRA(y, x, s.mean, s.shift, s.strength, 0)
}

func (s *shiftSite) Change() attach.Change {
	return attach.Change{AddRows: func(dst []float32, r0, r1 int) {
		for i, v := range s.shift.Data[r0:r1] {
			for j, mean := range s.mean.Data {
				dst[i*s.mean.Cols+j] += float32(s.strength*v) * mean
			}
		}
	}}
}
