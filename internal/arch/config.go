package arch

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/peftconv/peftconv/internal/floats"
	"github.com/peftconv/peftconv/internal/store"
)

// Config is the config.json that says to a class of Hugging Face what a GGUF file computes.
type Config struct {
	Arch    *Arch    // the architecture whose table names the tensors of the class
	Class   *HFModel // the class
	Spec    *Spec    // what the file computes, and the class shall
	Values  map[string]any
	Assumed []string // what the file does not say
	Biased  []Role   // weights beside which the class has biases: those that the file lacks are zero

	f      *Fields
	source *Arch
	file   *store.Store
	err    error
}

// ConfigFor makes the config.json for a GGUF file. ropeScaling, where it is not nil, is the value of rope_scaling for
// a file whose factors of RoPE are of a kind that is not known here. Errors: as Read's; an architecture without a
// class of Hugging Face; what the class cannot compute.
func ConfigFor(s *store.Store, ropeScaling map[string]any) (*Config, error) {
	m, err := readGGUF(s)
	if err != nil {
		return nil, err
	}
	if len(m.Arch.HF) == 0 || m.Arch.Config == nil {
		return nil, fmt.Errorf("architecture %q has no class of Hugging Face that is known here: it is %w", m.Arch.Name,
			ErrUnsupported)
	}
	c := &Config{Arch: m.Arch, Spec: &m.Spec, Class: &m.Arch.HF[0], source: m.Arch, file: s, Values: map[string]any{},
		f: &Fields{arch: m.Arch.Name, meta: s.GGUF.Meta}}
	c.factors(ropeScaling == nil)
	c.sameHead()
	if err := c.Spec.Check(); err != nil {
		return nil, err
	}
	c.common()
	if ropeScaling != nil {
		c.set("rope_scaling", ropeScaling)
	}
	m.Arch.Config(c)
	c.biasFlags()
	c.set("architectures", []string{c.Class.Class})
	c.set("model_type", c.Class.Type)
	if c.f.err != nil {
		return nil, c.f.err
	}
	return c, c.err
}

// Source is the name of the architecture of the file.
func (c *Config) Source() string { return c.source.Name }

func (c *Config) set(key string, v any) { c.Values[key] = v }

// sets sets pairs of key and value.
func (c *Config) sets(pairs ...any) {
	for i := 0; i < len(pairs); i += 2 {
		c.set(pairs[i].(string), pairs[i+1])
	}
}

// unset takes values away.
func (c *Config) unset(keys ...string) {
	for _, key := range keys {
		delete(c.Values, key)
	}
}

// rename has values under other keys: pairs of old and new.
func (c *Config) rename(pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		if v, ok := c.Values[pairs[i]]; ok {
			c.Values[pairs[i+1]] = v
			delete(c.Values, pairs[i])
		}
	}
}

// class chooses the class with a model_type, of those of the architecture.
func (c *Config) class(modelType string) {
	_, c.Class = ByModelType(modelType)
}

// textOnly chooses the class of the text model of one with other parts.
func (c *Config) textOnly(modelType string) {
	c.class(modelType)
	c.assume("the class of the text model alone, %s: other parts are not in the file", c.Class.Class)
}

// assume notes what the file does not say.
func (c *Config) assume(format string, args ...any) {
	c.Assumed = append(c.Assumed, fmt.Sprintf(format, args...))
}

func (c *Config) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
}

// has reports whether the file has a tensor of a role in some layer.
func (c *Config) has(role Role) bool {
	return c.any(role, func(name string) string { return name })
}

// hasBias reports whether the file has a bias beside one.
func (c *Config) hasBias(roles ...Role) bool {
	return slices.ContainsFunc(roles, func(role Role) bool { return c.any(role, BiasName) })
}

func (c *Config) any(role Role, name func(weight string) string) bool {
	t := c.source.Tensor(role)
	if t == nil {
		return false
	}
	for layer := range c.Spec.Layers {
		for _, weight := range []string{t.InGGUF(layer), t.Within.In(false, layer)} {
			if _, ok := c.file.Tensor(name(weight)); ok {
				return true
			}
		}
	}
	return false
}

