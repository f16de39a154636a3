package methods

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/internal/requant"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/quant"
)

// MethodQAT is the peft_type of adapters that requantize the blocks of a quantized base. PEFT has no such
// method: the files are this program's.
const MethodQAT = "PEFTCONV_QAT"

// QATSettings are the fields of a QAT adapter's configuration.
type QATSettings struct {
	Rank     int              `json:"r"`
	Alpha    float64          `json:"lora_alpha"`
	Channels string           `json:"qat_channels"`
	Dither   string           `json:"qat_dither"`
	Seed     uint64           `json:"qat_seed"` // of the dither
	Targets  attach.Modules   `json:"target_modules"`
	Layers   attach.LayerList `json:"layers_to_transform"`
	Master   string           `json:"qat_latent_sha256,omitempty"` // see attach.Quantized.Master
}

func (s *QATSettings) Check() error {
	switch {
	case s.Rank < 1 || s.Rank > attach.MaxRank:
		return fmt.Errorf("rank %d, expected 1 to %d", s.Rank, attach.MaxRank)
	case math.IsNaN(s.Alpha) || math.IsInf(s.Alpha, 0):
		return fmt.Errorf("alpha %v, expected a finite number", s.Alpha)
	}
	_, err := attach.ParseChannels(s.Channels)
	return errors.Join(attach.CheckDither(s.Dither), err)
}

// autoChannels are the channels that keep most of a LoRA's gain in weights of a type, as measured
// (docs/quantization-aware.md).
func autoChannels(t gguf.Type) []string {
	switch {
	case t == gguf.F32 || t == gguf.F16 || t == gguf.BF16 || !quant.HasScales(t):
		return []string{method.ChannelCode} // of floats, this is a LoRA
	case !quant.HasCodes(t):
		return []string{method.ChannelScale}
	}
	return []string{method.ChannelScale, method.ChannelCode}
}

// NewQAT makes an adapter that requantizes the blocks of a quantized base, and changes nothing yet. Merging it writes
// exactly the weights that training used. A weight whose type has none of the channels is an error.
func NewQAT(b *attach.Base, opt method.QAT) (*attach.Adapter, error) {
	s := &QATSettings{Rank: opt.Rank, Alpha: opt.Alpha, Channels: opt.Channels, Dither: opt.Dither, Seed: opt.Seed}
	if s.Rank == 0 {
		s.Rank = 8
	}
	if s.Alpha == 0 {
		s.Alpha = 2 * float64(s.Rank)
	}
	if s.Channels == "" {
		s.Channels = method.ChannelAuto
	}
	if s.Dither == "" {
		s.Dither = method.DitherUniform
	}
	if err := s.Check(); err != nil {
		return nil, fmt.Errorf("new adapter: %w", err)
	}
	chosen, err := attach.ChooseLinears(b, opt.Targets, opt.Layers, attach.AllLinear)
	if err != nil {
		return nil, err
	}
	s.Targets, s.Layers = attach.DescribeTargets(b, chosen)
	shapes, err := qatShapes(b, s, chosen)
	if err != nil {
		return nil, err
	}
	if opt.Master {
		if s.Master, err = b.IdentifyMaster(withCodes(b, shapes)); err != nil {
			return nil, err
		}
	}
	c := attach.Config{Method: MethodQAT, BaseModel: opt.BaseModel, Settings: s}
	a, err := attach.NewAdapter(b, c, shapes, func(p *attach.Param) { startQAT(p, opt.Seed, b.Model.Spec.Width) })
	if err == nil && opt.Master {
		a.Origin.Master = attach.Absolute(b.Master.Path)
	}
	return a, err
}

// withCodes are the linear maps whose codes tensors of these shapes change.
func withCodes(b *attach.Base, shapes map[string][]int) (linears []*model.Linear) {
	for _, l := range b.Model.Linears() {
		if shapes[QATName(l.Module, method.ChannelCode, "A")] != nil {
			linears = append(linears, l)
		}
	}
	return linears
}

