package methods

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/autograd"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/peft/method"
)

// MethodBottleneck is the peft_type of bottleneck adapters. PEFT has no such method; in AdapterHub's layout the same
// tensors are found under the same names (Adapter.SaveAdapterHub).
const MethodBottleneck = "BOTTLENECK"

// BottleneckSettings configure a bottleneck adapter.
type BottleneckSettings struct {
	Placement  string   `json:"placement"`
	Bottleneck int      `json:"bottleneck"`          // width between the projections
	Activation string   `json:"non_linearity"`       // relu, gelu, silu or swiglu
	Scale      float64  `json:"scaling"`             // s
	Parts      []string `json:"parts"`               // "attention", "ffn"
	Input      string   `json:"input"`               // method.InputNorm or method.InputStream
	Layers     []int    `json:"layers_to_transform"` // nil is all
}

// activations are those of a bottleneck without gate.
var activations = map[string]autograd.Activation{"relu": autograd.ReLU, "gelu": autograd.GELU, "silu": autograd.SiLU}

func (s *BottleneckSettings) Check() error {
	_, known := activations[s.Activation]
	switch {
	case !slices.Contains([]string{method.SerialHoulsby, method.SerialPfeiffer, method.Parallel}, s.Placement):
		return fmt.Errorf("placement %q is not known, expected %s, %s or %s", s.Placement, method.SerialHoulsby,
			method.SerialPfeiffer, method.Parallel)
	case s.Bottleneck < 1 || s.Bottleneck > attach.MaxRank:
		return fmt.Errorf("bottleneck %d, expected 1 to %d", s.Bottleneck, attach.MaxRank)
	case !known && s.Activation != method.ActivationSwiGLU:
		return fmt.Errorf("activation %q is not known, expected relu, gelu, silu or %s", s.Activation,
			method.ActivationSwiGLU)
	case !attach.IsSingle(s.Scale):
		return fmt.Errorf("scale %v, expected a finite number", s.Scale)
	case s.Input != method.InputNorm && s.Input != method.InputStream:
		return fmt.Errorf("input %q is not known, expected %s or %s", s.Input, method.InputNorm, method.InputStream)
	case len(s.Parts) == 0:
		return fmt.Errorf("no parts of a layer are chosen, expected %v, %v or both", model.Attention, model.FFN)
	}
	for _, part := range s.Parts {
		if part != model.Attention.String() && part != model.FFN.String() {
			return fmt.Errorf("part %q of a layer is not known, expected %v or %v", part, model.Attention, model.FFN)
		}
	}
	return nil
}

// bottleneckSettings are those of the options, without the layers.
func bottleneckSettings(opt *method.Bottleneck) *BottleneckSettings {
	s := &BottleneckSettings{
		Placement: opt.Placement, Bottleneck: opt.Bottleneck, Activation: opt.Activation,
		Scale: opt.Scale, Parts: opt.Parts, Input: opt.Input,
	}
	if s.Placement == "" {
		s.Placement = method.Parallel
	}
	if s.Bottleneck == 0 {
		s.Bottleneck = 32
	}
	if s.Activation == "" {
		s.Activation = "silu"
	}
	if s.Scale == 0 {
		s.Scale = 1
	}
	if s.Input == "" {
		s.Input = method.InputNorm
	}
	if s.Parts == nil {
		s.Parts = []string{model.FFN.String()}
		if s.Placement == method.SerialHoulsby {
			s.Parts = []string{model.Attention.String(), model.FFN.String()}
		}
	}
	return s
}