// layer is the first layer that fits, or the first.
func (c *Config) layer(fits func(l *Layer) bool) *Layer {
	for i := range c.Spec.Layers {
		if l := c.Spec.At(i); fits(l) {
			return l
		}
	}
	return c.Spec.At(0)
}

// common sets what most classes have.
func (c *Config) common() {
	s, f := c.Spec, c.f
	l := c.mainLayer()
	ffn := f.IntsOr("feed_forward_length", "", s.Layers, 0)
	c.sets("hidden_size", s.Width, "num_hidden_layers", s.Layers, "num_attention_heads", l.QueryHeads,
		"num_key_value_heads", l.KeyHeads, "intermediate_size", ffn.most(), "max_position_embeddings", s.Context,
		"vocab_size", s.Vocab, "tie_word_embeddings", s.Tied, "hidden_act", "silu", "use_cache", true,
		"initializer_range", 0.02, "rms_norm_eps", s.NormEps)
	if f.IntOr("attention.key_length", "", 0) > 0 || l.QueryHeads*l.HeadDim != s.Width {
		c.set("head_dim", l.HeadDim)
	}
	if s.LayerNorm {
		c.rename("rms_norm_eps", "layer_norm_eps")
	}
	c.sets("bos_token_id", nil, "eos_token_id", nil, "pad_token_id", nil) // a class has some of its own in their place
	for name, key := range map[string]string{"bos": "bos", "eos": "eos", "pad": "padding", "sep": "seperator"} {
		if id, ok := f.meta.Uint("tokenizer.ggml." + key + "_token_id"); ok {
			c.set(name+"_token_id", id)
		}
	}
	c.rope()
	if s.Context == 1<<20 && l.Rope.Dim == 0 {
		c.assume("max_position_embeddings %d, which conversions write for models without position embeddings", s.Context)
	}
}

// biasFlags says whether linear maps have biases, where the class is told.
func (c *Config) biasFlags() {
	given := c.Biased != nil
	for part, key := range c.Class.BiasFlags {
		if _, set := c.Values[key]; key == "" || set {
			continue
		}
		has := c.hasBias(linearRoles(Part(part))...)
		c.set(key, has)
		switch {
		case has && Part(part) == Attention && !given:
			c.Biased = append(c.Biased, Query, Key, Value, AttentionOutput)
		case has && Part(part) == FFN:
			c.Biased = append(c.Biased, Gate, Up, Down)
		}
	}
}

// linearRoles are the linear maps of a part of a layer.
func linearRoles(p Part) []Role {
	var list []Role
	for r := range roles {
		if r.In(p) && r.Kind() == Linear {
			list = append(list, r)
		}
	}
	return list
}

// factors reads the divisors of angles that are tensors into the Spec.
func (c *Config) factors(known bool) {
	for role, set := range map[Role]func(r *Rope, factors []float32){
		RopeFactors:      func(r *Rope, factors []float32) { r.Factors = factors },
		RopeLongFactors:  func(r *Rope, factors []float32) { r.Long = factors },
		RopeShortFactors: func(r *Rope, factors []float32) { r.Short = factors },
	} {
		t := c.source.Tensor(role)
		if t == nil || !known {
			continue
		}
		tensor := c.file.GGUF.Tensor(t.GGUF)
		if tensor == nil {
			continue
		}
		factors, err := tensor.Float32s()
		if err != nil {
			c.fail("tensor %q: %w", t.GGUF, err)
		}
		c.Spec.EditRope(func(r *Rope) {
			if r.Dim == 0 || r.Plain {
				return
			}
			if len(factors) != r.Dim/2 {
				c.fail("tensor %q has %d numbers, expected %d", t.GGUF, len(factors), r.Dim/2)
			}
			set(r, factors)
		})
	}
}

