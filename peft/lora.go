package peft

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
)

// LoRAOptions says what NewLoRA makes. The zero value is rank 8, alpha 16, every linear map of every layer.
type LoRAOptions struct {
	Rank         int                // 0 is 8
	Alpha        float64            // 0 is twice the rank
	Dropout      float64            // probability of zeroing an input of A, in training
	Targets      []string           // see SelectTargets; none is "all-linear"
	Layers       string             // see ParseLayers; "" is all
	RSLoRA       bool               // scale by Alpha/√rank
	RankPattern  map[string]int     // ranks of single modules, as Config.RankPattern
	AlphaPattern map[string]float64 // alphas of single modules, as Config.AlphaPattern
	Init         string             // InitKaiming ("" is the same) or InitGaussian
	Seed         uint64
	BaseModel    string // what PEFT is told to load the adapter onto; "" is what the base's metadata says
}

// config is the configuration of the options, modules aside.
func (opt *LoRAOptions) config() (Config, error) {
	c := Config{
		Method: MethodLoRA, BaseModel: opt.BaseModel, Rank: opt.Rank, Alpha: opt.Alpha, RSLoRA: opt.RSLoRA,
		Dropout: opt.Dropout, RankPattern: nonEmpty(opt.RankPattern), AlphaPattern: nonEmpty(opt.AlphaPattern), Init: opt.Init,
	}
	if c.Rank == 0 {
		c.Rank = 8
	}
	if c.Alpha == 0 {
		c.Alpha = 2 * float64(c.Rank)
	}
	switch c.Init {
	case "":
		c.Init = InitKaiming
	case InitKaiming, InitGaussian:
	default:
		return c, fmt.Errorf("init %q is not known, expected %s or %s", c.Init, InitKaiming, InitGaussian)
	}
	return c, c.check()
}

// NewLoRA makes a LoRA that changes nothing yet: A is random, B zero. The start of each matrix depends on the seed and
// its name alone, not on which other modules are chosen.
func NewLoRA(b *Base, opt LoRAOptions) (*Adapter, error) {
	c, err := opt.config()
	if err != nil {
		return nil, fmt.Errorf("new adapter: %w", err)
	}
	layers, err := ParseLayers(opt.Layers, len(b.Model.Layers))
	if err != nil {
		return nil, err
	}
	targets := opt.Targets
	if len(targets) == 0 {
		targets = []string{allLinear}
	}
	chosen, err := SelectTargets(b, targets, layers)
	if err != nil {
		return nil, err
	}
	c.Targets, c.Layers = describeTargets(b, chosen)
	return newAdapter(b, c, loraShapes(b, &c, chosen), func(p *Param) { startLoRA(&c, p, opt.Seed) })
}

// loraShapes are the tensors of a LoRA over the chosen modules.
func loraShapes(b *Base, c *Config, chosen []string) map[string][]int {
	shapes := map[string][]int{}
	for _, l := range b.Model.Linears() {
		if slices.Contains(chosen, l.Module) {
			r := c.rankOf(l.Module)
			shapes[loraName(l.Module, "A")] = []int{r, l.W.Cols}
			shapes[loraName(l.Module, "B")] = []int{l.W.Rows, r}
		}
	}
	return shapes
}

// startLoRA fills an A matrix.
func startLoRA(c *Config, p *Param, seed uint64) {
	if _, which, _ := parseLoRAName(p.Name); which != "A" {
		return
	}
	r := newRandom(seed, p.Name)
	if c.Init == InitGaussian {
		r.normal(p.Data, 1/float64(p.Rows()))
	} else {
		r.uniform(p.Data, 1/math.Sqrt(float64(p.Cols())))
	}
}

// paramPrefix is what PEFT puts before the name of a module.
const paramPrefix = "base_model.model."

// loraName is PEFT's name of a module's A or B.
func loraName(module, which string) string {
	return paramPrefix + module + ".lora_" + which + ".weight"
}

// parseLoRAName takes a tensor's name apart.
func parseLoRAName(name string) (module, which string, ok bool) {
	module, ok = strings.CutPrefix(name, paramPrefix)
	for _, which := range []string{"A", "B"} {
		if module, found := strings.CutSuffix(module, ".lora_"+which+".weight"); ok && found {
			return module, which, true
		}
	}
	return "", "", false
}

// loraFamily is LoRA with its variants.
func loraFamily() *family {
	return &family{
		name: "lora", peftType: MethodLoRA, allowed: loraFields,
		method: func(c *Config, params []Param) (method, error) { return newLoRA(c, params) },
	}
}

// lora is low-rank adaptation (Hu et al. 2021): W += scale·B·A on chosen linear maps.
type lora struct {
	rank    int // of modules without one of their own
	dropout float64
	modules []loraModule
}

// loraModule is the pair of matrices on one linear map.
type loraModule struct {
	name    string // of the linear map
	a, b    int    // places of A (rank, in) and B (out, rank) in the adapter's tensors
	rank    int
	in, out int
	scale   float64
}

