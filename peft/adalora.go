package peft

import (
	"errors"
	"fmt"
	"math"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/kernels"
)

// MethodAdaLoRA is the peft_type of LoRAs whose ranks are allocated in training.
const MethodAdaLoRA = "ADALORA"

// adaloraParts are the tensors of a module: A (rank, in), B (out, rank) and the singular values E (rank, 1).
var adaloraParts = []string{"lora_A", "lora_B", "lora_E"}

// AdaLoRAOptions says what NewAdaLoRA makes. The zero value is rank 12 on every linear map of every layer, brought down to
// 8 on average between a tenth and seven tenths of the run.
type AdaLoRAOptions struct {
	Placement
	Rank       int     // of a weight at the end, on average; 0 is 8
	StartRank  int     // of every weight at the start; 0 is half as much again as Rank
	Alpha      float64 // the change is scaled by it over StartRank; 0 is twice StartRank
	Dropout    float64 // probability of zeroing an input of A, in training
	Warmup     float64 // share of the steps before ranks are taken away; 0 is 0.1, less than 0 is none
	Final      float64 // share of the steps after it, with ranks as they are; 0 is 0.3, less than 0 is none
	Interval   int     // steps from one allocation to the next; 0 is 1
	Orthogonal float64 // weight of the term that keeps A and B orthogonal; 0 is 0.1, less than 0 is none
}

