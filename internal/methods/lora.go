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
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/method"
)

// loraConfig is the configuration of the options, without the modules.
func loraConfig(opt *method.LoRA) (attach.Config, error) {
	c := attach.Config{
		Method: attach.MethodLoRA, BaseModel: opt.BaseModel, Rank: opt.Rank, Alpha: opt.Alpha,
		RSLoRA: opt.RSLoRA, DoRA: opt.DoRA, Dropout: opt.Dropout, RankPattern: attach.NonEmpty(opt.RankPattern),
		AlphaPattern: attach.NonEmpty(opt.AlphaPattern), Init: opt.Init, Bias: opt.Bias}
	if c.Rank == 0 {
		c.Rank = 8
	}
	if c.Alpha == 0 {
		c.Alpha = 2 * float64(c.Rank)
	}
	if c.Init == "" {
		c.Init = method.InitKaiming
	}
	if !slices.Contains(method.Inits, c.Init) {
		return c, fmt.Errorf("init %q is not known, expected %s", c.Init, strings.Join(method.Inits, ", "))
	}
	if c.DoRA && StartsApart(c.Init) {
		return c, fmt.Errorf("init %s cannot be combined with DoRA, whose magnitudes are those of the whole weight", c.Init)
	}
	return c, c.Check()
}

// NewLoRA makes a LoRA that changes nothing yet, except where InitLoftQ compensates the base's rounding. The start of
// each matrix depends on the seed and its name alone, not on which other modules are chosen.
func NewLoRA(b *attach.Base, opt method.LoRA) (*attach.Adapter, error) {
	c, err := loraConfig(&opt)
	if err == nil {
		err = attach.CheckRank(b, c.Rank)
	}
	if err != nil {
		return nil, fmt.Errorf("new adapter: %w", err)
	}
	chosen, err := attach.ChooseModules(b, opt.Targets, opt.Layers, attach.AllLinear)
	if err != nil {
		return nil, err
	}
	modules, joints, err := attach.JointModules(b, chosen, opt.Targets)
	if err == nil {
		err = checkJoints(&c, &opt, joints)
	}
	if err != nil {
		return nil, fmt.Errorf("new adapter: %w", err)
	}
	c.DescribeJoints(b, modules, joints)
	starts, err := loraStarts(b, &c, chosen, &opt)
	switch {
	case errors.Is(err, attach.ErrNoInit): // which is about another file
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("new adapter: %w", err)
	}
	shapes := loraShapes(b, &c, modules)
	jointShapes(&c, joints, shapes)
	if err := addExtras(&opt, b, &c, chosen, shapes, starts); err != nil {
		return nil, fmt.Errorf("new adapter: %w", err)
	}
	return attach.NewAdapter(b, c, shapes, func(p *attach.Param) {
		if start, ok := starts[p.Name]; ok {
			copy(p.Data, start)
			return
		}
		startLoRA(&c, p, opt.Seed)
	})
}

// checkJoints reports what there is not for modules that have rows of several maps.
func checkJoints(c *attach.Config, opt *method.LoRA, joints []*model.Joint) error {
	for _, j := range joints {
		switch {
		case StartsApart(c.Init) || c.Init == method.InitLoftQ:
			return fmt.Errorf("init %s is not for %s, which has the rows of %d linear maps", c.Init, j.Module, len(j.Parts))
		case j.Experts > 0 && c.DoRA:
			return fmt.Errorf("%s is the weights of all experts, for which there is no DoRA", j.Module)
		case j.Experts > 0 && opt.Dropout > 0:
			return fmt.Errorf("%s is the weights of all experts, for which PEFT has no dropout", j.Module)
		}
	}
	return nil
}

// jointShapes are the tensors on joint modules. Those of experts are one below the other in A (experts·rank, in), and
// in turn, column by column, in B (out, rank·experts).
func jointShapes(c *attach.Config, joints []*model.Joint, shapes map[string][]int) {
	for _, j := range joints {
		r := c.RankOf(j.Module) * max(j.Experts, 1)
		shapes[attach.LoRAName(j.Module, "A")] = []int{r, j.Cols}
		shapes[attach.LoRAName(j.Module, "B")] = []int{j.Rows, r}
		if c.DoRA {
			shapes[attach.PartName(j.Module, magnitudePart)] = []int{j.Rows}
		}
	}
}