// newLoRA finds the pairs among the tensors. Errors: a tensor that is no LoRA matrix, one without its partner, shapes
// that do not fit each other or the configured rank.
func newLoRA(c *Config, params []Param) (*lora, error) {
	m := &lora{rank: c.Rank, dropout: c.Dropout}
	var a int
	for i := range params {
		module, which, ok := parseLoRAName(params[i].Name)
		switch {
		case !ok:
			return nil, fmt.Errorf("adapter: tensor %q is not one of a LoRA on a linear map (….lora_A.weight, ….lora_B.weight)", params[i].Name)
		case len(params[i].Shape) != 2:
			return nil, fmt.Errorf("adapter: tensor %q has shape %v, expected a matrix", params[i].Name, params[i].Shape)
		case which == "A":
			a = i
			if i+1 == len(params) || params[i+1].Name != loraName(module, "B") {
				return nil, fmt.Errorf("adapter: module %s has lora_A but no lora_B", module)
			}
			continue
		case i == 0 || params[a].Name != loraName(module, "A"):
			return nil, fmt.Errorf("adapter: module %s has lora_B but no lora_A", module)
		}
		pair, err := newLoRAModule(c, module, params, a, i)
		if err != nil {
			return nil, err
		}
		m.modules = append(m.modules, pair)
	}
	if len(m.modules) == 0 {
		return nil, fmt.Errorf("adapter: no tensor in it")
	}
	return m, nil
}

func newLoRAModule(c *Config, module string, params []Param, a, b int) (loraModule, error) {
	p := loraModule{
		name: module, a: a, b: b, rank: params[a].Rows(), in: params[a].Cols(), out: params[b].Rows(), scale: c.scaleOf(module),
	}
	want := c.rankOf(module)
	if p.rank != want || params[b].Cols() != want {
		return p, fmt.Errorf("adapter: module %s has lora_A %v and lora_B %v, but the configuration says rank %d",
			module, params[a].Shape, params[b].Shape, want)
	}
	return p, nil
}

func (m *lora) describe() string {
	return fmt.Sprintf("LoRA of rank %d on %d weights", m.rank, len(m.modules))
}

func (m *lora) suggestLR(b *Base) float64 { return SuggestLR(b) }

// linears finds the linear map of every pair in a base and checks that the shapes fit.
func (m *lora) linears(b *Base) ([]*model.Linear, error) {
	byName := map[string]*model.Linear{}
	for _, l := range b.Model.Linears() {
		byName[l.Module] = l
	}
	found := make([]*model.Linear, len(m.modules))
	for i, p := range m.modules {
		l := byName[p.name]
		if l == nil {
			return nil, fmt.Errorf("adapter: %s has no linear map %q (it has %d layers): an adapter of another base?",
				b.Path, p.name, len(b.Model.Layers))
		}
		if l.W.Rows != p.out || l.W.Cols != p.in {
			return nil, fmt.Errorf("adapter: %s is made for a %d×%d weight, but in %s it is %d×%d: an adapter of another base?",
				p.name, p.out, p.in, b.Path, l.W.Rows, l.W.Cols)
		}
		found[i] = l
	}
	return found, nil
}

// permuted lists the B matrices of permuted projections: the rows of B are those of the weight.
func (m *lora) permuted(b *Base) ([]permutation, error) {
	linears, err := m.linears(b)
	if err != nil {
		return nil, err
	}
	var perms []permutation
	for i, l := range linears {
		if l.PermutedHeads > 0 {
			perms = append(perms, permutation{param: m.modules[i].b, heads: l.PermutedHeads})
		}
	}
	return perms, nil
}

func (m *lora) bind(b *Base, values, grads []Param, strength float64) (attachment, error) {
	linears, err := m.linears(b)
	if err != nil {
		return nil, err
	}
	at := &loraAttachment{sites: make(map[*model.Linear]*loraSite, len(linears)), dropout: float32(m.dropout)}
	for i, l := range linears {
		p := m.modules[i]
		at.sites[l] = &loraSite{
			a: leaf(values, grads, p.a), b: leaf(values, grads, p.b), scale: float32(p.scale * strength),
		}
	}
	return at, nil
}

// leaf is tensor i on the tape: trainable where there are gradients.
func leaf(values, grads []Param, i int) *autograd.Tensor {
	p := &values[i]
	if grads == nil {
		return autograd.NewConst(p.Rows(), p.Cols(), p.Data)
	}
	return autograd.NewParam(p.Rows(), p.Cols(), p.Data, grads[i].Data)
}

// loraAttachment is a LoRA at work.
type loraAttachment struct {
	plain
	sites    map[*model.Linear]*loraSite
	dropout  float32
	training bool
}

// loraSite is a pair of matrices at its linear map.
type loraSite struct {
	a, b  *autograd.Tensor // (rank, in), (out, rank)
	scale float32
}

// Linear adds scale·(x·Aᵀ)·Bᵀ to y.
func (at *loraAttachment) Linear(t *autograd.Tape, l *model.Linear, x, y *autograd.Tensor) *autograd.Tensor {
	site, ok := at.sites[l]
	if !ok || site.scale == 0 {
		return y
	}
	dropout := at.dropout
	if !at.training {
		dropout = 0
	}
	return t.LoRA(y, x, site.a, site.b, site.scale, dropout)
}

func (at *loraAttachment) train(on bool) { at.training = on }

func (at *loraAttachment) deltas() map[*model.Linear]delta {
	all := make(map[*model.Linear]delta, len(at.sites))
	for l, site := range at.sites {
		all[l] = site
	}
	return all
}

// addRows is dst += scale·B[r0:r1]·A.
func (s *loraSite) addRows(dst []float32, r0, r1 int) {
	rank, cols := s.a.Rows, s.a.Cols
	kernels.Gemm(false, false, r1-r0, cols, rank, s.scale, s.b.Data[r0*rank:r1*rank], rank, s.a.Data, cols, 1, dst, cols)
}