// defaults fills zero fields in.
func (opt *AdaLoRAOptions) defaults() {
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

// check reports values that make no sense together.
func (opt *AdaLoRAOptions) check() error {
	if !(opt.Warmup >= 0 && opt.Final >= 0 && opt.Warmup+opt.Final < 1) {
		return fmt.Errorf("warm-up %v and final phase %v, expected shares of the steps that leave some between them", opt.Warmup, opt.Final)
	}
	return nil
}

// NewAdaLoRA makes an AdaLoRA adapter that changes nothing yet: E is zero, A and B are random.
func NewAdaLoRA(b *Base, opt AdaLoRAOptions) (*Adapter, error) {
	opt.defaults()
	chosen, where, err := opt.choose(b, allLinear)
	if err != nil {
		return nil, err
	}
	s := newAdaLoRASettings()
	s.targeting, s.Target, s.Start, s.Alpha, s.Dropout = where, opt.Rank, opt.StartRank, opt.Alpha, opt.Dropout
	s.Interval, s.Orthogonal, s.warmup, s.final = opt.Interval, opt.Orthogonal, opt.Warmup, opt.Final
	if err := errors.Join(s.check(), opt.check()); err != nil {
		return nil, fmt.Errorf("new adapter: %w", err)
	}
	shapes := map[string][]int{}
	for _, l := range chosen {
		for part, shape := range adaloraShapes(s.Start, l.W.Rows, l.W.Cols) {
			shapes[partName(l.Module, part)] = shape
		}
	}
	c := Config{Method: MethodAdaLoRA, BaseModel: opt.BaseModel, Settings: s}
	return newAdapter(b, c, shapes, func(p *Param) {
		if !hasSuffix(p.Name, "lora_E") {
			prng.NewRandom(opt.Seed, p.Name).Normal(p.Data, 0.02)
		}
	})
}

// adaloraShapes are the tensors over a weight (out, in).
func adaloraShapes(rank, out, in int) map[string][]int {
	return map[string][]int{"lora_A": {rank, in}, "lora_B": {out, rank}, "lora_E": {rank, 1}}
}

// adaloraSettings are the fields of an AdaLoRA's configuration.
type adaloraSettings struct {
	targeting
	Target     int               `json:"target_r"`
	Start      int               `json:"init_r"`
	Warmup     int               `json:"tinit"`
	Final      int               `json:"tfinal"`
	Interval   int               `json:"deltaT"`
	Beta1      float64           `json:"beta1"`
	Beta2      float64           `json:"beta2"`
	Orthogonal float64           `json:"orth_reg_weight"`
	Total      *int              `json:"total_step"`
	Ranks      map[string][]bool `json:"rank_pattern"` // which of the first ranks a module has kept; nil: all
	Alpha      float64           `json:"lora_alpha"`
	Dropout    float64           `json:"lora_dropout"`
	Bias       string            `json:"bias"`

	warmup, final float64 // shares of the steps by which Warmup and Final are set when training starts; 0: they are left
}

// newAdaLoRASettings are PEFT's defaults.
func newAdaLoRASettings() *adaloraSettings {
	return &adaloraSettings{Target: 8, Start: 12, Interval: 1, Beta1: 0.85, Beta2: 0.85, Orthogonal: 0.5, Alpha: 8, Bias: "none"}
}

func (s *adaloraSettings) check() error {
	switch {
	case s.Start < 1 || s.Target < 1 || s.Target > s.Start:
		return fmt.Errorf("target_r %d and init_r %d, expected 1 or more, and the rank at the start no less than that at the end",
			s.Target, s.Start)
	case s.Warmup < 0 || s.Final < 0 || s.Interval < 1:
		return fmt.Errorf("tinit %d, tfinal %d and deltaT %d, expected 0, 0 and 1 or more", s.Warmup, s.Final, s.Interval)
	case !(s.Beta1 > 0 && s.Beta1 < 1 && s.Beta2 > 0 && s.Beta2 < 1):
		return fmt.Errorf("beta1 %v and beta2 %v, expected more than 0 and less than 1", s.Beta1, s.Beta2)
	case !(s.Orthogonal >= 0):
		return fmt.Errorf("orth_reg_weight %v, expected 0 or more", s.Orthogonal)
	case !(s.Dropout >= 0 && s.Dropout < 1):
		return fmt.Errorf("dropout %v, expected 0 or more and less than 1", s.Dropout)
	case math.IsNaN(s.Alpha) || math.IsInf(s.Alpha, 0):
		return fmt.Errorf("alpha %v, expected a finite number", s.Alpha)
	case s.Bias != "none":
		return fmt.Errorf("not supported: bias = %q", s.Bias)
	}
	for name, kept := range s.Ranks {
		if len(kept) != s.Start {
			return fmt.Errorf("rank_pattern has %d values for %s, expected %d", len(kept), name, s.Start)
		}
	}
	return s.checkModules()
}

// patternName is the name of a module in rank_pattern.
func patternName(module string) string { return module + ".lora_E" }

// rankOf is the rank that a module has in the file.
func (s *adaloraSettings) rankOf(module string) int {
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
func (s *adaloraSettings) scale() float64 {
	alpha := s.Alpha
	if alpha <= 0 {
		alpha = float64(s.Start)
	}
	return alpha / (float64(s.Start) + 1e-5)
}

func init() { registerFamily(adaloraFamily()) }

// adaloraFamily is AdaLoRA.
func adaloraFamily() *family {
	return &family{
		name: "adalora", peftType: MethodAdaLoRA,
		settings: func() Settings { return newAdaLoRASettings() },
		allowed: map[string]func(v any) bool{
			"layers_pattern": isLayersPattern, "r": anyValue, "init_lora_weights": anyValue, "alpha_pattern": isOff,
			"use_rslora": anyValue, "megatron_core": anyValue, "qalora_group_size": anyValue, // PEFT's AdaLoRA does not read them
		},
		method: func(c *Config, params []Param) (method, error) { return newAdaLoRA(c, params) },
	}
}

// adalora is adaptive low-rank adaptation (Zhang et al. 2023): ΔW = scale·B·diag(E)·A, whose ranks go, in the course of the
// training, to the weights where they matter most.
type adalora struct {
	onLinears
	settings *adaloraSettings
}

func newAdaLoRA(c *Config, params []Param) (*adalora, error) {
	o, err := onModules(params, "an AdaLoRA", adaloraParts, []string{"lora_B"})
	if err != nil {
		return nil, err
	}
	m := &adalora{o, c.Settings.(*adaloraSettings)}
	for _, mod := range o.modules {
		if err := mod.need(adaloraParts...); err != nil {
			return nil, err
		}
		out, in := params[mod.parts["lora_B"]].Rows(), params[mod.parts["lora_A"]].Cols()
		if err := mod.adaloraShapes(params, m.settings.rankOf(mod.name), out, in); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// adaloraShapes compares the shapes of a module's tensors with those that they should have.
func (m *linearModule) adaloraShapes(params []Param, rank, out, in int) error {
	for part, shape := range adaloraShapes(rank, out, in) {
		if err := m.wants(params, part, shape...); err != nil {
			return err
		}
	}
	return nil
}

func (m *adalora) describe() string {
	if m.settings.Ranks == nil {
		return fmt.Sprintf("AdaLoRA of rank %d, to become %d on average, on %d weights", m.settings.Start, m.settings.Target, len(m.modules))
	}
	sum := 0
	for _, mod := range m.modules {
		sum += m.settings.rankOf(mod.name)
	}
	return fmt.Sprintf("AdaLoRA of rank %.1f on average on %d weights", float64(sum)/float64(len(m.modules)), len(m.modules))
}

// suggestLR is a learning rate to start with: over a model of width 64 rates from 2e-2 to 5e-2 were measured to end
// within 0.05 of the best loss.
func (m *adalora) suggestLR(b *Base) float64 { return timesSuggested(b, 4) }

func (m *adalora) bind(b *Base, values, grads []Param, strength float64) (attachment, error) {
	linears, err := m.linears(b, func(mod *linearModule, l *model.Linear) error {
		return mod.adaloraShapes(values, m.settings.rankOf(mod.name), l.W.Rows, l.W.Cols)
	})
	if err != nil {
		return nil, err
	}
	at := &adaloraAttachment{linearSites: linearSites{sites: map[*model.Linear]linearSite{}}, settings: m.settings}
	for i, l := range linears {
		mod := &m.modules[i]
		s := &adaloraSite{
			at: at, module: mod.name, scale: float32(m.settings.scale() * strength), a: mod.leaf(values, grads, "lora_A"),
			b: mod.leaf(values, grads, "lora_B"), e: mod.leaf(values, grads, "lora_E"),
		}
		at.sites[l] = s
		at.order = append(at.order, s)
	}
	if grads != nil {
		at.allocator = newRankAllocator(at)
	}
	return at, nil
}

// adaloraAttachment is an AdaLoRA at work.
type adaloraAttachment struct {
	linearSites
	settings  *adaloraSettings
	order     []*adaloraSite // in the order of the adapter's tensors
	allocator *rankAllocator // nil where nothing is trained
	training  bool
}

func (at *adaloraAttachment) train(on bool) { at.training = on }

// drops reports whether inputs are dropped in training.
func (at *adaloraAttachment) drops() bool { return at.settings.Dropout > 0 }

// adaloraSite is the tensors at their linear map.
type adaloraSite struct {
	at      *adaloraAttachment
	module  string
	scale   float32
	a, b, e *autograd.Tensor
}

func (s *adaloraSite) apply(t *autograd.Tape, x, y *autograd.Tensor) *autograd.Tensor {
	if s.a.Rows == 0 {
		return y
	}
	dropout := float32(s.at.settings.Dropout)
	if !s.at.training {
		dropout = 0
	}
	return t.LoRA(y, x, t.ScaleRows(s.a, s.e), s.b, s.scale, dropout)
}

// left is scale·B·diag(E) of some rows.
func (s *adaloraSite) left(r0, r1 int) []float32 {
	r := s.a.Rows
	left := append([]float32(nil), s.b.Data[r0*r:r1*r]...)
	for i := range r1 - r0 {
		kernels.Mul(left[i*r:(i+1)*r], s.e.Data)
	}
	kernels.Scale(s.scale, left)
	return left
}

func (s *adaloraSite) AddRows(dst []float32, r0, r1 int) {
	rank, cols, left := s.a.Rows, s.a.Cols, s.left(r0, r1)
	for i := range r1 - r0 {
		lowrank.AddCombination(dst[i*cols:][:cols], 1, left[i*rank:][:rank], s.a.Data, cols)
	}
}

func (s *adaloraSite) factors() (a, b []float32, rank int) {
	return s.a.Data, s.left(0, s.b.Rows), s.a.Rows
}
