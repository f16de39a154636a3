package methods

import (
	"errors"
	"fmt"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/method"
)

// MethodAdaLoRA is the peft_type of LoRAs whose ranks are allocated in training.
const MethodAdaLoRA = "ADALORA"

// adaloraParts are the tensors of a module: A (rank, in), B (out, rank) and the singular values E (rank, 1).
var adaloraParts = []string{"lora_A", "lora_B", "lora_E"}

// adaloraDefaults fills zero fields in.
func adaloraDefaults(opt *method.AdaLoRA) {
	set := func(x *float64, v float64) {
		if *x == 0 {
			*x = v
		}
	}
	if opt.Rank == 0 {
		opt.Rank = 8
	}
	if opt.StartRank == 0 {
		opt.StartRank = (3*opt.Rank + 1) / 2
	}
	if opt.Interval == 0 {
		opt.Interval = 1
	}
	set(&opt.Alpha, 2*float64(opt.StartRank))
	set(&opt.Warmup, 0.1)
	set(&opt.Final, 0.3)
	set(&opt.Orthogonal, 0.1)
	opt.Warmup, opt.Final, opt.Orthogonal = max(opt.Warmup, 0), max(opt.Final, 0), max(opt.Orthogonal, 0)
}

// checkAdaLoRA reports options that make no sense together.
func checkAdaLoRA(opt *method.AdaLoRA) error {
	if !(opt.Warmup >= 0 && opt.Final >= 0 && opt.Warmup+opt.Final < 1) {
		return fmt.Errorf("warm-up %v and final phase %v, expected shares of the steps that leave some between them",
			opt.Warmup, opt.Final)
	}
	return nil
}

// NewAdaLoRA makes an AdaLoRA adapter that changes nothing yet: E is zero, A and B are random.
func NewAdaLoRA(b *attach.Base, opt method.AdaLoRA) (*attach.Adapter, error) {
	adaloraDefaults(&opt)
	chosen, where, err := attach.Choose(b, &opt.Placement, attach.AllLinear)
	if err != nil {
		return nil, err
	}
	s := newAdaLoRASettings()
	s.Targeting, s.Target, s.Start, s.Alpha, s.Dropout = where, opt.Rank, opt.StartRank, opt.Alpha, opt.Dropout
	s.Interval, s.Orthogonal, s.warmup, s.final = opt.Interval, opt.Orthogonal, opt.Warmup, opt.Final
	if err := errors.Join(s.Check(), checkAdaLoRA(&opt)); err != nil {
		return nil, fmt.Errorf("new adapter: %w", err)
	}
	shapes := map[string][]int{}
	for _, l := range chosen {
		for part, shape := range adaloraShapes(s.Start, l.W.Rows, l.W.Cols) {
			shapes[attach.PartName(l.Module, part)] = shape
		}
	}
	c := attach.Config{Method: MethodAdaLoRA, BaseModel: opt.BaseModel, Settings: s}
	return attach.NewAdapter(b, c, shapes, func(p *attach.Param) {
		if !attach.HasSuffix(p.Name, "lora_E") {
			prng.NewRandom(opt.Seed, p.Name).Normal(p.Data, 0.02)
		}
	})
}

// adaloraShapes are the tensors over a weight (out, in).
func adaloraShapes(rank, out, in int) map[string][]int {
	return map[string][]int{"lora_A": {rank, in}, "lora_B": {out, rank}, "lora_E": {rank, 1}}
}

// AdaLoRASettings are the fields of an AdaLoRA's configuration.
type AdaLoRASettings struct {
	attach.Targeting
	Target     int               `json:"target_r"`
	Start      int               `json:"init_r"`
	Warmup     int               `json:"tinit"`
	Final      int               `json:"tfinal"`
	Interval   int               `json:"deltaT"`
	Beta1      float64           `json:"beta1"`
	Beta2      float64           `json:"beta2"`
	Orthogonal float64           `json:"orth_reg_weight"`
	Total      *int              `json:"total_step"`
	Ranks      map[string][]bool `json:"rank_pattern"` // which of its initial ranks a module has kept; nil: all
	Alpha      float64           `json:"lora_alpha"`
	Dropout    float64           `json:"lora_dropout"`
	Bias       string            `json:"bias"`

	warmup, final float64 // shares of the steps by which Warmup and Final are set when training starts; 0: they are left
}

// newAdaLoRASettings are PEFT's defaults.
func newAdaLoRASettings() *AdaLoRASettings {
	return &AdaLoRASettings{Target: 8, Start: 12, Interval: 1, Beta1: 0.85, Beta2: 0.85, Orthogonal: 0.5, Alpha: 8,
		Bias: "none"}
}