// sameHead takes a head that is a copy of the embedding for what it is: files of models whose class has one matrix for
// both may have it twice.
func (c *Config) sameHead() {
	t := c.source.Tensor(OutputHead)
	if t == nil || c.Spec.Tied {
		return
	}
	head, _ := c.file.Tensor(t.GGUF)
	embedding, ok := c.file.Tensor(c.source.Tensor(TokenEmbedding).GGUF)
	if ok && head.Type == embedding.Type && bytes.Equal(head.Data, embedding.Data) {
		c.Spec.Tied = true
		c.assume("tie_word_embeddings true: the output head is a copy of the embedding")
	}
}

// mainLayer is the layer that config.json describes first: of those that attend, one that turns and has no window;
// where there is none, one that turns.
func (c *Config) mainLayer() *Layer {
	best, rank := c.Spec.At(0), -1
	for i := range c.Spec.Layers {
		l, n := c.Spec.At(i), 0
		if l.Mixer != SelfAttention {
			continue
		}
		if l.Rope.Dim > 0 {
			n += 2
		}
		if l.Window == 0 {
			n++
		}
		if n > rank {
			best, rank = l, n
		}
	}
	return best
}

// ropeParameters moves what is said of rotary position embedding to where it is since version 5 of transformers.
func (c *Config) ropeParameters() map[string]any {
	p := map[string]any{"rope_type": "default", "rope_theta": c.Values["rope_theta"]}
	if scaling, ok := c.Values["rope_scaling"].(map[string]any); ok {
		maps.Copy(p, scaling)
	}
	if part, ok := c.Values["partial_rotary_factor"]; ok {
		p["partial_rotary_factor"] = part
	}
	c.unset("rope_theta", "rope_scaling", "partial_rotary_factor")
	c.set("rope_parameters", p)
	return p
}

// rope sets what config.json says of rotary position embedding.
func (c *Config) rope() {
	l := c.mainLayer()
	r := &l.Rope
	if r.Dim == 0 {
		if base := c.f.FloatOr("rope.freq_base", "", 0); base > 0 { // for nothing, and in the file
			c.set("rope_theta", base)
		}
		return
	}
	c.set("rope_theta", r.Base)
	if l.Latent.Rank == 0 && r.Dim != l.HeadDim {
		c.set("partial_rotary_factor", share(r.Dim, l.HeadDim))
	}
	c.set("rope_scaling", nil)
	if scaling := c.scaling(r); scaling != nil {
		c.set("rope_scaling", scaling)
	}
}

// share is the number that gives part of whole where it is multiplied and cut.
func share(part, whole int) float64 {
	x := float64(part) / float64(whole)
	for int(float64(whole)*x) < part {
		x = math.Nextafter(x, 2)
	}
	return x
}

// scaling is the value of rope_scaling, nil where there is none.
func (c *Config) scaling(r *Rope) map[string]any {
	factor := 1 / r.Scale
	if r.Scale != 1 {
		factor = c.f.FloatOr("rope.scaling.factor", "", factor)
	}
	switch {
	case r.Long != nil:
		return c.longrope(r)
	case r.Yarn != nil:
		scaling := map[string]any{"rope_type": "yarn", "factor": factor,
			"original_max_position_embeddings": r.Original}
		c.yarn(scaling, r)
		return scaling
	case r.Factors != nil && slices.Max(r.Factors) < still:
		return c.llama3(r)
	case r.Scale != 1:
		return map[string]any{"rope_type": "linear", "factor": factor}
	}
	return nil
}