// loraShapes are the tensors of a LoRA over the chosen modules that are no joint ones.
func loraShapes(b *attach.Base, c *attach.Config, chosen []string) map[string][]int {
	shapes := map[string][]int{}
	for _, l := range b.Model.Matrices() {
		if !slices.Contains(chosen, l.Module) {
			continue
		}
		r := c.RankOf(l.Module)
		if l.Role == arch.TokenEmbedding {
			shapes[attach.PartName(l.Module, embeddingA)] = []int{r, l.W.Rows}
			shapes[attach.PartName(l.Module, embeddingB)] = []int{l.W.Cols, r}
			continue
		}
		shapes[attach.LoRAName(l.Module, "A")] = []int{r, l.W.Cols}
		shapes[attach.LoRAName(l.Module, "B")] = []int{l.W.Rows, r}
		if c.DoRA {
			shapes[attach.PartName(l.Module, magnitudePart)] = []int{l.W.Rows}
		}
		if StartsApart(c.Init) {
			shapes[attach.PartName(l.Module, startA)] = []int{r, l.W.Cols}
			shapes[attach.PartName(l.Module, startB)] = []int{l.W.Rows, r}
		}
	}
	return shapes
}

// Names of a module's tensors after the module. The last two are in checkpoints only: what A and B started from, where
// that is not zero (see StartsApart).
const (
	partA         = "lora_A.weight"
	PartB         = "lora_B.weight"
	embeddingA    = attach.EmbeddingA
	embeddingB    = attach.EmbeddingB
	magnitudePart = "lora_magnitude_vector"
	startA        = "lora_A_start.weight"
	startB        = "lora_B_start.weight"
)

func init() {
	attach.RegisterFamily(loraFamily())
	attach.RegisterOptions(nil, NewLoRA)
}

// loraFamily is LoRA with its variants.
func loraFamily() *attach.Family {
	return &attach.Family{
		Name: "lora", PeftType: attach.MethodLoRA, Allowed: attach.LoRAFields,
		Method: func(c *attach.Config, params []attach.Param) (attach.Method, error) { return newLoRA(c, params) },
	}
}

// LoRA is low-rank adaptation (Hu et al. 2021): W += scale·B·A on chosen linear maps, the embedding table and the
// output head.
type LoRA struct {
	Config  *attach.Config
	Modules []LoRAModule
	Extras  loraExtras
}

// LoRAModule is the pair of matrices on one linear map, or on the embedding table, whose pair is the other way round:
// W += scale·(B·A)ᵀ.
type LoRAModule struct {
	Name      string // of the linear map, or of the module that has the rows of several
	A, B      int    // places of A (rank, in) and B (out, rank) in the adapter's tensors
	magnitude int    // (out) DoRA's, or -1
	a0, b0    int    // what A and B started from, or -1
	Rank      int
	In, Out   int
	Scale     float64
	embedding bool
	Experts   int // whose pairs A and B hold, as jointShapes says; 0: there is one
}

// newLoRA finds the pairs among the tensors. Errors: a tensor that is no LoRA matrix, one without its partner, shapes
// that do not fit each other or the configured rank.
func newLoRA(c *attach.Config, params []attach.Param) (*LoRA, error) {
	m := &LoRA{Config: c, Extras: newLoRAExtras()}
	parts := map[string]map[string]int{}
	var names []string
	for i := range params {
		module, part, ok := attach.ParsePart(params[i].Name,
			[]string{partA, PartB, embeddingA, embeddingB, magnitudePart, startA, startB})
		if !ok {
			if err := m.Extras.add(params, i); err != nil {
				return nil, err
			}
			continue
		}
		if parts[module] == nil {
			parts[module] = map[string]int{}
			names = append(names, module)
		}
		parts[module][part] = i
	}
	for _, name := range names {
		pair, err := newLoRAModule(c, name, params, parts[name])
		if err != nil {
			return nil, err
		}
		m.Modules = append(m.Modules, pair)
	}
	if len(m.Modules) == 0 {
		return nil, fmt.Errorf("adapter: no tensor of a LoRA in it")
	}
	return m, m.Extras.check(c, params)
}

