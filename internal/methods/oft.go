package methods

import (
	"errors"
	"fmt"
	"math"

	"github.com/peftconv/peftconv/internal/arch"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/lowrank"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/kernels"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/quant"
)

// MethodOFT is the peft_type of orthogonal fine-tuning.
const MethodOFT = "OFT"

// oftPart is the elements above the diagonal of the skew-symmetric blocks of a module, (blocks, n·(n-1)/2).
const oftPart = "oft_R.weight"

// OFTSettings are the fields of an OFT's configuration.
type OFTSettings struct {
	attach.Targeting
	Blocks      int     `json:"r"` // of each weight; 0: as many as the block size gives
	BlockSize   int     `json:"oft_block_size"`
	Dropout     float64 `json:"module_dropout"` // PEFT has the field, but does not drop anything
	Bias        string  `json:"bias"`
	Init        bool    `json:"init_weights"`
	Constrained bool    `json:"coft"`
	Eps         float64 `json:"eps"`
	Share       bool    `json:"block_share"`
	Series      bool    `json:"use_cayley_neumann"`
	Terms       int     `json:"num_cayley_neumann_terms"`
}

// newOFTSettings are PEFT's defaults.
func newOFTSettings() *OFTSettings {
	return &OFTSettings{BlockSize: 32, Bias: "none", Init: true, Eps: 6e-5, Series: true, Terms: 5}
}

func (s *OFTSettings) Check() error {
	switch {
	case s.Blocks < 0 || s.BlockSize < 0 || (s.Blocks == 0) == (s.BlockSize == 0):
		return fmt.Errorf("r %d and oft_block_size %d, expected one of them to be 1 or more and the other 0", s.Blocks,
			s.BlockSize)
	case s.Blocks > attach.MaxRank || s.BlockSize > attach.MaxRank:
		return fmt.Errorf("r %d and oft_block_size %d, expected at most %d", s.Blocks, s.BlockSize, attach.MaxRank)
	case s.Bias != "none":
		return errkind.Errorf(errors.ErrUnsupported, "not supported: bias = %q", s.Bias)
	case s.Series && (s.Terms < 1 || s.Terms > 100):
		return fmt.Errorf("num_cayley_neumann_terms %d, expected 1 to 100", s.Terms)
	case s.Constrained && !(s.Eps > 0):
		return fmt.Errorf("eps %v, expected more than 0", s.Eps)
	}
	return s.CheckModules()
}

// Coefficients are the coefficients that PEFT gives the powers of the skew-symmetric matrix; nil is Cayley's transform
// itself.
func (s *OFTSettings) Coefficients() []float32 {
	switch {
	case !s.Series:
		return nil
	case s.Terms == 1:
		return []float32{1}
	case s.Terms == 2:
		return []float32{1, 2}
	}
	c := make([]float32, max(4, s.Terms)) // 3 terms have the last power of 4
	for i := range c {
		c[i] = 2
	}
	c[0], c[len(c)-1] = 1, 1
	return c
}

// Split is the number and the size of the blocks of a weight with that many inputs.
func (s *OFTSettings) Split(in int) (count, size int) {
	if s.BlockSize != 0 {
		size = nearestDivisor(in, s.BlockSize)
		return in / size, size
	}
	count = nearestDivisor(in, s.Blocks)
	return count, in / count
}

// nearestDivisor is the divisor of n that is nearest to want, the smaller one of two.
func nearestDivisor(n, want int) int {
	if want >= n {
		return n
	}
	low, high := want, want
	for n%low != 0 {
		low--
	}
	for n%high != 0 {
		high++
	}
	if want-low <= high-want {
		return low
	}
	return high
}

// shape is that of the tensor of a weight with that many inputs.
func (s *OFTSettings) shape(in int) []int {
	count, size := s.Split(in)
	if s.Share {
		count = 1
	}
	return []int{count, size * (size - 1) / 2}
}

// NewOFT makes an OFT adapter that changes nothing yet: all angles are 0.
func NewOFT(b *attach.Base, opt method.OFT) (*attach.Adapter, error) {
	chosen, where, err := attach.Choose(b, &opt.Placement, attach.AllLinear)
	if err != nil {
		return nil, err
	}
	s := newOFTSettings()
	s.Targeting, s.Series, s.Share, s.Constrained = where, !opt.Exact, opt.Share, opt.Constrained
	if opt.BlockSize != 0 {
		s.BlockSize = opt.BlockSize
	}
	if opt.Terms != 0 {
		s.Terms = opt.Terms
	}
	if opt.Eps != 0 {
		s.Eps = opt.Eps
	}
	if err := s.Check(); err != nil {
		return nil, fmt.Errorf("new adapter: %w", err)
	}
	shapes := map[string][]int{}
	for _, l := range chosen {
		shapes[attach.PartName(l.Module, oftPart)] = s.shape(l.W.Cols)
	}
	c := attach.Config{Method: MethodOFT, BaseModel: opt.BaseModel, Settings: s}
	return attach.NewAdapter(b, c, shapes, func(*attach.Param) {})
}

func init() {
	attach.RegisterFamily(oftFamily())
	attach.RegisterOptions(nil, NewOFT)
}