// channelsFor are the channels of the settings that a type has.
func (s *QATSettings) channelsFor(t gguf.Type) []string {
	channels, _ := attach.ParseChannels(s.Channels)
	if channels == nil {
		channels = autoChannels(t)
	}
	return slices.DeleteFunc(channels, func(c string) bool { return !attach.ChannelFits(c, t) })
}

// qatShapes are the tensors of an adapter over the chosen modules.
func qatShapes(b *attach.Base, s *QATSettings, chosen []string) (map[string][]int, error) {
	shapes := map[string][]int{}
	in := map[string]bool{}
	for _, module := range chosen {
		in[module] = true
	}
	for _, l := range b.Model.Linears() {
		if !in[l.Module] {
			continue
		}
		channels := s.channelsFor(l.W.Type)
		for _, c := range channels {
			if c == method.ChannelRow {
				shapes[QATName(l.Module, c, "")] = []int{l.W.Rows, 1}
				continue
			}
			in := l.W.Cols
			if c != method.ChannelCode {
				in = l.W.Groups()
			}
			shapes[QATName(l.Module, c, "A")] = []int{s.Rank, in}
			shapes[QATName(l.Module, c, "B")] = []int{l.W.Rows, s.Rank}
		}
		if len(channels) == 0 {
			return nil, fmt.Errorf("tensor %s is %v, which has nothing that the channel %s changes: choose another channel (%s)",
				l.Place(), l.W.Type, s.Channels, strings.Join(attach.ChannelsOf(l.W.Type), ", "))
		}
	}
	return shapes, nil
}

// QATName is the name of a tensor: of A or B of a channel, or of the factors of rows.
func QATName(module, channel, which string) string {
	if which != "" {
		which = "_" + which
	}
	return attach.ParamPrefix + module + ".qat_" + channel + which + ".weight"
}

// parseQATName takes a tensor's name apart.
func parseQATName(name string) (module, channel, which string, ok bool) {
	name, hasPrefix := strings.CutPrefix(name, attach.ParamPrefix)
	name, hasSuffix := strings.CutSuffix(name, ".weight")
	at := strings.LastIndex(name, ".qat_")
	if !hasPrefix || !hasSuffix || at < 0 {
		return "", "", "", false
	}
	module, channel = name[:at], name[at+len(".qat_"):]
	channel, which, _ = strings.Cut(channel, "_")
	if (channel == method.ChannelRow) != (which == "") {
		return "", "", "", false
	}
	_, err := attach.ParseChannels(channel)
	return module, channel, which, err == nil && channel != method.ChannelAuto
}

// groupStart is the bound of the A matrices of ChannelScale over a base of a width. It grows with the width as
// SuggestLR falls, because the effect of a factor on an output does not depend on the width.
func groupStart(width int) float64 { return 0.354 * math.Pow(float64(width)/256, 0.78) }

// startQAT fills an A matrix.
func startQAT(p *attach.Param, seed uint64, width int) {
	_, channel, which, _ := parseQATName(p.Name)
	if which != "A" {
		return
	}
	bound := 1 / math.Sqrt(float64(p.Cols()))
	if channel == method.ChannelScale {
		bound = groupStart(width)
	}
	prng.NewRandom(seed, p.Name).Uniform(p.Data, bound)
}

func init() {
	attach.RegisterFamily(qatFamily())
	attach.RegisterOptions(nil, NewQAT)
}

// qatFamily is quantization-aware training of plain pairs.
func qatFamily() *attach.Family {
	return &attach.Family{
		Name: "qat", PeftType: MethodQAT, Own: true, Blocks: true,
		Settings: func() attach.Settings {
			return &QATSettings{Rank: 8, Alpha: 16, Channels: method.ChannelAuto, Dither: method.DitherUniform}
		},
		Method: func(c *attach.Config, params []attach.Param) (attach.Method, error) { return newQAT(c, params) },
	}
}

// qat is quantization-aware training of plain pairs: the forward pass multiplies with blocks of the base's own types,
// of which scales, offsets or codes are changed, and merging writes these blocks. The scale channel is related to PEQA
// (Kim et al. 2023), the offsets to QA-LoRA (Xu et al. 2023), the codes to L4Q (Jeon et al. 2024).
type qat struct {
	settings *QATSettings
	modules  []*qatModule
	master   string // identity of the master weights that codes are rounded from
}