func (s *AdaLoRASettings) Check() error {
	switch {
	case s.Start < 1 || s.Start > attach.MaxRank || s.Target < 1 || s.Target > s.Start:
		return fmt.Errorf("target_r %d and init_r %d, expected 1 to %d, and the rank at the start no less than that at "+
			"the end", s.Target, s.Start, attach.MaxRank)
	case s.Warmup < 0 || s.Final < 0 || s.Interval < 1:
		return fmt.Errorf("tinit %d, tfinal %d and deltaT %d, expected 0, 0 and 1 or more", s.Warmup, s.Final, s.Interval)
	case !(s.Beta1 > 0 && s.Beta1 < 1 && s.Beta2 > 0 && s.Beta2 < 1):
		return fmt.Errorf("beta1 %v and beta2 %v, expected more than 0 and less than 1", s.Beta1, s.Beta2)
	case !(s.Orthogonal >= 0):
		return fmt.Errorf("orth_reg_weight %v, expected 0 or more", s.Orthogonal)
	case !(s.Dropout >= 0 && s.Dropout < 1):
		return fmt.Errorf("dropout %v, expected 0 or more and less than 1", s.Dropout)
	case !attach.IsSingle(s.Alpha):
		return fmt.Errorf("alpha %v, expected a finite number", s.Alpha)
	case s.Bias != "none":
		return errkind.Errorf(errors.ErrUnsupported, "not supported: bias = %q", s.Bias)
	}
	for name, kept := range s.Ranks {
		if len(kept) != s.Start {
			return fmt.Errorf("rank_pattern has %d values for %s, expected %d", len(kept), name, s.Start)
		}
	}
	return s.CheckModules()
}

// patternName is the name of a module in rank_pattern.
func patternName(module string) string { return module + ".lora_E" }

// RankOf is the rank that a module has in the file.
func (s *AdaLoRASettings) RankOf(module string) int {
	kept, ok := s.Ranks[patternName(module)]
	if !ok {
		return s.Start
	}
	n := 0
	for _, k := range kept {
		if k {
			n++
		}
	}
	return n
}

// scale is the factor of B·diag(E)·A. It stays as it was at the start when ranks are taken away.
func (s *AdaLoRASettings) scale() float64 {
	alpha := s.Alpha
	if alpha <= 0 {
		alpha = float64(s.Start)
	}
	return alpha / (float64(s.Start) + 1e-5)
}

func init() {
	attach.RegisterFamily(adaloraFamily())
	attach.RegisterOptions(checkAdaLoRA, NewAdaLoRA)
}

// adaloraFamily is AdaLoRA.
func adaloraFamily() *attach.Family {
	return &attach.Family{
		Name: "adalora", PeftType: MethodAdaLoRA,
		Settings: func() attach.Settings { return newAdaLoRASettings() },
		Allowed: map[string]func(v any) bool{
			"layers_pattern": attach.IsLayersPattern, "r": attach.AnyValue, "init_lora_weights": attach.AnyValue,
			"alpha_pattern": attach.IsOff,
			// PEFT's AdaLoRA does not read them
			"use_rslora": attach.AnyValue, "megatron_core": attach.AnyValue, "qalora_group_size": attach.AnyValue,
		},
		Method: func(c *attach.Config, params []attach.Param) (attach.Method, error) { return newAdaLoRA(c, params) },
	}
}

// AdaLoRA is adaptive low-rank adaptation (Zhang et al. 2023): ΔW = scale·B·diag(E)·A, whose ranks are
// allocated during training to the weights where they matter most.
type AdaLoRA struct {
	attach.OnLinears
	settings *AdaLoRASettings
}