// NewBottleneck makes bottleneck adapters that change nothing yet: the projection up is zero. Where each starts depends
// on the seed and its name alone.
func NewBottleneck(b *attach.Base, opt method.Bottleneck) (*attach.Adapter, error) {
	s := bottleneckSettings(&opt)
	var err error
	if s.Layers, err = attach.ParseLayers(opt.Layers, len(b.Model.Layers)); err != nil {
		return nil, err
	}
	if err := s.Check(); err != nil {
		return nil, fmt.Errorf("new adapter: %w", err)
	}
	shapes := map[string][]int{}
	for i, l := range b.Model.Layers {
		if s.Layers != nil && !slices.Contains(s.Layers, i) {
			continue
		}
		for _, part := range []model.Part{model.Attention, model.FFN} {
			if slices.Contains(s.Parts, part.String()) && l.Has(part) {
				s.addShapes(shapes, BottleneckPlace{i, part}, b.Model.Spec.Width)
			}
		}
	}
	if len(shapes) == 0 {
		return nil, fmt.Errorf("new adapter: none of the chosen layers of architecture %s has a part of %v", b.Architecture(),
			s.Parts)
	}
	c := attach.Config{Method: MethodBottleneck, BaseModel: opt.BaseModel, Settings: s}
	return attach.NewAdapter(b, c, shapes, func(p *attach.Param) { startBottleneck(p, opt.Seed) })
}

// addShapes adds the tensors of one adapter over a stream of the given width.
func (s *BottleneckSettings) addShapes(shapes map[string][]int, at BottleneckPlace, width int) {
	shapes[at.tensor(adapterDown+".weight")] = []int{s.Bottleneck, width}
	shapes[at.tensor(adapterUp+".weight")] = []int{width, s.Bottleneck}
	if s.Gated() {
		shapes[at.tensor(adapterGate+".weight")] = []int{s.Bottleneck, width}
	} else {
		shapes[at.tensor(adapterDown+".bias")] = []int{s.Bottleneck}
		shapes[at.tensor(adapterUp+".bias")] = []int{width}
	}
	if s.normed() {
		shapes[at.tensor(adapterNorm+".weight")] = []int{width}
	}
}

// Gated reports whether there is a gate; there are no biases then, which a gated FFN of a runtime could not hold.
func (s *BottleneckSettings) Gated() bool { return s.Activation == method.ActivationSwiGLU }

// normed reports whether each adapter has a norm of its own.
func (s *BottleneckSettings) normed() bool {
	return s.Placement == method.SerialPfeiffer && s.Input == method.InputNorm
}

// startBottleneck fills a tensor: the projections down uniform in ±1/√in as those of a LoRA, the norm one, all else
// zero.
func startBottleneck(p *attach.Param, seed uint64) {
	switch {
	case strings.HasSuffix(p.Name, adapterNorm+".weight"):
		for i := range p.Data {
			p.Data[i] = 1
		}
	case strings.HasSuffix(p.Name, adapterDown+".weight"), strings.HasSuffix(p.Name, adapterGate+".weight"):
		r := prng.NewRandom(seed, p.Name)
		r.Uniform(p.Data, 1/math.Sqrt(float64(p.Cols())))
	}
}

// Ends of the names of a bottleneck's tensors. The first two are AdapterHub's; it has neither a gated bottleneck nor an
// RMS norm.
const (
	adapterDown = "adapter_down.0"
	adapterUp   = "adapter_up"
	adapterGate = "adapter_gate"
	adapterNorm = "adapter_norm_before"
)

// BottleneckPlace is where one adapter is.
type BottleneckPlace struct {
	Layer int
	Part  model.Part
}

// bottleneckParts are AdapterHub's names of the places in a layer.
var bottleneckParts = [...]string{model.Attention: "attention_adapters", model.FFN: "output_adapters"}

const layersPrefix = "model.layers."

// tensor is the name of one of the adapter's tensors: AdapterHub's, of an adapter that is called "default".
func (at BottleneckPlace) tensor(end string) string {
	return layersPrefix + strconv.Itoa(at.Layer) + "." + bottleneckParts[at.Part] + ".adapters.default." + end
}

// parseBottleneckName takes a tensor's name apart, whatever the adapter is called.
func parseBottleneckName(name string) (at BottleneckPlace, end string, ok bool) {
	words := strings.SplitN(strings.TrimPrefix(name, layersPrefix), ".", 5)
	if !strings.HasPrefix(name, layersPrefix) || len(words) < 5 || words[2] != "adapters" {
		return at, "", false
	}
	layer, err := strconv.Atoi(words[0])
	part := slices.Index(bottleneckParts[:], words[1])
	if err != nil || layer < 0 || part < 0 {
		return at, "", false
	}
	return BottleneckPlace{layer, model.Part(part)}, words[4], true
}

