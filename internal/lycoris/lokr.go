package lycoris

import (
	"fmt"
	"strings"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/peft/method"
)

// MethodLoKr is the peft_type of low-rank Kronecker products.
const MethodLoKr = "LOKR"

// lokrParts are the tensors that a module can have: w1 (a, c) and w2 (b, d), or each as a product of two of the rank.
var lokrParts = []string{"lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b"}

// NewLoKr makes a LoKr adapter that changes nothing yet: w1, or its first factor, is zero, the others are random.
func NewLoKr(b *attach.Base, opt method.LoKr) (*attach.Adapter, error) {
	chosen, where, err := attach.Choose(b, &opt.Placement, attach.AllLinear)
	if err != nil {
		return nil, err
	}
	s := &lokrSettings{lycorisSettings: newLycoris(), Factor: opt.Factor, DecomposeBoth: opt.DecomposeBoth}
	if s.Factor == 0 {
		s.Factor = -1
	}
	s.setSize(opt.Rank, opt.Alpha)
	s.Targeting = where
	if err := s.Check(); err != nil {
		return nil, fmt.Errorf("new adapter: %w", err)
	}
	shapes := map[string][]int{}
	for _, l := range chosen {
		for part, shape := range s.shapes(l.W.Rows, l.W.Cols) {
			shapes[attach.PartName(l.Module, part)] = shape
		}
	}
	c := attach.Config{Method: MethodLoKr, BaseModel: opt.BaseModel, Settings: s}
	return attach.NewAdapter(b, c, shapes, func(p *attach.Param) {
		if !strings.HasSuffix(p.Name, "lokr_w1") && !strings.HasSuffix(p.Name, "lokr_w1_a") {
			startKaiming(p, opt.Seed)
		}
	})
}

// lokrSettings are the fields of a LoKr's configuration.
type lokrSettings struct {
	lycorisSettings
	DecomposeBoth bool `json:"decompose_both"`
	Factor        int  `json:"decompose_factor"`
}

func (s *lokrSettings) Check() error {
	if s.Factor < -1 || s.Factor == 0 {
		return fmt.Errorf("decompose_factor %d, expected 1 or more, or -1", s.Factor)
	}
	return s.lycorisSettings.Check()
}

// shapes are the tensors over a weight (out, in).
func (s *lokrSettings) shapes(out, in int) map[string][]int {
	a, b := Split(out, s.Factor)
	c, d := Split(in, s.Factor)
	shapes := map[string][]int{}
	s.factorShapes(shapes, "lokr_w1", a, c, s.DecomposeBoth)
	s.factorShapes(shapes, "lokr_w2", b, d, true)
	return shapes
}

// factorShapes are those of a matrix (m, n), which is a product where that is smaller.
func (s *lokrSettings) factorShapes(shapes map[string][]int, part string, m, n int, decompose bool) {
	if decompose && 2*s.Rank < max(m, n) {
		shapes[part+"_a"], shapes[part+"_b"] = []int{m, s.Rank}, []int{s.Rank, n}
		return
	}
	shapes[part] = []int{m, n}
}

// Split writes a size as a product m·n with m ≤ n: of the given factor where it divides the size, or else of the pair
// nearest to the square root whose smaller number is no more than the factor (-1: no limit).
func Split(size, factor int) (m, n int) {
	if factor > 0 && size%factor == 0 {
		return factor, size / factor
	}
	m = 1
	for i := 1; i*i <= size && (factor < 0 || i <= factor); i++ {
		if size%i == 0 {
			m = i
		}
	}
	return m, size / m
}

func init() {
	attach.RegisterFamily(lokrFamily())
	attach.RegisterOptions(nil, NewLoKr)
}

// lokrFamily is LoKr.
func lokrFamily() *attach.Family {
	return &attach.Family{
		Name: "lokr", PeftType: MethodLoKr,
		Settings: func() attach.Settings { return &lokrSettings{lycorisSettings: newLycoris(), Factor: -1} },
		Allowed: map[string]func(v any) bool{
			"layers_pattern":       attach.IsLayersPattern,
			"use_effective_conv2d": attach.AnyValue, "rank_dropout_scale": attach.AnyValue,
		},
		Method: func(c *attach.Config, params []attach.Param) (attach.Method, error) { return newLoKr(c, params) },
	}
}

// lokr is the low-rank Kronecker product (Yeh et al. 2023, "LyCORIS"): ΔW = scale·w1⊗w2.
type lokr struct {
	attach.OnLinears
	settings *lokrSettings
}

func newLoKr(c *attach.Config, params []attach.Param) (*lokr, error) {
	o, err := attach.OnModules(params, "a LoKr", lokrParts, nil, nil)
	if err != nil {
		return nil, err
	}
	for _, mod := range o.Modules {
		for _, w := range []string{"lokr_w1", "lokr_w2"} {
			if err := checkFactor(&mod, params, w); err != nil {
				return nil, err
			}
		}
	}
	return &lokr{o, c.Settings.(*lokrSettings)}, nil
}

