package methods

import (
	"errors"
	"fmt"
	"slices"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/method"
)

// MethodLNTuning is the peft_type of trained norm weights.
const MethodLNTuning = "LN_TUNING"

// lnPart is the weight of a norm, (D).
const lnPart = "ln_tuning_layers.weight"

// lnSettings are the fields of the configuration.
type lnSettings struct {
	Targets attach.Modules `json:"target_modules"`
	Exclude attach.Modules `json:"exclude_modules"`
}

func (s *lnSettings) Check() error {
	if err := s.Targets.Check(); err != nil {
		return err
	}
	return s.Exclude.Check()
}

// NewLNTuning makes an adapter of norm weights, which start as the base's.
func NewLNTuning(b *attach.Base, opt method.LNTuning) (*attach.Adapter, error) {
	chosen, err := chooseNorms(b, &opt)
	if err != nil {
		return nil, err
	}
	s := &lnSettings{}
	shapes, start := map[string][]int{}, map[string][]float32{}
	for _, n := range chosen {
		name := attach.PartName(n.Module, lnPart)
		shapes[name], start[name] = []int{n.W.Cols}, n.InHF()
		s.Targets.Names = append(s.Targets.Names, n.Module)
	}
	if kinds := s.Targets.Kinds(); len(normsNamed(b, kinds)) == len(chosen) {
		s.Targets.Names = kinds
	}
	c := attach.Config{Method: MethodLNTuning, BaseModel: opt.BaseModel, Settings: s}
	return attach.NewAdapter(b, c, shapes, func(p *attach.Param) { copy(p.Data, start[p.Name]) })
}

// normsNamed are the norms of a base with one of these names, or ending in them.
func normsNamed(b *attach.Base, names []string) []*model.Norm {
	var found []*model.Norm
	for _, n := range b.Model.Norms() {
		if (&attach.Modules{Names: names}).Match(n.Module) {
			found = append(found, n)
		}
	}
	return found
}

// chooseNorms lists the norms.
func chooseNorms(b *attach.Base, opt *method.LNTuning) ([]*model.Norm, error) {
	layers, err := attach.ParseLayers(opt.Layers, len(b.Model.Layers))
	if err != nil {
		return nil, err
	}
	all := b.Model.Norms()
	if len(all) == 0 {
		return nil, errkind.Errorf(errors.ErrUnsupported, "new adapter: in a model of architecture %s norms have no "+
			"weights", b.Architecture())
	}
	for _, target := range opt.Targets {
		if len(normsNamed(b, []string{target})) == 0 {
			var kinds attach.Modules
			for _, n := range all {
				kinds.Names = append(kinds.Names, n.Module)
			}
			return nil, fmt.Errorf("target %q matches no norm of %s; there are %v", target, b.Path, kinds.Kinds())
		}
	}
	var chosen []*model.Norm
	for _, n := range all {
		last := n == b.Model.Norm
		inLayers := layers == nil || slices.Contains(layers, n.Layer) || last && opt.Targets != nil
		if inLayers && (opt.Targets == nil || slices.Contains(normsNamed(b, opt.Targets), n)) {
			chosen = append(chosen, n)
		}
	}
	return chosen, nil
}

func init() {
	attach.RegisterFamily(lnFamily())
	attach.RegisterOptions(nil, NewLNTuning)
}

// lnFamily is the tuning of norm weights.
func lnFamily() *attach.Family {
	return &attach.Family{
		Name: "ln-tuning", PeftType: MethodLNTuning,
		Settings: func() attach.Settings { return &lnSettings{} },
		Method:   func(_ *attach.Config, params []attach.Param) (attach.Method, error) { return newLNTuning(params) },
	}
}

// lnTuning trains the weights of norms and nothing else (Zhao et al. 2023, "Tuning LayerNorm in Attention").
type lnTuning struct{ attach.OnLinears }

