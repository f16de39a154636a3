package archtest

import (
	"github.com/peftconv/peftconv/internal/arch"
)

// fields are the metadata that all cases have in common, with others added or, where nil, taken away.
func fields(pairs ...any) map[string]any {
	m := map[string]any{
		"context_length": 256, "embedding_length": 64, "block_count": 2, "feed_forward_length": 96,
		"attention.head_count": 4, "attention.head_count_kv": 2, "attention.layer_norm_rms_epsilon": 1e-5,
	}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == nil {
			delete(m, pairs[i].(string))
		} else {
			m[pairs[i].(string)] = pairs[i+1]
		}
	}
	return m
}

// All are the cases: every architecture, in its variants.
func All() []Model { return append([]Model(nil), cases...) }

var attention = []arch.Role{arch.Query, arch.Key, arch.Value}

var cases = []Model{
	{Name: "llama", Arch: "llama", Fields: fields()},
	{Name: "llama-head-size", Arch: "llama", Tied: true,
		Fields: fields("attention.key_length", 24, "attention.value_length", 24)},
	{Name: "llama-fused", Arch: "llama", Fused: attention, Fields: fields()},
	{Name: "llama-biases", Arch: "llama",
		Biases: append([]arch.Role{arch.AttentionOutput, arch.Gate, arch.Up, arch.Down}, attention...), Fields: fields()},
	{Name: "llama-linear", Arch: "llama", Fields: fields("rope.scaling.type", "linear", "rope.scaling.factor", 2.5)},
	{Name: "llama-yarn", Arch: "llama", Fields: fields("rope.scaling.type", "yarn", "rope.scaling.factor", 4.0,
		"rope.scaling.original_context_length", 64, "rope.freq_base", 500.0)},
	{Name: "llama-factors", Arch: "llama", Has: []arch.Role{arch.RopeFactors}, Fields: fields()},
	{Name: "llama-longrope-short", Arch: "llama", Has: []arch.Role{arch.RopeLongFactors, arch.RopeShortFactors},
		Fields: fields("rope.scaling.type", "longrope", "rope.scaling.original_context_length", 1024,
			"rope.scaling.attn_factor", 1.2)},
	{Name: "llama-longrope-long", Arch: "llama", Has: []arch.Role{arch.RopeLongFactors, arch.RopeShortFactors},
		Fields: fields("rope.scaling.type", "longrope", "rope.scaling.original_context_length", 16,
			"rope.scaling.attn_factor", 1.2)},
	{Name: "mixtral", Arch: "llama", Fields: fields("expert_count", 4, "expert_used_count", 2)},
	{Name: "mistral3", Arch: "mistral3", Fields: fields("attention.temperature_scale", 0.1, "rope.scaling.type", "yarn",
		"rope.scaling.factor", 16.0, "rope.scaling.original_context_length", 16, "rope.scaling.yarn_log_multiplier", 1.0,
		"rope.scaling.yarn_beta_fast", 16.0, "rope.scaling.yarn_beta_slow", 2.0)},
	{Name: "smollm3", Arch: "smollm3", Tied: true, Fields: fields("block_count", 4)},
	{Name: "qwen2", Arch: "qwen2", Biases: attention, Fields: fields()},
	{Name: "qwen2-head-bias", Arch: "qwen2", Biases: append([]arch.Role{arch.OutputHead}, attention...), Fields: fields()},
	{Name: "qwen3", Arch: "qwen3", Tied: true, Fields: fields("attention.key_length", 32, "attention.value_length", 32)},
	{Name: "phi3", Arch: "phi3", Fields: fields()},
	{Name: "phi3-partial-short", Arch: "phi3", Has: []arch.Role{arch.RopeLongFactors, arch.RopeShortFactors},
		Fields: fields("rope.dimension_count", 12, "rope.scaling.original_context_length", 1024, "rope.scaling.attn_factor",
			1.1)},
	{Name: "granite", Arch: "granite", Tied: true,
		Fields: fields("embedding_scale", 3.0, "residual_scale", 0.4, "attention.scale", 0.2, "logit_scale", 2.0)},
	{Name: "granite-no-rope", Arch: "granite", Fields: fields("logit_scale", 2.0, "rope.scaling.finetuned", false)},
	{Name: "seed_oss", Arch: "seed_oss", Biases: attention,
		Fields: fields("attention.key_length", 32, "attention.value_length", 32)},
	{Name: "exaone4", Arch: "exaone4", Has: []arch.Role{arch.RopeFactors}, Fields: fields()},
	{Name: "ernie4_5", Arch: "ernie4_5", Fields: fields()},
	{Name: "hunyuan-dense", Arch: "hunyuan-dense", Tied: true, Fields: fields("rope.scaling.alpha", 50.0)},
	{Name: "olmo2", Arch: "olmo2", Fields: fields()},
	{Name: "olmo3", Arch: "olmo2", Fields: fields("block_count", 4, "attention.sliding_window", 8, "rope.scaling.type",
		"yarn", "rope.scaling.factor", 4.0, "rope.scaling.original_context_length", 64)},
	{Name: "glm4", Arch: "glm4", Biases: attention, Fields: fields("rope.dimension_count", 8)},
}