// checkFactor reports a factor that is missing, there twice, or of parts that do not fit each other.
func checkFactor(m *attach.LinearModule, params []attach.Param, w string) error {
	whole, isWhole := m.Parts[w]
	left, hasLeft := m.Parts[w+"_a"]
	right, hasRight := m.Parts[w+"_b"]
	switch {
	case isWhole == hasLeft || hasLeft != hasRight:
		return fmt.Errorf("adapter: module %s should have %s, or %s_a and %s_b", m.Name, w, w, w)
	case isWhole && len(params[whole].Shape) != 2:
		return fmt.Errorf("adapter: tensor %q has shape %v, expected a matrix", params[whole].Name, params[whole].Shape)
	case isWhole:
		return nil
	}
	a, b := params[left].Shape, params[right].Shape
	if len(a) != 2 || len(b) != 2 || a[1] != b[0] {
		return fmt.Errorf("adapter: module %s has %s_a %v and %s_b %v, which cannot be multiplied", m.Name, w, a, w, b)
	}
	return nil
}

func (m *lokr) Describe() string {
	return fmt.Sprintf("LoKr of rank %d on %d weights", m.settings.Rank, len(m.Modules))
}

// SuggestLR is a learning rate to start with: over a model of width 64 rates from 0.02 to 0.05 were measured to end
// within 0.04 of the best loss, and 0.1 1.2 above.
func (m *lokr) SuggestLR(b *attach.Base) float64 { return attach.TimesSuggested(b, 5) }

func (m *lokr) Bind(b *attach.Base, values, grads []attach.Param, strength float64) (attach.Attachment, error) {
	if grads != nil {
		if err := m.settings.trainable(); err != nil {
			return nil, err
		}
	}
	at := &attach.LinearSites{Sites: map[*model.Linear]attach.LinearSite{}}
	_, err := m.Linears(b, func(mod *attach.LinearModule, l *model.Linear) error {
		s := &lokrSite{scale: float32(m.settings.scaleOf(mod.Name) * strength), order: l.Rows}
		s.place = arch.Inverted(s.order)
		s.cols = attach.Indices(l.Cols)
		s.w1, s.w2 = factorOf(mod, values, grads, "lokr_w1"), factorOf(mod, values, grads, "lokr_w2")
		out, in := s.w1.rows()*s.w2.rows(), s.w1.cols()*s.w2.cols()
		if out != l.W.Rows || in != l.W.Cols {
			return fmt.Errorf("adapter: %s is made for a %d×%d weight", mod.Name, out, in)
		}
		at.Sites[l] = s
		return nil
	})
	return at, err
}

// factorOf is a factor of a module.
func factorOf(m *attach.LinearModule, values, grads []attach.Param, w string) lokrFactor {
	if _, whole := m.Parts[w]; whole {
		return lokrFactor{a: m.Leaf(values, grads, w)}
	}
	return lokrFactor{a: m.Leaf(values, grads, w+"_a"), b: m.Leaf(values, grads, w+"_b")}
}

// lokrFactor is a matrix, or a product a·b.
type lokrFactor struct{ a, b *autograd.Tensor }

func (f *lokrFactor) rows() int { return f.a.Rows }

func (f *lokrFactor) cols() int {
	if f.b != nil {
		return f.b.Cols
	}
	return f.a.Cols
}

// on is the matrix on the tape.
func (f *lokrFactor) on(t *autograd.Tape) *autograd.Tensor {
	if f.b != nil {
		return t.MatMul(f.a, f.b)
	}
	return f.a
}

// row is a row of the matrix.
func (f *lokrFactor) row(i int) []float32 {
	if f.b == nil {
		return f.a.Row(i)
	}
	row := make([]float32, f.b.Cols)
	lowrank.AddCombination(row, 1, f.a.Row(i), f.b.Data, f.b.Cols)
	return row
}

// lokrSite is the factors at their linear map.
type lokrSite struct {
	scale  float32
	w1, w2 lokrFactor
	order  []int32 // where the base has each row; nil: in its place
	place  []int32 // the inverse of order
	cols   []int   // where the base has each column; nil: in its place
}

func (s *lokrSite) Apply(t *autograd.Tape, x, y *autograd.Tensor) *autograd.Tensor {
	if s.cols != nil {
		x = t.Columns(x, s.cols)
	}
	return t.Kronecker(y, x, s.w1.on(t), s.w2.on(t), s.scale, s.order)
}

// Change is what the site does to the weight.
func (s *lokrSite) Change() attach.Change { return attach.Change{AddRows: s.addRows} }

// addRows is dst += scale·w1⊗w2 of some rows.
func (s *lokrSite) addRows(dst []float32, r0, r1 int) {
	b, d, cols := s.w2.rows(), s.w2.cols(), s.w1.cols()*s.w2.cols()
	for r := r0; r < r1; r++ {
		row := r
		if s.place != nil {
			row = int(s.place[r])
		}
		two, to := s.w2.row(row%b), dst[(r-r0)*cols:][:cols]
		for i, v := range s.w1.row(row / b) {
			if s.cols == nil {
				lowrank.FusedAxpy(float32(s.scale*v), two, to[i*d:][:d])
				continue
			}
			for j := range two {
				lowrank.FusedAxpy(float32(s.scale*v), two[j:j+1], to[s.cols[i*d+j]:][:1])
			}
		}
	}
}
