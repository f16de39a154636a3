package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/safetensors"
)

// hfConfig is what config.json of a llama-like model says.
type hfConfig struct {
	ModelType    string   `json:"model_type"`
	Hidden       int      `json:"hidden_size"`
	Intermediate int      `json:"intermediate_size"`
	Layers       int      `json:"num_hidden_layers"`
	Heads        int      `json:"num_attention_heads"`
	KeyHeads     *int     `json:"num_key_value_heads"`
	HeadDim      *int     `json:"head_dim"`
	Context      int      `json:"max_position_embeddings"`
	NormEps      float64  `json:"rms_norm_eps"`
	RopeTheta    *float64 `json:"rope_theta"`
	RopeScaling  *hfRope  `json:"rope_scaling"`
	Activation   string   `json:"hidden_act"`
	Tied         *bool    `json:"tie_word_embeddings"`
	Vocab        int      `json:"vocab_size"`
	Sliding      *int     `json:"sliding_window"`
	UseSliding   *bool    `json:"use_sliding_window"`
}

// hfRope is config.json's rope_scaling.
type hfRope struct {
	Type     string  `json:"rope_type"`
	OldType  string  `json:"type"`
	Factor   float64 `json:"factor"`
	Low      float64 `json:"low_freq_factor"`
	High     float64 `json:"high_freq_factor"`
	Original float64 `json:"original_max_position_embeddings"`
}

// FromHF opens a Hugging Face model directory: config.json and model.safetensors or its sharded form. The weights
// stay in the mapped files until the returned Closer is closed. Errors as FromGGUF's, with the names of the files.
func FromHF(dir string) (*Model, io.Closer, error) {
	path := filepath.Join(dir, "config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	var c hfConfig
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	spec, err := c.spec()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	f, err := safetensors.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	l := &loader{source: hfSource{f}, names: hfNames, used: map[string]bool{}}
	m := l.load(spec, false)
	if l.err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%s: %w", dir, l.err), f.Close())
	}
	return m, f, nil
}

// spec turns config.json into a Spec.
func (c *hfConfig) spec() (Spec, error) {
	if c.ModelType != "llama" && c.ModelType != "mistral" && c.ModelType != "qwen2" {
		return Spec{}, fmt.Errorf("model_type %q is %w, expected llama, mistral or qwen2", c.ModelType, ErrUnsupported)
	}
	if c.Activation != "" && c.Activation != "silu" {
		return Spec{}, fmt.Errorf("hidden_act %q is %w, expected silu", c.Activation, ErrUnsupported)
	}
	if c.Sliding != nil && *c.Sliding > 0 && *c.Sliding < c.Context && (c.UseSliding == nil || *c.UseSliding) {
		return Spec{}, fmt.Errorf("sliding_window %d is %w", *c.Sliding, ErrUnsupported)
	}
	s := Spec{
		Architecture: c.ModelType, Layers: c.Layers, Width: c.Hidden, FFN: c.Intermediate, QueryHeads: c.Heads,
		KeyHeads: valueOr(c.KeyHeads, c.Heads), HeadDim: valueOr(c.HeadDim, c.Hidden/max(c.Heads, 1)), Vocab: c.Vocab,
		Context: c.Context, NormEps: float32(c.NormEps), Tied: valueOr(c.Tied, false),
	}
	if c.ModelType == "mistral" {
		s.Architecture = "llama"
	}
	s.Rope = Rope{Dim: s.HeadDim, Base: valueOr(c.RopeTheta, 10000), Scale: 1, Neox: true}
	if err := c.RopeScaling.apply(&s.Rope); err != nil {
		return Spec{}, err
	}
	return s, s.check()
}

func valueOr[T any](p *T, missing T) T {
	if p == nil {
		return missing
	}
	return *p
}

// apply puts the scaling into r: none, linear, or Llama 3's, which divides the slow pairs by the factor, leaves
// the fast ones and blends between.
func (h *hfRope) apply(r *Rope) error {
	if h == nil {
		return nil
	}
	kind := h.Type
	if kind == "" {
		kind = h.OldType
	}
	switch {
	case kind == "" || kind == "default":
		return nil
	case kind == "linear" && h.Factor > 0:
		r.Scale = 1 / h.Factor
		return nil
	case kind == "llama3" && h.Factor > 0 && h.Low > 0 && h.High > h.Low && h.Original > 0:
		r.Factors = h.llama3(r)
		return nil
	}
	return fmt.Errorf("rope_scaling %q with factor %g is %w, expected linear or llama3", kind, h.Factor, ErrUnsupported)
}

func (h *hfRope) llama3(r *Rope) []float32 {
	factors := make([]float32, r.Dim/2)
	for i := range factors {
		wave := 2 * math.Pi * math.Pow(r.Base, 2*float64(i)/float64(r.Dim))
		switch {
		case wave < h.Original/h.High:
			factors[i] = 1
		case wave > h.Original/h.Low:
			factors[i] = float32(h.Factor)
		default:
			smooth := (h.Original/wave - h.Low) / (h.High - h.Low)
			factors[i] = float32(1 / ((1-smooth)/h.Factor + smooth))
		}
	}
	return factors
}

// hfNames are the names of tensors in a Hugging Face directory.
var hfNames = names{
	embed: "model.embed_tokens.weight", norm: "model.norm.weight", head: "lm_head.weight", block: "model.layers.%d.",
	attnNorm: "input_layernorm.weight", ffnNorm: "post_attention_layernorm.weight", linears: moduleNames,
}

// hfTypes are the data types whose bytes are rows of a quant.Matrix as they are.
var hfTypes = map[safetensors.DType]gguf.Type{"F32": gguf.F32, "F16": gguf.F16, "BF16": gguf.BF16}

// hfSource finds tensors of safetensors files.
type hfSource struct{ file *safetensors.File }

func (s hfSource) tensor(name string) (stored, bool) {
	t := s.file.Tensor(name)
	if t == nil {
		return stored{}, false
	}
	kind, ok := hfTypes[t.DType]
	if !ok {
		kind = unknownType
	}
	return stored{shape: t.Shape, kind: kind, typeName: string(t.DType), data: t.Bytes()}, true
}

// unknownType is a type that no package knows.
const unknownType = gguf.Type(1<<32 - 1)