func newLoRAModule(c *attach.Config, module string, params []attach.Param, parts map[string]int) (LoRAModule, error) {
	find := func(part string) int {
		if i, ok := parts[part]; ok {
			return i
		}
		return -1
	}
	p := LoRAModule{
		Name: module, A: find(partA), B: find(PartB), magnitude: find(magnitudePart),
		a0: find(startA), b0: find(startB), Scale: c.ScaleOf(module),
	}
	if _, p.embedding = parts[embeddingA]; p.embedding {
		p.A, p.B = find(embeddingA), find(embeddingB)
	}
	apart := StartsApart(c.Init)
	switch {
	case p.A < 0:
		return p, fmt.Errorf("adapter: module %s has lora_B but no lora_A", module)
	case p.B < 0:
		return p, fmt.Errorf("adapter: module %s has lora_A but no lora_B", module)
	case apart && !p.embedding && (p.a0 < 0 || p.b0 < 0):
		return p, fmt.Errorf("adapter: init_lora_weights is %q: it belongs to a base from whose weights its "+
			"start was taken away; save it as a plain LoRA (PEFT: path_initial_model_for_weight_conversion)", c.Init)
	case c.DoRA != (p.magnitude >= 0) && !p.embedding:
		return p, fmt.Errorf("adapter: use_dora is %v, but module %s has %d tensors", c.DoRA, module, len(parts))
	}
	for _, i := range []int{p.A, p.B} {
		if len(params[i].Shape) != 2 {
			return p, fmt.Errorf("adapter: tensor %q has shape %v, expected a matrix", params[i].Name, params[i].Shape)
		}
	}
	p.Rank, p.In, p.Out = params[p.A].Rows(), params[p.A].Cols(), params[p.B].Rows()
	want := c.RankOf(module)
	if c.IsParameter(module) && p.Rank%want == 0 && params[p.B].Cols() == p.Rank {
		p.Experts, p.Rank = p.Rank/want, want
	} else if p.Rank != want || params[p.B].Cols() != want {
		return p, fmt.Errorf("adapter: module %s has lora_A %v and lora_B %v, but the configuration says rank %d",
			module, params[p.A].Shape, params[p.B].Shape, want)
	}
	return p, p.checkRest(params)
}

// checkRest compares the shapes of the magnitudes and of the start with those of the pair, and freezes the start.
func (p *LoRAModule) checkRest(params []attach.Param) error {
	for _, part := range []struct {
		i     int
		shape []int
	}{{p.magnitude, []int{p.Out}}, {p.a0, []int{p.Rank, p.In}}, {p.b0, []int{p.Out, p.Rank}}} {
		if part.i >= 0 && !slices.Equal(params[part.i].Shape, part.shape) {
			return fmt.Errorf("adapter: tensor %q has shape %v, expected %v", params[part.i].Name, params[part.i].Shape,
				part.shape)
		}
	}
	for _, i := range []int{p.a0, p.b0} {
		if i >= 0 {
			params[i].Frozen = true
		}
	}
	return nil
}

func (m *LoRA) Traits() attach.Traits { return attach.Traits{Collapse: m.collapse} }

func (m *LoRA) Describe() string {
	name := "LoRA"
	switch {
	case m.Config.DoRA:
		name = "DoRA"
	case m.Config.RSLoRA:
		name = "rank-stabilised LoRA"
	}
	return fmt.Sprintf("%s of rank %d on %d weights%s", name, m.Config.Rank, len(m.Modules), m.Extras.Describe())
}

func (m *LoRA) SuggestLR(b *attach.Base) float64 { return attach.SuggestLR(b) }

// linears finds the weight of every pair in a base, or the weights of a joint module, and checks that the shapes fit.
func (m *LoRA) linears(b *attach.Base) ([][]*model.Linear, error) {
	byName, joints := b.LinearsByName(b.Model.Matrices()), map[string]*model.Joint{}
	for _, l := range b.Model.Matrices() {
		if l.Joint != nil {
			joints[b.Canonical(l.Joint.Module)] = l.Joint
		}
	}
	found := make([][]*model.Linear, len(m.Modules))
	for i, p := range m.Modules {
		name := b.Canonical(p.Name)
		if j := joints[name]; j != nil {
			if err := m.Config.CheckJoint(b, j, p.In, p.Out, p.Experts); err != nil {
				return nil, err
			}
			found[i] = j.Parts
			continue
		}
		l := byName[name]
		if l == nil || p.Experts > 0 || p.embedding != (l.Role == arch.TokenEmbedding) {
			return nil, errkind.Errorf(attach.ErrWrongBase, "adapter: %s has no linear map %q (it has %d layers%s): "+
				"an adapter of another base?",
				b.Path, p.Name, len(b.Model.Layers), attach.TiedNote(b))
		}
		rows, cols := l.W.Rows, l.W.Cols
		if p.embedding {
			rows, cols = cols, rows
		}
		if rows != p.Out || cols != p.In {
			return nil, errkind.Errorf(attach.ErrWrongBase, "adapter: %s is made for a %d×%d weight, but in %s it "+
				"is %d×%d: an adapter of another base?",
				p.Name, p.Out, p.In, b.Path, rows, cols)
		}
		found[i] = []*model.Linear{l}
	}
	return found, nil
}