// yarn adds what the file says of YaRN beside the factor.
func (c *Config) yarn(scaling map[string]any, r *Rope) {
	f := c.f
	fast, slow := f.FloatOr("rope.scaling.yarn_beta_fast", "", 0), f.FloatOr("rope.scaling.yarn_beta_slow", "", 0)
	if fast > 0 {
		scaling["beta_fast"] = float32(fast)
	}
	if slow > 0 {
		scaling["beta_slow"] = float32(slow)
	}
	usual := yarnMagnitude(1/r.Scale, 1)
	magnitude := usual * f.FloatOr("rope.scaling.attn_factor", "", 1)
	said := f.FloatOr("rope.scaling.yarn_attn_factor", "", 0)
	if said > 0 {
		magnitude = said
	}
	if said > 0 || math.Abs(magnitude-usual) > 1e-6 {
		scaling["attention_factor"] = float32(magnitude)
	}
	c.Spec.EditRope(func(r *Rope) { // as the class reads it; llama.cpp has these of few architectures
		if r.Yarn == nil || r.Offset > 0 {
			return
		}
		yarn := *r.Yarn
		if fast > 0 {
			yarn.BetaFast = fast
		}
		if slow > 0 {
			yarn.BetaSlow = slow
		}
		r.Yarn = &yarn
		if math.Abs(magnitude-usual) > 1e-6 {
			r.Magnitude = magnitude
		}
	})
}

// longrope is factors for contexts within and beyond the original one.
func (c *Config) longrope(r *Rope) map[string]any {
	c.set("original_max_position_embeddings", r.Original)
	scaling := map[string]any{"rope_type": "longrope", "long_factor": r.Long, "short_factor": r.Short}
	usual := longropeMagnitude(float64(c.Spec.Context)/float64(r.Original), float64(r.Original))
	if math.Abs(r.Magnitude-usual) > 1e-6*usual {
		scaling["attention_factor"] = float32(r.Magnitude)
	} else {
		c.Spec.EditRope(func(r *Rope) { r.Magnitude = usual })
	}
	return scaling
}

// llama3 finds what llama3Factors made the factors of.
func (c *Config) llama3(r *Rope) map[string]any {
	factor := float64(slices.Max(r.Factors))
	if factor == 1 && slices.Min(r.Factors) == 1 {
		c.Spec.EditRope(func(r *Rope) { r.Factors = nil })
		return nil
	}
	for _, original := range []float64{8192, 4096, 16384, 32768} {
		made := llama3Factors(r, factor, 1, 4, original)
		if slices.EqualFunc(made, r.Factors, func(a, b float32) bool { return floats.Near(float64(a), float64(b)) }) {
			return map[string]any{"rope_type": "llama3", "factor": float32(factor), "low_freq_factor": float32(1),
				"high_freq_factor": float32(4), "original_max_position_embeddings": int(original)}
		}
	}
	c.fail("the factors of RoPE in tensor %q are none that rope_scaling of a known kind makes: give rope_scaling",
		c.source.Tensor(RopeFactors).GGUF)
	return nil
}

// layerTypes names the layers by whether they have a window, and sets the window.
func (c *Config) layerTypes() (window int) {
	types := make([]string, c.Spec.Layers)
	for i := range types {
		types[i] = "full_attention"
		if l := c.Spec.At(i); l.Window > 0 {
			types[i], window = "sliding_attention", l.Window
		}
	}
	c.sets("layer_types", types, "sliding_window", nil)
	if window > 0 {
		c.set("sliding_window", window)
	}
	return window
}

// experts sets the names of a mixture's numbers: of how many there are, and of their inner width.
func (c *Config) experts(count, width string) *MoE {
	m := &c.layer(func(l *Layer) bool { return l.Experts.Count > 0 }).Experts
	c.sets(count, m.Count, "num_experts_per_tok", m.Used, width, m.FFN, "output_router_logits", false)
	return m
}

// Llama3Factors are the divisors of the angles of heads of dim values that rope_scaling "llama3" makes, with a base of
// rotary position embedding, a factor, and a context of 8192 tokens before it was extended.
func Llama3Factors(base float64, dim int, factor float64) []float32 {
	return llama3Factors(&Rope{Base: base, Dim: dim}, factor, 1, 4, 8192)
}

// Scale is what scores are multiplied with.
func (l *Layer) Scale() float32 {
	return cmp.Or(l.ScoreScale, float32(1/math.Sqrt(float64(l.HeadDim))))
}
