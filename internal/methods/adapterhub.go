package methods

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/internal/attach"
	"github.com/peftconv/peftconv/internal/errkind"
	"github.com/peftconv/peftconv/internal/model"
	"github.com/peftconv/peftconv/peft/method"
	"github.com/peftconv/peftconv/safetensors"
)

// hubWeightsFile is the file of an AdapterHub directory that holds the tensors; its configuration has PEFT's name.
const hubWeightsFile = "adapter.safetensors"

func init() {
	attach.RegisterLayout(attach.Layout{Weights: hubWeightsFile, Matches: isHubConfig, Read: readHub})
}

// hubName is what adapters are called in what SaveAdapterHub writes.
const hubName = "default"

// hubConfig is adapter_config.json of an AdapterHub directory.
type hubConfig struct {
	Config     hubBottleneck `json:"config"`
	HiddenSize int           `json:"hidden_size"`
	ModelClass string        `json:"model_class"`
	ModelName  string        `json:"model_name"`
	ModelType  string        `json:"model_type"`
	Name       string        `json:"name"`
	Version    string        `json:"version"`
}

// hubBottleneck is the part of AdapterHub's BnConfig that says what is computed; the rest is at its defaults.
type hubBottleneck struct {
	Architecture     *string `json:"architecture"`
	Attention        bool    `json:"mh_adapter"`
	FFN              bool    `json:"output_adapter"`
	Reduction        float64 `json:"reduction_factor"`
	Activation       string  `json:"non_linearity"`
	NormBefore       bool    `json:"original_ln_before"`
	NormAfter        bool    `json:"original_ln_after"`
	OwnNormBefore    bool    `json:"ln_before"`
	OwnNormAfter     bool    `json:"ln_after"`
	Init             string  `json:"init_weights"`
	Parallel         bool    `json:"is_parallel"`
	Scaling          float64 `json:"scaling"`
	Gating           bool    `json:"use_gating"`
	ResidualBefore   any     `json:"residual_before_ln"`
	AdapterResidual  bool    `json:"adapter_residual_before_ln"`
	Invertible       any     `json:"inv_adapter"`
	CrossAttention   bool    `json:"cross_adapter"`
	LeaveOut         []int   `json:"leave_out"`
	Dropout          float64 `json:"dropout"`
	Hypercomplex     bool    `json:"phm_layer"`
	StochasticDepth  float64 `json:"stochastic_depth"`
	InvertibleFactor any     `json:"inv_adapter_reduction_factor"`
}

// hubActivations are AdapterHub's names of the activations; a file of its own may say either of silu's.
var hubActivations = map[string]string{"relu": "relu", "gelu": "gelu", "swish": "silu", "silu": "silu"}

// SaveAdapterHub writes bottleneck adapters as a directory that the adapters library loads (load_adapter). What it
// cannot compute is an error: a gated bottleneck, and the norm of parallel and serial-pfeiffer adapters, which there
// read the stream as it is.
func SaveAdapterHub(a *attach.Adapter, dir string, b *attach.Base) error {
	if err := writeAdapterHub(a, dir, b); err != nil {
		return fmt.Errorf("save %s for AdapterHub: %w", dir, err)
	}
	return nil
}

func writeAdapterHub(a *attach.Adapter, dir string, b *attach.Base) error {
	m, ok := a.Method.(*BottleneckMethod)
	switch {
	case !ok:
		return fmt.Errorf("an adapter of method %s is no bottleneck adapter", a.Config.Method)
	case m.Gated():
		return errors.New("AdapterHub has no gated bottleneck (swiglu)")
	case m.Input == method.InputNorm && m.Placement != method.SerialHoulsby:
		return fmt.Errorf("a %s adapter reads the stream as it is there, this one was trained to read its norm", m.Placement)
	}
	return a.SaveDirAs(dir, m.hubConfig(a, b), hubWeightsFile, nil)
}

// hubConfig says in AdapterHub's terms what the adapter is.
func (m *BottleneckMethod) hubConfig(a *attach.Adapter, b *attach.Base) *hubConfig {
	kind := b.Architecture()
	c := &hubConfig{
		HiddenSize: m.Width, ModelType: kind, ModelClass: strings.ToUpper(kind[:1]) + kind[1:] + "AdapterModel",
		ModelName: a.Config.BaseModel, Name: hubName, Version: "adapters.1.2.0",
	}
	c.Config = hubBottleneck{
		Attention: slices.Contains(m.Parts, model.Attention.String()), FFN: slices.Contains(m.Parts, model.FFN.String()),
		Reduction: ReductionFactor(m.Width, m.Bottleneck), Activation: m.Activation,
		NormBefore: m.Placement == method.SerialPfeiffer,
		NormAfter:  true, Init: "mam_adapter", Parallel: m.Placement == method.Parallel, Scaling: m.Scale,
		ResidualBefore: true, LeaveOut: []int{},
	}
	if m.Activation == "silu" {
		c.Config.Activation = "swish"
	}
	for i := range b.Model.Layers {
		if m.Layers != nil && !slices.Contains(m.Layers, i) {
			c.Config.LeaveOut = append(c.Config.LeaveOut, i)
		}
	}
	return c
}