func init() {
	attach.RegisterFamily(bottleneckFamily())
	attach.RegisterOptions(func(opt *method.Bottleneck) error { return bottleneckSettings(opt).Check() }, NewBottleneck)
}

// bottleneckFamily is bottleneck adapters.
func bottleneckFamily() *attach.Family {
	return &attach.Family{
		Name: "adapter", PeftType: MethodBottleneck, Own: true,
		Settings: func() attach.Settings {
			return &BottleneckSettings{Scale: 1, Activation: "silu", Input: method.InputNorm}
		},
		Method: func(c *attach.Config, params []attach.Param) (attach.Method, error) {
			return newBottleneck(c, params)
		},
	}
}

// BottleneckMethod is adapters between and beside the parts of the layers.
type BottleneckMethod struct {
	*BottleneckSettings
	places []BottleneckPlace // in order
	Params map[BottleneckPlace]bottleneckParams
	Width  int
}

// bottleneckParams are the places of one adapter's tensors among the adapter's; -1 where there is none.
type bottleneckParams struct{ Norm, Gate, Down, DownBias, Up, UpBias int }

// newBottleneck finds the tensors of each adapter and checks that nothing is missing, too much or of another shape.
func newBottleneck(c *attach.Config, params []attach.Param) (*BottleneckMethod, error) {
	m := &BottleneckMethod{BottleneckSettings: c.Settings.(*BottleneckSettings),
		Params: map[BottleneckPlace]bottleneckParams{}}
	index := map[string]int{}
	for i, p := range params {
		at, end, ok := parseBottleneckName(p.Name)
		if !ok {
			return nil, fmt.Errorf("adapter: tensor %q is not one of a bottleneck adapter", p.Name)
		}
		if !slices.Contains(m.places, at) {
			m.places = append(m.places, at)
		}
		if end == adapterUp+".weight" && len(p.Shape) == 2 {
			m.Width = p.Rows()
		}
		index[at.tensor(end)] = i
	}
	slices.SortFunc(m.places, func(a, b BottleneckPlace) int { return 2*(a.Layer-b.Layer) + int(a.Part-b.Part) })
	if len(m.places) == 0 {
		return nil, fmt.Errorf("adapter: no tensor in it")
	}
	for _, at := range m.places {
		want := map[string][]int{}
		m.addShapes(want, at, m.Width)
		for name, shape := range want {
			i, ok := index[name]
			if !ok {
				return nil, fmt.Errorf("adapter: tensor %q is missing", name)
			}
			if !slices.Equal(params[i].Shape, shape) {
				return nil, fmt.Errorf("adapter: tensor %q has shape %v, expected %v", name, params[i].Shape, shape)
			}
		}
		m.Params[at] = findBottleneck(index, at)
		for name := range want {
			delete(index, name)
		}
	}
	for name := range index {
		return nil, fmt.Errorf("adapter: tensor %q has no place in an adapter with non_linearity %q and input %q", name,
			m.Activation, m.Input)
	}
	return m, nil
}

// findBottleneck is where the tensors of one adapter are.
func findBottleneck(index map[string]int, at BottleneckPlace) bottleneckParams {
	find := func(end string) int {
		if i, ok := index[at.tensor(end)]; ok {
			return i
		}
		return -1
	}
	return bottleneckParams{
		Norm: find(adapterNorm + ".weight"), Gate: find(adapterGate + ".weight"),
		Down: find(adapterDown + ".weight"), DownBias: find(adapterDown + ".bias"),
		Up: find(adapterUp + ".weight"), UpBias: find(adapterUp + ".bias"),
	}
}

func (m *BottleneckMethod) Traits() attach.Traits { return attach.Traits{} }

func (m *BottleneckMethod) Describe() string {
	return fmt.Sprintf("%s adapters of width %d at %d places", m.Placement, m.Bottleneck, len(m.places))
}

// SuggestLR is a learning rate to start with: over a model of width 64 rates of 1.5e-2 and 3e-2 were measured to end
// within 0.04 of each other and 0.6 below 6e-2, over one of width 256 a rate of 1e-2 ended 0.7 below 5e-3.
func (m *BottleneckMethod) SuggestLR(b *attach.Base) float64 { return attach.TimesSuggested(b, 4) }

