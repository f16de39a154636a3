package model

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/peftconv/peftconv/gguf"
)

// architecture is one family of decoders as GGUF files describe it.
type architecture struct {
	spec func(c *config) Spec
	// permuted: the rows of q and k are stored permuted for interleaved RoPE.
	permuted bool
}

// ErrUnsupported is wrapped by errors about files in which nothing is wrong, but which cannot be computed with here.
var ErrUnsupported = errors.New("not supported")

// architectures are the families that can be loaded, by general.architecture.
var architectures = map[string]architecture{
	"llama": {spec: llamaSpec, permuted: true},
	"qwen2": {spec: qwen2Spec},
}

// Architectures lists the names of the GGUF architectures that can be loaded, sorted.
func Architectures() []string { return slices.Sorted(maps.Keys(architectures)) }

// FromGGUF reads the architecture and finds the weights of a GGUF model; they stay where they are, so f must stay
// open as long as the model is used. Errors: an architecture or a tensor type that is not supported, metadata or a
// tensor that is missing or has the wrong shape, a tensor the architecture has no place for. Those that say nothing
// against the file wrap ErrUnsupported.
func FromGGUF(f *gguf.File) (*Model, error) {
	name, _ := f.Meta.String("general.architecture")
	if kind, ok := f.Meta.String("general.type"); ok && kind != "model" {
		return nil, fmt.Errorf("general.type is %q, expected a model", kind)
	}
	arch, ok := architectures[name]
	if !ok {
		return nil, fmt.Errorf("architecture %q is %w, expected one of %s", name, ErrUnsupported, strings.Join(Architectures(), ", "))
	}
	c := &config{meta: f.Meta, arch: name}
	spec := arch.spec(c)
	if c.err != nil {
		return nil, c.err
	}
	if f.Order == binary.BigEndian {
		return nil, fmt.Errorf("the file is big-endian: computing with its tensors is %w", ErrUnsupported)
	}
	spec.Tied = f.Tensor("output.weight") == nil
	if t := f.Tensor("token_embd.weight"); t != nil {
		spec.Vocab = int(min(t.Rows(), 1<<30))
	}
	l := &loader{source: ggufSource{f}, names: ggufNames, used: map[string]bool{}}
	if f.Tensor("rope_freqs.weight") != nil {
		spec.Rope.Factors = l.floats("rope_freqs.weight", spec.Rope.Dim/2)
	}
	m := l.load(spec, arch.permuted)
	l.refuseUnused(f)
	if l.err != nil {
		return nil, l.err
	}
	return m, nil
}

// ggufNames are the names of tensors in a GGUF file.
var ggufNames = names{
	embed: "token_embd.weight", norm: "output_norm.weight", head: "output.weight", block: "blk.%d.",
	attnNorm: "attn_norm.weight", ffnNorm: "ffn_norm.weight",
	linears: [7]string{"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"},
}

// ggufSource finds tensors of a GGUF file.
type ggufSource struct{ file *gguf.File }

func (s ggufSource) tensor(name string) (stored, bool) {
	t := s.file.Tensor(name)
	if t == nil {
		return stored{}, false
	}
	shape := slices.Clone(t.Shape)
	slices.Reverse(shape)
	return stored{shape: shape, kind: t.Type, typeName: t.Type.String(), data: t.Bytes()}, true
}

// refuseUnused refuses tensors without a place: computing without them would be computing another model.
func (l *loader) refuseUnused(f *gguf.File) {
	for _, t := range f.Tensors {
		known := l.used[t.Name] || strings.HasSuffix(t.Name, ".attn_rot_embd.weight") ||
			strings.HasSuffix(t.Name, ".attn.rotary_emb.inv_freq")
		if !known {
			l.fail("tensor %q has no place in this architecture as it is known here: %w", t.Name, ErrUnsupported)
		}
	}
}

// config reads metadata of one architecture and keeps the first error.
type config struct {
	meta *gguf.Metadata
	arch string
	err  error
}

func (c *config) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// size is an unsigned count; missing is the value of an absent key, negative when the key is required.
func (c *config) size(key string, missing int) int {
	key = c.arch + "." + key
	v, found := c.meta.Get(key)
	n, ok := c.meta.Uint(key)
	switch {
	case ok && n <= 1<<30:
		return int(n)
	case found:
		c.fail("metadata %s is %v, expected one whole number below 2^30", key, v)
	case missing < 0:
		c.fail("metadata %s is missing", key)
	}
	return missing
}

// number is a real number; missing is the value of an absent key.
func (c *config) number(key string, missing float64) float64 {
	key = c.arch + "." + key
	if x, ok := c.meta.Float(key); ok {
		return x
	}
	if v, found := c.meta.Get(key); found {
		c.fail("metadata %s is %v, expected a number", key, v)
	}
	return missing
}

// decoderSpec reads the keys that all llama-like architectures share.
func (c *config) decoderSpec() Spec {
	s := Spec{Architecture: c.arch}
	s.Layers = c.size("block_count", -1)
	s.Width = c.size("embedding_length", -1)
	s.FFN = c.size("feed_forward_length", -1)
	s.QueryHeads = c.size("attention.head_count", -1)
	s.KeyHeads = c.size("attention.head_count_kv", s.QueryHeads)
	s.HeadDim = c.size("attention.key_length", s.Width/max(s.QueryHeads, 1))
	if v := c.size("attention.value_length", s.HeadDim); v != s.HeadDim {
		c.fail("metadata %s.attention.value_length is %d, the key length %d: other than equal they are %w", c.arch, v, s.HeadDim, ErrUnsupported)
	}
	s.Context = c.size("context_length", 0)
	s.NormEps = float32(c.number("attention.layer_norm_rms_epsilon", 0))
	if experts := c.size("expert_count", 0); experts > 0 {
		c.fail("the model has %d experts a layer: mixtures of experts are %w", experts, ErrUnsupported)
	}
	s.Rope = Rope{
		Dim:   c.size("rope.dimension_count", s.HeadDim),
		Base:  c.number("rope.freq_base", 10000),
		Scale: c.ropeScale(),
	}
	return s
}

// ropeScale is what positions are multiplied by.
func (c *config) ropeScale() float64 {
	kind, _ := c.meta.String(c.arch + ".rope.scaling.type")
	factor := c.number("rope.scaling.factor", c.number("rope.scale_linear", 1))
	switch {
	case kind == "none" || factor == 0:
		return 1
	case kind == "" || kind == "linear":
		return 1 / factor
	}
	c.fail("metadata %s.rope.scaling.type is %q, %w: none and linear are", c.arch, kind, ErrUnsupported)
	return 1
}