// qatModule is the tensors on one linear map, by their places in the adapter's tensors; -1 is none.
type qatModule struct {
	name   string
	stored requant.Packed    // blocks that the tensors change further; without tensors, those of the adapter
	low    map[string][2]int // A (rank, in or groups), B (out, rank) of a channel
	row    int               // (out, 1)
	out    int
}

// newQAT sorts the tensors by modules and checks that they fit each other.
func newQAT(c *attach.Config, params []attach.Param) (*qat, error) {
	s := c.Settings.(*QATSettings)
	m := &qat{settings: s}
	byName := map[string]*qatModule{}
	for i := range params {
		p := &params[i]
		name, channel, which, ok := parseQATName(p.Name)
		switch {
		case !ok:
			return nil, fmt.Errorf("adapter: tensor %q is not one of a quantization-aware adapter", p.Name)
		case len(p.Shape) != 2:
			return nil, fmt.Errorf("adapter: tensor %q has shape %v, expected a matrix", p.Name, p.Shape)
		}
		mod := byName[name]
		if mod == nil {
			mod = &qatModule{name: name, low: map[string][2]int{}, row: -1, out: -1}
			byName[name] = mod
			m.modules = append(m.modules, mod)
		}
		p.Rate = ChannelRates[channel]
		if err := mod.take(params, i, channel, which); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Blocks)) {
		if byName[name] == nil {
			byName[name] = &qatModule{name: name, row: -1, out: -1}
			m.modules = append(m.modules, byName[name])
		}
		byName[name].stored = c.Blocks[name]
	}
	if len(m.modules) == 0 {
		return nil, fmt.Errorf("adapter: no tensor in it")
	}
	if slices.ContainsFunc(m.modules, func(mod *qatModule) bool { return !mod.fixed() }) {
		m.master = s.Master
	}
	return m, nil
}

// fixed reports whether there are no tensors, but only blocks.
func (mod *qatModule) fixed() bool { return mod.out < 0 }

// ChannelRates multiply the learning rate, by channel: with them the rate that suits a LoRA suits each. They are
// measured (docs/quantization-aware.md).
var ChannelRates = map[string]float64{method.ChannelScale: 6, method.ChannelOffset: 4, method.ChannelRow: 8,
	method.ChannelCode: 1}

// take adds a tensor to the module. A comes before B, because tensors are sorted by name.
func (mod *qatModule) take(params []attach.Param, i int, channel, which string) error {
	p := &params[i]
	if which == "A" {
		if i+1 == len(params) || params[i+1].Name != QATName(mod.name, channel, "B") {
			return fmt.Errorf("adapter: module %s has qat_%s_A but no qat_%s_B", mod.name, channel, channel)
		}
		return nil
	}
	if mod.out >= 0 && mod.out != p.Rows() {
		return fmt.Errorf("adapter: tensor %q has %d rows, but others of the module have %d", p.Name, p.Rows(), mod.out)
	}
	mod.out = p.Rows()
	if which == "" {
		mod.row = i
		return nil
	}
	if i == 0 || params[i-1].Name != QATName(mod.name, channel, "A") {
		return fmt.Errorf("adapter: module %s has qat_%s_B but no qat_%s_A", mod.name, channel, channel)
	}
	if params[i-1].Rows() != p.Cols() {
		return fmt.Errorf("adapter: module %s has qat_%s_A %v and qat_%s_B %v, which have different ranks",
			mod.name, channel, params[i-1].Shape, channel, p.Shape)
	}
	mod.low[channel] = [2]int{i - 1, i}
	return nil
}

func (m *qat) Traits() attach.Traits {
	return attach.Traits{SumsGroups: true, Master: m.master, Decay: m.decay()}
}