func (m *BottleneckMethod) Permuted(*attach.Base) ([]attach.Permutation, error) { return nil, nil }

func (m *BottleneckMethod) Bind(b *attach.Base, values, grads []attach.Param,
	strength float64) (attach.Attachment, error) {
	at := &bottleneckAttachment{settings: m.BottleneckSettings, sites: map[BottleneckPlace]*bottleneckSite{},
		eps: b.Model.Spec.NormEps}
	at.scale = float32(m.Scale * strength)
	if m.Width != b.Model.Spec.Width {
		return nil, errkind.Errorf(attach.ErrWrongBase, "adapter: made "+
			"for a width of %d, but %s has %d: an adapter of another base?", m.Width, b.Path, b.Model.Spec.Width)
	}
	for _, place := range m.places {
		if place.Layer >= len(b.Model.Layers) {
			return nil, errkind.Errorf(attach.ErrWrongBase, "adapter: it has an adapter in layer %d, but %s has %d "+
				"layers: an adapter of another base?",
				place.Layer, b.Path, len(b.Model.Layers))
		}
		if !b.Model.Layers[place.Layer].Has(place.Part) {
			return nil, errkind.Errorf(attach.ErrWrongBase, "adapter: it has an adapter at the %s of layer %d, which %s has "+
				"not: an adapter of another base?", place.Part, place.Layer, b.Path)
		}
		p := m.Params[place]
		at.sites[place] = &bottleneckSite{
			norm: attach.RowLeaf(values, grads, p.Norm), gate: attach.OptionalLeaf(values, grads, p.Gate),
			down: attach.Leaf(values, grads, p.Down), downBias: attach.RowLeaf(values, grads, p.DownBias),
			up: attach.Leaf(values, grads, p.Up), upBias: attach.RowLeaf(values, grads, p.UpBias),
		}
	}
	return at, nil
}

// bottleneckAttachment is bottleneck adapters bound to a base.
type bottleneckAttachment struct {
	attach.Plain
	settings *BottleneckSettings
	sites    map[BottleneckPlace]*bottleneckSite
	scale    float32
	eps      float32
}

// bottleneckSite is the tensors of one adapter.
type bottleneckSite struct{ norm, gate, down, downBias, up, upBias *autograd.Tensor }

// Part adds the output of a serial-houlsby or parallel adapter to that of a part.
func (at *bottleneckAttachment) Part(t *autograd.Tape, l *model.Layer, p model.Part, stream, x,
	y *autograd.Tensor) *autograd.Tensor {
	site := at.sites[BottleneckPlace{l.Index, p}]
	if site == nil || at.scale == 0 {
		return y
	}
	switch {
	case at.settings.Placement == method.SerialHoulsby:
		return at.add(t, site, y, y)
	case at.settings.Placement == method.SerialPfeiffer:
		return y
	case at.settings.Input == method.InputStream:
		return at.add(t, site, stream, y)
	}
	return at.add(t, site, x, y)
}

// Stream adds the output of a serial-pfeiffer adapter to the stream.
func (at *bottleneckAttachment) Stream(t *autograd.Tape, l *model.Layer, p model.Part,
	x *autograd.Tensor) *autograd.Tensor {
	site := at.sites[BottleneckPlace{l.Index, p}]
	if site == nil || at.scale == 0 || at.settings.Placement != method.SerialPfeiffer {
		return x
	}
	in := x
	if site.norm != nil {
		in = t.RMSNorm(x, site.norm, at.eps)
	}
	return at.add(t, site, in, x)
}

// add is y + scale·up(f(down(x))).
func (at *bottleneckAttachment) add(t *autograd.Tape, s *bottleneckSite, x, y *autograd.Tensor) *autograd.Tensor {
	h := t.Dense(x, s.down, s.downBias)
	if s.gate != nil {
		h = t.SwiGLU(t.Dense(x, s.gate, nil), h)
	} else {
		h = t.Activate(h, activations[at.settings.Activation])
	}
	h = t.Dense(h, s.up, s.upBias)
	if at.scale != 1 {
		h = t.Scaled(h, at.scale)
	}
	return t.Add(y, h)
}