func newAdaLoRA(c *attach.Config, params []attach.Param) (*AdaLoRA, error) {
	o, err := attach.OnModules(params, "an AdaLoRA", adaloraParts, []string{"lora_B"}, []string{"lora_A"})
	if err != nil {
		return nil, err
	}
	m := &AdaLoRA{o, c.Settings.(*AdaLoRASettings)}
	for _, mod := range o.Modules {
		if err := mod.Need(adaloraParts...); err != nil {
			return nil, err
		}
		out, in := params[mod.Parts["lora_B"]].Rows(), params[mod.Parts["lora_A"]].Cols()
		if err := checkAdaLoRAShapes(&mod, params, m.settings.RankOf(mod.Name), out, in); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// checkAdaLoRAShapes compares the shapes of a module's tensors with those that they should have.
func checkAdaLoRAShapes(m *attach.LinearModule, params []attach.Param, rank, out, in int) error {
	for part, shape := range adaloraShapes(rank, out, in) {
		if err := m.Wants(params, part, shape...); err != nil {
			return err
		}
	}
	return nil
}

func (m *AdaLoRA) Describe() string {
	if m.settings.Ranks == nil {
		return fmt.Sprintf("AdaLoRA of rank %d, to become %d on average, on %d weights", m.settings.Start, m.settings.Target,
			len(m.Modules))
	}
	sum := 0
	for _, mod := range m.Modules {
		sum += m.settings.RankOf(mod.Name)
	}
	return fmt.Sprintf("AdaLoRA of rank %.1f on average on %d weights", float64(sum)/float64(len(m.Modules)),
		len(m.Modules))
}

// SuggestLR is a learning rate to start with: over a model of width 64 rates from 2e-2 to 5e-2 were measured to end
// within 0.05 of the best loss.
func (m *AdaLoRA) SuggestLR(b *attach.Base) float64 { return attach.TimesSuggested(b, 4) }

func (m *AdaLoRA) Bind(b *attach.Base, values, grads []attach.Param, strength float64) (attach.Attachment, error) {
	linears, err := m.Linears(b, func(mod *attach.LinearModule, l *model.Linear) error {
		return checkAdaLoRAShapes(mod, values, m.settings.RankOf(mod.Name), l.W.Rows, l.W.Cols)
	})
	if err != nil {
		return nil, err
	}
	at := &adaloraAttachment{LinearSites: attach.LinearSites{Sites: map[*model.Linear]attach.LinearSite{}},
		Settings: m.settings}
	for i, l := range linears {
		mod := &m.Modules[i]
		s := &adaloraSite{
			at: at, module: mod.Name, scale: float32(m.settings.scale() * strength), A: mod.Leaf(values, grads, "lora_A"),
			B: mod.Leaf(values, grads, "lora_B"), E: mod.Leaf(values, grads, "lora_E"),
		}
		at.Sites[l] = s
		at.Order = append(at.Order, s)
	}
	if grads != nil {
		at.Allocator = newRankAllocator(at)
	}
	return at, nil
}

// adaloraAttachment is an AdaLoRA bound to a base.
type adaloraAttachment struct {
	attach.LinearSites
	Settings  *AdaLoRASettings
	Order     []*adaloraSite // in the order of the adapter's tensors
	Allocator *rankAllocator // nil where nothing is trained
	training  bool
}

// Effect is the changes of the weights, and the allocation of ranks.
func (at *adaloraAttachment) Effect() attach.Effect {
	e := at.LinearSites.Effect()
	e.Train, e.Dropout = func(on bool) { at.training = on }, at.Settings.Dropout > 0
	e.Stepped, e.Regularize, e.Finish = at.stepped, at.regularize, at.finish
	if at.Allocator != nil {
		e.State = at.state
	}
	return e
}

// adaloraSite is the tensors at their linear map.
type adaloraSite struct {
	at      *adaloraAttachment
	module  string
	scale   float32
	A, B, E *autograd.Tensor
}

func (s *adaloraSite) Apply(t *autograd.Tape, x, y *autograd.Tensor) *autograd.Tensor {
	if s.A.Rows == 0 {
		return y
	}
	dropout := float32(s.at.Settings.Dropout)
	if !s.at.training {
		dropout = 0
	}
	return t.LoRA(y, x, t.ScaleRows(s.A, s.E), s.B, s.scale, dropout)
}

// left is scale·B·diag(E) of some rows.
func (s *adaloraSite) left(r0, r1 int) []float32 {
	r := s.A.Rows
	left := append([]float32(nil), s.B.Data[r0*r:r1*r]...)
	for i := range r1 - r0 {
		kernels.Mul(left[i*r:(i+1)*r], s.E.Data)
	}
	kernels.Scale(s.scale, left)
	return left
}

// Change is the triplets as a change of the weight.
func (s *adaloraSite) Change() attach.Change {
	return attach.Change{AddRows: s.addRows, Factors: s.factors}
}

func (s *adaloraSite) addRows(dst []float32, r0, r1 int) {
	rank, cols, left := s.A.Rows, s.A.Cols, s.left(r0, r1)
	for i := range r1 - r0 {
		lowrank.AddCombination(dst[i*cols:][:cols], 1, left[i*rank:][:rank], s.A.Data, cols)
	}
}

func (s *adaloraSite) factors() (a, b []float32, rank int) {
	return s.A.Data, s.left(0, s.B.Rows), s.A.Rows
}