// LinearPair is the pair of a linear map.
type LinearPair struct {
	Linear *model.Linear
	lowrank.LowRank
}

// Pairs are the pairs of all linear maps of a base in the order of Hugging Face files or, of parts of joint modules, of
// the base.
func (m *LoRA) Pairs(b *attach.Base, params []attach.Param) ([]LinearPair, error) {
	linears, err := m.linears(b)
	if err != nil {
		return nil, err
	}
	var all []LinearPair
	for i := range m.Modules {
		p := &m.Modules[i]
		pair := lowrank.LowRank{Module: p.Name, A: params[p.A].Data, B: params[p.B].Data, Rank: p.Rank, In: p.In, Out: p.Out,
			Scale: p.Scale}
		j := linears[i][0].Joint
		if j == nil || !p.isOf(b, j) {
			all = append(all, LinearPair{linears[i][0], pair})
			continue
		}
		moved := attach.Views(params[p.B:p.B+1], make([]float32, len(pair.B)))
		attach.ToBase(moved, params[p.B:p.B+1], []attach.Permutation{{Order: model.Order{Rows: j.Order}, Experts: p.Experts}})
		for k, l := range linears[i] {
			one, first := pair, j.First(k)
			one.Module, one.Out = l.Module, l.W.Rows
			one.A = pair.A[l.Expert*p.Rank*p.In:][:p.Rank*p.In]
			one.B = moved[0].Data[(l.Expert*p.Out+first)*p.Rank:][:l.W.Rows*p.Rank]
			all = append(all, LinearPair{l, one})
		}
	}
	return all, nil
}

// isOf reports whether the pair is that of a joint module.
func (p *LoRAModule) isOf(b *attach.Base, j *model.Joint) bool {
	return b.Canonical(p.Name) == b.Canonical(j.Module)
}

// Permuted lists the tensors whose rows or columns are those of a weight that the base has in another order.
func (m *LoRA) Permuted(b *attach.Base) ([]attach.Permutation, error) {
	linears, err := m.linears(b)
	if err != nil {
		return nil, err
	}
	perms := m.Extras.permuted(b)
	for i := range m.Modules {
		p, l := &m.Modules[i], linears[i][0]
		if j := l.Joint; j != nil && p.isOf(b, j) {
			if p.Experts > 0 || j.Order != nil {
				perms = append(perms, attach.Permutation{Param: p.B, Order: model.Order{Rows: j.Order}, Experts: p.Experts})
			}
			if p.magnitude >= 0 && j.Order != nil {
				perms = append(perms, attach.Permutation{Param: p.magnitude, Order: model.Order{Rows: j.Order}})
			}
			continue
		}
		there := func(at ...int) []int { return slices.DeleteFunc(at, func(at int) bool { return at < 0 }) }
		perms = append(perms, attach.ByRow(l, there(p.B, p.b0, p.magnitude)...)...)
		perms = append(perms, attach.ByCol(l, there(p.A, p.a0)...)...)
	}
	return perms, nil
}

func (m *LoRA) Bind(b *attach.Base, values, grads []attach.Param, strength float64) (attach.Attachment, error) {
	linears, err := m.linears(b)
	if err != nil {
		return nil, err
	}
	at := &loraAttachment{sites: make(map[*model.Linear]*loraSite, len(linears)), dropout: float32(m.Config.Dropout)}
	for i := range m.Modules {
		for k, l := range linears[i] {
			first := 0
			if j := l.Joint; j != nil && m.Modules[i].isOf(b, j) {
				first = j.First(k)
			}
			s := newLoRASite(l, &m.Modules[i], first, values, grads, strength)
			s.halves = m.Config.Quantized != nil && m.Config.Quantized.Apart
			at.add(l, s)
		}
	}
	at.extras, err = m.Extras.bind(b, values, grads, float32(strength))
	return at, err
}