func (m *qat) Describe() string {
	text := fmt.Sprintf("quantization-aware adapter of rank %d (%s) on %d weights", m.settings.Rank, m.settings.Channels,
		len(m.modules))
	blocks := 0
	for _, mod := range m.modules {
		if mod.fixed() {
			blocks++
		}
	}
	switch blocks {
	case 0:
		return text
	case len(m.modules):
		return text + ", stored as blocks"
	}
	return fmt.Sprintf("%s, %d of them stored as blocks", text, blocks)
}

// linears finds the linear map of every module in a base and checks that the shapes fit.
func (m *qat) linears(b *attach.Base, params []attach.Param) ([]*model.Linear, error) {
	byName := map[string]*model.Linear{}
	for _, l := range b.Model.Linears() {
		byName[l.Module] = l
	}
	found := make([]*model.Linear, len(m.modules))
	for i, mod := range m.modules {
		l := byName[mod.name]
		if l == nil {
			return nil, errkind.Errorf(attach.ErrWrongBase, "adapter: %s has no linear map %q (it has %d layers): "+
				"an adapter of another base?",
				b.Path, mod.name, len(b.Model.Layers))
		}
		if err := mod.fits(l, params); err != nil {
			return nil, fmt.Errorf("adapter: %w: an adapter of another base (%s)?", err, b.Path)
		}
		found[i] = l
	}
	return found, nil
}

// fits compares the shapes with those of the weight, and the channels with what its type has.
func (mod *qatModule) fits(l *model.Linear, params []attach.Param) error {
	if !mod.fixed() && mod.out != l.W.Rows {
		return fmt.Errorf("%s is made for %d rows, the weight has %d", mod.name, mod.out, l.W.Rows)
	}
	for channel, at := range mod.low {
		if !attach.ChannelFits(channel, l.W.Type) {
			return fmt.Errorf("%s changes the %s of its weight, which is %v and has none", mod.name, channel, l.W.Type)
		}
		want := l.W.Cols
		if channel != method.ChannelCode {
			want = l.W.Groups()
		}
		if got := params[at[0]].Cols(); got != want {
			return fmt.Errorf("%s has %d columns for the %s of its weight, expected %d (%v, %d columns)",
				mod.name, got, channel, want, l.W.Type, l.W.Cols)
		}
	}
	return nil
}

// Permuted lists the tensors whose rows or columns are those of a weight that the base has in another order. The
// columns of scales and offsets are groups of the base.
func (m *qat) Permuted(b *attach.Base) ([]attach.Permutation, error) {
	byName := map[string]*model.Linear{}
	for _, l := range b.Model.Linears() {
		byName[l.Module] = l
	}
	var perms []attach.Permutation
	for _, mod := range m.modules {
		l := byName[mod.name]
		if l == nil {
			continue // which binding reports
		}
		for _, channel := range []string{method.ChannelScale, method.ChannelOffset, method.ChannelCode} {
			if at, ok := mod.low[channel]; ok {
				perms = append(perms, attach.ByRow(l, at[1])...)
				if channel == method.ChannelCode {
					perms = append(perms, attach.ByCol(l, at[0])...)
				}
			}
		}
		if mod.row >= 0 {
			perms = append(perms, attach.ByRow(l, mod.row)...)
		}
	}
	return perms, nil
}

// SuggestLR is a learning rate to start with: that of a LoRA, because ChannelRates makes it suit all channels. With the
// weight decay of ChannelAuto twice as much was measured to learn more and to forget less.
func (m *qat) SuggestLR(b *attach.Base) float64 {
	if m.settings.Channels == method.ChannelAuto {
		return attach.TimesSuggested(b, 2)
	}
	return attach.SuggestLR(b)
}

// Weight decays of ChannelAuto, as measured (docs/quantization-aware.md). They are multiplied by ChannelRates as the
// learning rate is, so that scales alone need less.
const (
	decayOfCodes  = 4
	decayOfScales = 1
)

// decay is the weight decay towards the base. Channels that were asked for by name have none.
func (m *qat) decay() float64 {
	if m.settings.Channels != method.ChannelAuto {
		return 0
	}
	for _, mod := range m.modules {
		if _, ok := mod.low[method.ChannelCode]; ok {
			return decayOfCodes
		}
	}
	return decayOfScales
}