func newLNTuning(params []attach.Param) (*lnTuning, error) {
	o, err := attach.OnModules(params, "LN tuning", []string{lnPart}, nil, nil)
	return &lnTuning{o}, err
}

func (m *lnTuning) Describe() string { return fmt.Sprintf("weights of %d norms", len(m.Modules)) }

// SuggestLR is a learning rate to start with: over models of width 64 and 256 a rate of 0.1 was measured best, and 0.3
// within 0.1 of it in loss.
func (m *lnTuning) SuggestLR(b *attach.Base) float64 { return attach.TimesSuggested(b, 30) }

func (m *lnTuning) Permuted(*attach.Base) ([]attach.Permutation, error) { return nil, nil }

func (m *lnTuning) Bind(b *attach.Base, values, grads []attach.Param, strength float64) (attach.Attachment, error) {
	byName := map[string]*model.Norm{}
	for _, n := range b.Model.Norms() {
		byName[n.Module] = n
	}
	at := &lnAttachment{strength: float32(strength), weights: map[*model.Norm]*autograd.Tensor{}}
	for _, mod := range m.Modules {
		n := byName[mod.Name]
		if n == nil {
			return nil, errkind.Errorf(attach.ErrWrongBase, "adapter: %s has no norm %q (it has %d layers): an "+
				"adapter of another base?",
				b.Path, mod.Name, len(b.Model.Layers))
		}
		if err := mod.Wants(values, lnPart, n.W.Cols); err != nil {
			return nil, errkind.Errorf(attach.ErrWrongBase, "%w: an adapter of another base?", err)
		}
		at.norms = append(at.norms, n)
		at.weights[n] = mod.RowLeaf(values, grads, lnPart)
	}
	return at, nil
}

// lnAttachment is trained norms bound to a base.
type lnAttachment struct {
	attach.Plain
	strength float32
	norms    []*model.Norm
	weights  map[*model.Norm]*autograd.Tensor // (1, D) as a Hugging Face checkpoint has them
	raised   map[*model.Norm]*autograd.Tensor // (1, D) raised by 1, of norms where that has them so
}

// Begin raises weights.
func (at *lnAttachment) Begin(t *autograd.Tape) {
	for _, n := range at.norms {
		if !n.Raised || at.strength != 1 {
			continue
		}
		if at.raised == nil {
			at.raised = map[*model.Norm]*autograd.Tensor{}
		}
		ones := t.Tensor(1, n.W.Cols)
		for i := range ones.Data {
			ones.Data[i] = 1
		}
		at.raised[n] = t.Hold(t.Add(at.weights[n], ones))
	}
}

// Norm is the trained weight, or, where another adapter changes the norm too or the strength is not 1, what it adds to
// w.
func (at *lnAttachment) Norm(n *model.Norm, w *autograd.Tensor) *autograd.Tensor {
	trained := at.weights[n]
	switch {
	case trained == nil:
		return w
	case w == n.W && at.strength == 1 && n.Raised:
		return at.raised[n]
	case w == n.W && at.strength == 1:
		return trained
	}
	sum := at.change(n)
	kernels.Add(sum, w.Data)
	return autograd.NewConst(1, len(sum), sum)
}

// change is strength times the trained difference of a weight.
func (at *lnAttachment) change(n *model.Norm) []float32 {
	change := slices.Clone(at.weights[n].Data)
	if n.Raised {
		for i := range change {
			change[i]++
		}
	}
	kernels.Axpy(-1, n.W.Data, change)
	kernels.Scale(at.strength, change)
	return change
}

// Effect is the changes of the vectors.
func (at *lnAttachment) Effect() attach.Effect { return attach.Effect{Vectors: at.vectors} }

// vectors are the changes of the norms.
func (at *lnAttachment) vectors() []attach.VectorChange {
	var all []attach.VectorChange
	for _, n := range at.norms {
		all = append(all, attach.VectorChange{Norm: n, Change: at.change(n)})
	}
	return all
}