// loraAttachment is a LoRA bound to a base.
type loraAttachment struct {
	attach.Plain
	sites       map[*model.Linear]*loraSite
	embed, head *loraSite // those of the embedding table and the output head, which are sites too
	extras      *loraExtrasAttachment
	dropout     float32
	training    bool
}

// loraSite is a pair of matrices at its linear map.
type loraSite struct {
	linear    *model.Linear
	a, b      *autograd.Tensor // (rank, in), (out, rank)
	a0, b0    *autograd.Tensor // what they started from, or nil
	dora      *doraSite        // nil without magnitudes
	scale     float32          // of B·A
	strength  float32          // of the whole effect
	embedding bool             // the pair is that of an embedding table
	halves    bool             // the second half of the pair is what it started from, less (see attach.Quantized.Apart)
}

// newLoRASite binds a pair to a linear map, whose rows are those from first on of the module's.
func newLoRASite(l *model.Linear, p *LoRAModule, first int, values, grads []attach.Param, strength float64) *loraSite {
	s := &loraSite{
		linear: l, scale: float32(p.Scale), strength: float32(strength), embedding: p.embedding,
	}
	if s.embedding {
		s.a, s.b = attach.Leaf(values, grads, p.A), attach.Leaf(values, grads, p.B)
		return s
	}
	expert := 0
	if p.Experts > 0 {
		expert = l.Expert
	}
	s.a = attach.Slice(values, grads, p.A, expert*p.Rank*p.In, p.Rank, p.In)
	s.b = attach.Slice(values, grads, p.B, (expert*p.Out+first)*p.Rank, l.W.Rows, p.Rank)
	if p.a0 >= 0 {
		s.a0, s.b0 = attach.Leaf(values, nil, p.a0), attach.Leaf(values, nil, p.b0)
	}
	if p.magnitude >= 0 {
		s.dora = newDoRASite(l, attach.Slice(values, grads, p.magnitude, first, 1, l.W.Rows))
	}
	return s
}

func (at *loraAttachment) add(l *model.Linear, s *loraSite) {
	at.sites[l] = s
	switch l.Role {
	case arch.TokenEmbedding:
		at.embed = s
	case arch.OutputHead:
		at.head = s
	}
}

// Effect is the changes of the pairs and of what is trained beside them.
func (at *loraAttachment) Effect() attach.Effect {
	return attach.Effect{
		Changes: at.changes, Vectors: at.extras.vectors, Unmergeable: at.unmergeable(),
		Train:   func(on bool) { at.training = on },
		Dropout: at.dropout > 0, Stepped: at.stepped, ReadsProduct: at.readsProduct,
	}
}

// stepped updates what depends on the values: DoRA's norms.
func (at *loraAttachment) stepped(int, int) {
	for _, s := range at.sites {
		if s.dora != nil {
			s.dora.update(s)
		}
	}
}

// Beside is the pair of a linear map where nothing else changes it.
func (at *loraAttachment) Beside(l *model.Linear) autograd.LowRank {
	site, ok := at.sites[l]
	if !ok || site.strength == 0 || site.dora != nil || at.training && at.dropout > 0 {
		return autograd.LowRank{}
	}
	return autograd.LowRank{A: site.a, B: site.b, Scale: site.scale * site.strength}
}

// Linear adds scale·(x·Aᵀ)·Bᵀ to y.
func (at *loraAttachment) Linear(t *autograd.Tape, l *model.Linear, x, y *autograd.Tensor) *autograd.Tensor {
	if site, ok := at.sites[l]; ok && site.strength != 0 {
		dropout := at.dropout
		if !at.training {
			dropout = 0
		}
		y = site.apply(t, x, y, dropout)
	}
	return at.extras.Linear(t, l, x, y)
}

func (s *loraSite) apply(t *autograd.Tape, x, y *autograd.Tensor, dropout float32) *autograd.Tensor {
	if s.dora != nil {
		return s.dora.apply(t, s, x, y, dropout)
	}
	y = t.LoRA(y, x, s.a, s.b, s.scale*s.strength, dropout)
	if s.a0 != nil {
		y = t.LoRA(y, x, s.a0, s.b0, -s.scale*s.strength, 0)
	}
	return y
}