// ReductionFactor is a factor f with floor(width/f) equal to the bottleneck in float64.
func ReductionFactor(width, bottleneck int) float64 {
	f := float64(width) / float64(bottleneck)
	for math.Floor(float64(width)/f) < float64(bottleneck) {
		f = math.Nextafter(f, 0)
	}
	return f
}

// isHubConfig reports whether an adapter_config.json is one of AdapterHub's.
func isHubConfig(config []byte) bool {
	var c struct {
		PEFT    *string         `json:"peft_type"`
		Config  json.RawMessage `json:"config"`
		Version *string         `json:"version"`
	}
	return json.Unmarshal(config, &c) == nil && c.PEFT == nil && c.Config != nil && c.Version != nil
}

// fromHub is the configuration of an AdapterHub directory in our terms. layers lists those in which the file has an
// adapter.
func fromHub(config []byte, layers []int) (*attach.Config, error) {
	c := hubConfig{Config: hubBottleneck{NormAfter: true, Scaling: 1, ResidualBefore: true}}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, attach.FieldError(err)
	}
	h := &c.Config
	if err := h.refuse(); err != nil {
		return nil, err
	}
	s := &BottleneckSettings{
		Placement: method.SerialHoulsby, Bottleneck: int(math.Floor(float64(c.HiddenSize) / h.Reduction)),
		Activation: hubActivations[h.Activation],
		Scale:      h.Scaling, Input: method.InputStream, Layers: layers,
	}
	switch {
	case h.Parallel:
		s.Placement = method.Parallel
	case h.NormBefore:
		s.Placement = method.SerialPfeiffer
	}
	if h.Attention {
		s.Parts = append(s.Parts, model.Attention.String())
	}
	if h.FFN {
		s.Parts = append(s.Parts, model.FFN.String())
	}
	out := &attach.Config{Method: MethodBottleneck, BaseModel: c.ModelName, Settings: s}
	return out, out.Check()
}

// refuse names the first thing that is not supported.
func (h *hubBottleneck) refuse() error {
	switch {
	case h.Architecture != nil:
		return errkind.Errorf(errors.ErrUnsupported, "config: "+
			"architecture %q is not supported, only bottleneck adapters are", *h.Architecture)
	case hubActivations[h.Activation] == "":
		return errkind.Errorf(errors.ErrUnsupported, "config: "+
			"non_linearity %q is not supported, expected relu, gelu or swish", h.Activation)
	case !(h.Reduction > 0):
		return fmt.Errorf("config: reduction_factor %v, expected more than 0", h.Reduction)
	case !h.NormAfter, h.ResidualBefore != true:
		return errors.New("config: original_ln_after and residual_before_ln other than true are not supported")
	}
	for _, f := range []struct {
		name string
		on   bool
	}{
		{"ln_before", h.OwnNormBefore}, {"ln_after", h.OwnNormAfter},
		{"use_gating", h.Gating}, {"inv_adapter", h.Invertible != nil},
		{"cross_adapter", h.CrossAttention}, {"phm_layer", h.Hypercomplex}, {"stochastic_depth", h.StochasticDepth != 0},
		{"dropout", h.Dropout != 0},
	} {
		if f.on {
			return errkind.Errorf(errors.ErrUnsupported, "config: %s is not supported", f.name)
		}
	}
	return nil
}

// readHub makes an adapter of an AdapterHub directory's file and configuration. The adapter's name there is
// not kept.
func readHub(f *safetensors.File, config []byte) (*attach.Adapter, error) {
	shapes, stored := map[string][]int{}, map[string]string{}
	var layers []int
	for _, t := range f.Tensors {
		at, end, ok := parseBottleneckName(t.Name)
		if !ok {
			return nil, fmt.Errorf("tensor %q is not one of a bottleneck adapter", t.Name)
		}
		shapes[at.tensor(end)], stored[at.tensor(end)] = attach.Ints(t.Shape), t.Name
		layers = append(layers, at.Layer)
	}
	if len(stored) != len(f.Tensors) {
		return nil, errors.New("there are tensors of more than one adapter in it")
	}
	slices.Sort(layers)
	c, err := fromHub(config, slices.Compact(layers))
	if err != nil {
		return nil, fmt.Errorf("adapter config: %w", err)
	}
	a := &attach.Adapter{Config: *c}
	if err := a.ReadOrigin(f.Metadata); err != nil {
		return nil, err
	}
	a.Allocate(shapes)
	named := slices.Clone(a.Tensors)
	for i := range named {
		named[i].Name = stored[named[i].Name]
	}
	if err := attach.ReadParams(f, "", named); err != nil {
		return nil, err
	}
	a.Method, err = attach.NewMethod(&a.Config, a.Tensors)
	return a, err
}