// oftFamily is OFT in the form that PEFT has had since 0.14: a rotation of the input, in blocks.
func oftFamily() *attach.Family {
	return &attach.Family{
		Name: "oft", PeftType: MethodOFT,
		Settings: func() attach.Settings { return newOFTSettings() },
		Allowed:  map[string]func(v any) bool{"layers_pattern": attach.IsLayersPattern},
		Method:   func(c *attach.Config, params []attach.Param) (attach.Method, error) { return newOFT(c, params) },
	}
}

// oft is orthogonal fine-tuning (Qiu et al. 2023; Liu et al. 2025, "Orthogonal Finetuning Made Scalable"): W·Rᵀ, where
// R is a block-diagonal rotation.
type oft struct {
	attach.OnLinears
	settings *OFTSettings
}

func newOFT(c *attach.Config, params []attach.Param) (*oft, error) {
	o, err := attach.OnModules(params, "an OFT", []string{oftPart}, nil, nil)
	return &oft{o, c.Settings.(*OFTSettings)}, err
}

func (m *oft) Describe() string {
	if m.settings.BlockSize == 0 {
		return fmt.Sprintf("OFT with %d blocks on each of %d weights", m.settings.Blocks, len(m.Modules))
	}
	return fmt.Sprintf("OFT in blocks of %d on %d weights", m.settings.BlockSize, len(m.Modules))
}

// SuggestLR is a learning rate to start with: over a model of width 64 rates from 1e-3 to 3e-3 were measured to end
// within 0.04 of the best loss, and 1e-2 0.13 above.
func (m *oft) SuggestLR(b *attach.Base) float64 { return attach.TimesSuggested(b, 0.4) }

func (m *oft) Bind(b *attach.Base, values, grads []attach.Param, strength float64) (attach.Attachment, error) {
	linears, err := m.Linears(b, func(mod *attach.LinearModule, l *model.Linear) error {
		return mod.Wants(values, oftPart, m.settings.shape(l.W.Cols)...)
	})
	if err != nil {
		return nil, err
	}
	at := &oftAttachment{settings: m.settings, sites: map[*model.Linear]*oftSite{}}
	for i, l := range linears {
		_, size := m.settings.Split(l.W.Cols)
		site := &oftSite{linear: l, q: m.Modules[i].Leaf(values, grads, oftPart), size: size, strength: float32(strength)}
		site.series = m.settings.Coefficients()
		site.cols, site.back = attach.Indices(l.Cols), attach.Indices(arch.Inverted(l.Cols))
		at.sites[l] = site
		at.order = append(at.order, site)
	}
	at.stepped(0, 0)
	return at, nil
}

// oftAttachment is an OFT bound to a base.
type oftAttachment struct {
	attach.Plain
	settings *OFTSettings
	sites    map[*model.Linear]*oftSite
	order    []*oftSite
}

// oftSite is the rotation before one weight.
type oftSite struct {
	linear   *model.Linear
	q        *autograd.Tensor
	size     int
	strength float32
	series   []float32

	cols, back []int // where the base has each column, and the inverse; nil: in its place
}

// Input rotates the input.
func (at *oftAttachment) Input(t *autograd.Tape, l *model.Linear, _ *quant.Matrix,
	x *autograd.Tensor) *autograd.Tensor {
	if s := at.sites[l]; s != nil {
		if s.cols != nil {
			x = t.Columns(x, s.cols)
		}
		x = t.Rotate(x, t.Cayley(s.q, s.size, s.series), s.size, s.strength)
		if s.cols != nil {
			x = t.Columns(x, s.back)
		}
		return x
	}
	return x
}

// stepped keeps constrained blocks within their limit.
func (at *oftAttachment) stepped(int, int) {
	if !at.settings.Constrained {
		return
	}
	for _, s := range at.order {
		limit := at.settings.Eps / math.Sqrt(float64(s.q.Rows))
		for i := range s.q.Rows {
			if norm := math.Sqrt(2 * kernels.SumSquares(s.q.Row(i))); norm > limit { // of the whole matrix
				kernels.Scale(float32(limit/norm), s.q.Row(i))
			}
		}
	}
}

// Effect is the changes of the weights.
func (at *oftAttachment) Effect() attach.Effect {
	return attach.Effect{Changes: at.changes, Stepped: at.stepped}
}

func (at *oftAttachment) changes() map[*model.Linear]attach.Change {
	all := map[*model.Linear]attach.Change{}
	for _, s := range at.order {
		w := &lowrank.Rotated{
			W: &s.linear.W, Cols: s.linear.Cols, Turned: s.turned(), Size: s.size, Strength: s.strength,
		}
		all[s.linear] = attach.Change{AddRows: w.AddRows, Multiply: w.Multiply, Phase: attach.InputPhase}
	}
	return all
}

// turned are the transposed rotations of all blocks, or of the one that they share, the same on every processor.
func (s *oftSite) turned() [][]float32 {
	all := make([][]float32, s.q.Rows)
	kernels.Parallel(len(all), func(i int) {
		q := make([]float32, s.size*s.size)
		k := 0
		for r := range s.size {
			for c := r + 1; c < s.size; c++ { // the transposed of a rotation is that of the opposite angles
				v := s.q.Row(i)[k]
				q[r*s.size+c], q[c*s.size+r] = -v, v
				k++
			}
		}
		if s.series == nil {
			all[i] = lowrank.Cayley(q, s.size)
		} else {
			all[i] = lowrank.PowerSeries(s.series, q, s.size)
		}
	})
	return all
}