// Embedding changes the rows of the embedding table.
func (at *loraAttachment) Embedding(t *autograd.Tape, ids []int32, x *autograd.Tensor) *autograd.Tensor {
	x = at.extras.Embedding(t, ids, x)
	if at.embed != nil && at.embed.strength != 0 {
		x = t.EmbeddingLoRA(x, ids, at.embed.a, at.embed.b, at.embed.scale*at.embed.strength)
	}
	return x
}

// Head is the pair of the output head, and what is trained beside the pairs.
func (at *loraAttachment) Head(t *autograd.Tape, x *autograd.Tensor, head model.Head) model.Head {
	head = at.extras.Head(t, x, head)
	s := at.head
	if s == nil || s.strength == 0 {
		return head
	}
	in := x
	if at.training && at.dropout > 0 {
		in = t.Dropout(x, at.dropout)
	}
	u, b := t.Scaled(t.Dense(in, s.a, nil), s.scale*s.strength), s.b
	if s.a0 != nil {
		u, b = t.Beside(u, t.Scaled(t.Dense(x, s.a0, nil), -s.scale*s.strength)), t.Beside(b, s.b0)
	}
	head.Add(t, u, b)
	return head
}

// Begin implements model.Hooks.
func (at *loraAttachment) Begin(t *autograd.Tape) { at.extras.norms.Begin(t) }

// Norm is what is trained beside the pairs.
func (at *loraAttachment) Norm(n *model.Norm, w *autograd.Tensor) *autograd.Tensor {
	return at.extras.Norm(n, w)
}

// readsProduct reports whether there are magnitudes.
func (at *loraAttachment) readsProduct(l *model.Linear) bool {
	s := at.sites[l]
	return s != nil && s.dora != nil
}

func (at *loraAttachment) changes() map[*model.Linear]attach.Change {
	all := at.extras.changes()
	for l, site := range at.sites {
		if _, whole := all[l]; !whole {
			all[l] = site.change()
		}
	}
	return all
}

// change is the pair as a change of its weight.
func (s *loraSite) change() attach.Change {
	c := attach.Change{AddRows: s.addRows}
	if s.dora == nil && s.a0 == nil && !s.embedding {
		c.Factors = s.factors
	}
	return c
}

// addRows is dst += strength·scale·B[r0:r1]·A, or the variant's change.
func (s *loraSite) addRows(dst []float32, r0, r1 int) {
	switch scale := s.scale * s.strength; {
	case s.dora != nil:
		s.dora.addRows(s, dst, r0, r1)
	case s.embedding: // dst += scale·A[:, r0:r1]ᵀ·Bᵀ
		cols := s.b.Rows
		kernels.Gemm(true, true, r1-r0, cols, s.a.Rows, scale, s.a.Data[r0:], s.a.Cols, s.b.Data, s.b.Cols, 1, dst, cols)
	case s.a0 != nil || s.halves:
		s.addApart(dst, r0, r1)
	default:
		addProduct(dst, s.a, s.b, scale, r0, r1)
	}
}

// factors are those of a plain pair.
func (s *loraSite) factors() (a, b []float32, rank int) {
	b = slices.Clone(s.b.Data)
	kernels.Scale(s.scale*s.strength, b)
	return s.a.Data, b, s.a.Rows
}

// addApart adds the pair less what it started from, each summed separately: where they are equal nothing is added.
func (s *loraSite) addApart(dst []float32, r0, r1 int) {
	cols, scale := s.a.Cols, s.scale*s.strength
	now, start := make([]float32, cols), make([]float32, cols)
	half := s.a.Rows / 2
	for r := r0; r < r1; r++ {
		clear(now)
		clear(start)
		if s.halves {
			lowrank.AddCombination(now, scale, s.b.Row(r)[:half], s.a.Data, cols)
			lowrank.AddCombination(start, scale, s.b.Row(r)[half:], s.a.Data[half*cols:], cols)
		} else {
			lowrank.AddCombination(now, scale, s.b.Row(r), s.a.Data, cols)
			lowrank.AddCombination(start, -scale, s.b0.Row(r), s.a0.Data, cols)
		}
		kernels.Add(now, start)
		kernels.Add(dst[(r-r0)*cols:][:cols], now)
	}
}

// addProduct is dst += scale·B[r0:r1]·A.
func addProduct(dst []float32, a, b *autograd.Tensor, scale float32, r0, r1 int) {
	for r := r0; r < r1; r++ {
		lowrank.AddCombination(dst[(r-r0)*a.Cols:][:a.Cols], scale, b.Row(r), a.Data, a.Cols)
	}
}
