package archtest

import (
	"slices"
	"testing"

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

// Named is the case of a name.
func Named(t testing.TB, name string) *Model {
	t.Helper()
	all := All()
	i := slices.IndexFunc(all, func(m Model) bool { return m.Name == name })
	if i < 0 {
		t.Fatalf("there is no model %s", name)
	}
	return &all[i]
}

// All are the cases: every architecture, in its variants. Some have draft layers, which are not run.
func All() []Model {
	all := slices.Clone(cases)
	for _, m := range cases {
		switch m.Name {
		case "glm4moe", "deepseek2", "qwen35", "qwen35moe", "qwen3next":
			all = append(all, m.with(m.Name+"-draft", "block_count", m.Fields["block_count"].(int)+1,
				"nextn_predict_layers", 1))
		}
	}
	return all
}

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
	{Name: "exaone4-window", Arch: "exaone4",
		Fields: fields("block_count", 64, "embedding_length", 32, "feed_forward_length", 32, "attention.sliding_window", 8)},
	{Name: "ernie4_5", Arch: "ernie4_5", Fields: fields()},
	{Name: "hunyuan-dense", Arch: "hunyuan-dense", Tied: true, Fields: fields("rope.scaling.alpha", 50.0)},
	{Name: "olmo2", Arch: "olmo2", Fields: fields()},
	{Name: "olmo3", Arch: "olmo2", Fields: fields("block_count", 4, "attention.sliding_window", 8, "rope.scaling.type",
		"yarn", "rope.scaling.factor", 4.0, "rope.scaling.original_context_length", 64)},
	{Name: "chatglm", Arch: "chatglm", Biases: attention, Fields: fields("rope.dimension_count", 8)},
	{Name: "chatglm-fused", Arch: "chatglm", Fused: attention, Biases: attention,
		Fields: fields("rope.dimension_count", 8)},
	{Name: "glm4", Arch: "glm4", Biases: attention, Fields: fields("rope.dimension_count", 8)},

	{Name: "gemma", Arch: "gemma", Tied: true, Fields: fields("attention.key_length", 20, "attention.value_length", 20)},
	{Name: "gemma2", Arch: "gemma2", Tied: true,
		Fields: fields("attention.sliding_window", 8, "attn_logit_softcapping", 2.0, "final_logit_softcapping", 4.0)},
	{Name: "gemma3", Arch: "gemma3", Tied: true, Fields: fields("block_count", 7, "attention.sliding_window", 8,
		"rope.freq_base", 1e6, "rope.scaling.type", "linear", "rope.scaling.factor", 8.0)},
	{Name: "gemma3-no-window", Arch: "gemma3", Seed: 2, Tied: true, Fields: fields("final_logit_softcapping", 3.0)},
	{Name: "gemma4", Arch: "gemma4", Tied: true, Has: []arch.Role{arch.Value, arch.LayerScale, arch.RopeFactors},
		Fields: fields(
			"block_count", 6, "attention.sliding_window", 8, "attention.sliding_window_pattern",
			[]bool{true, true, true, false, true, false},
			"embedding_length_per_layer_input", 16, "attention.key_length", 32, "attention.value_length", 32,
			"attention.key_length_swa", 16, "attention.value_length_swa", 16, "attention.shared_kv_layers", 2,
			"rope.freq_base", 1e6, "rope.dimension_count", 32, "rope.dimension_count_swa", 16, "attention.head_count_kv", 1,
			"feed_forward_length", []int{96, 96, 96, 96, 192, 192})},
	{Name: "gemma4-experts", Arch: "gemma4", Tied: true,
		Has:   []arch.Role{arch.LayerScale, arch.RopeFactors, arch.ExpertScale},
		Fused: []arch.Role{arch.ExpertGate, arch.ExpertUp}, Fields: fields(
			"block_count", 3, "attention.sliding_window", 8, "attention.sliding_window_pattern", []bool{true, true, false},
			"embedding_length_per_layer_input", 0, "attention.key_length", 32, "attention.value_length", 32,
			"attention.key_length_swa", 16, "attention.value_length_swa", 16, "rope.freq_base", 1e6, "rope.dimension_count", 32,
			"rope.dimension_count_swa", 16, "attention.head_count_kv", []int{2, 2, 1}, "expert_count", 6, "expert_used_count", 2,
			"expert_feed_forward_length", 24)},
	{Name: "qwen2moe", Arch: "qwen2moe", Biases: attention, Fields: fields("expert_count", 6, "expert_used_count", 2,
		"expert_feed_forward_length", 24, "expert_shared_feed_forward_length", 40)},
	{Name: "qwen3moe", Arch: "qwen3moe",
		Fields: fields("expert_count", 8, "expert_used_count", 3, "expert_feed_forward_length", 32,
			"attention.key_length", 32, "attention.value_length", 32)},
	{Name: "olmoe", Arch: "olmoe", Fields: fields("attention.head_count_kv", 4, "expert_count", 5, "expert_used_count",
		3)},
	{Name: "granitemoe", Arch: "granitemoe", Tied: true,
		Fields: fields("expert_count", 5, "expert_used_count", 2, "embedding_scale", 3.0,
			"residual_scale", 0.4, "attention.scale", 0.2, "logit_scale", 2.0, "feed_forward_length", 24)},
	{Name: "granitemoe-shared", Arch: "granitemoe",
		Fields: fields("expert_count", 5, "expert_used_count", 2, "logit_scale", 2.0,
			"expert_shared_feed_forward_length", 40)},
	{Name: "gpt-oss", Arch: "gpt-oss",
		Biases: append([]arch.Role{arch.AttentionOutput, arch.Router, arch.ExpertGate, arch.ExpertUp,
			arch.ExpertDown}, attention...), Fields: fields("attention.sliding_window", 8, "attention.key_length", 32,
			"attention.value_length", 32, "expert_count", 4, "expert_used_count", 2, "expert_feed_forward_length", 96,
			"rope.scaling.type", "yarn", "rope.scaling.factor", 32.0, "rope.scaling.original_context_length", 64)},
	{Name: "glm4moe", Arch: "glm4moe", Biases: attention,
		Has: []arch.Role{arch.QueryNorm, arch.KeyNorm, arch.SelectionBias},
		Fields: fields("block_count", 3, "leading_dense_block_count", 1, "expert_count", 6, "expert_used_count", 2,
			"expert_feed_forward_length", 24, "expert_shared_count", 1, "rope.dimension_count", 8, "expert_gating_func", 2,
			"expert_weights_norm", true, "expert_weights_scale", 1.5)},
	{Name: "deepseek2", Arch: "deepseek2",
		Has: []arch.Role{arch.QueryDown, arch.QueryDownNorm, arch.QueryUp, arch.KeyUp, arch.ValueUp,
			arch.SelectionBias}, Fields: fields("block_count", 3, "leading_dense_block_count", 1, "attention.head_count_kv", 1,
			"attention.q_lora_rank", 24, "attention.kv_lora_rank", 32, "attention.key_length", 40, "attention.value_length", 32,
			"attention.key_length_mla", 24, "attention.value_length_mla", 16, "rope.dimension_count", 8, "expert_count", 8,
			"expert_used_count", 2, "expert_feed_forward_length", 24, "expert_shared_count", 2, "expert_group_count", 4,
			"expert_group_used_count", 2, "expert_gating_func", 2, "expert_weights_norm", true, "expert_weights_scale", 2.5,
			"rope.scaling.type", "yarn", "rope.scaling.factor", 40.0, "rope.scaling.original_context_length", 64,
			"rope.scaling.yarn_log_multiplier", 0.1)},
	{Name: "lfm2", Arch: "lfm2", Tied: true, Fields: fields("block_count", 4, "attention.head_count_kv", []int{0, 0, 2, 0},
		"shortconv.l_cache", 3)},
	{Name: "lfm2moe", Arch: "lfm2moe", Tied: true, Has: []arch.Role{arch.SelectionBias}, Fields: fields("block_count", 4,
		"attention.head_count_kv", []int{0, 0, 2, 0}, "shortconv.l_cache", 3, "leading_dense_block_count", 2, "expert_count",
		4,
		"expert_used_count", 2, "expert_feed_forward_length", 24, "expert_gating_func", 2)},
	{Name: "granitehybrid", Arch: "granitehybrid", Tied: true,
		Fields: fields("block_count", 3, "attention.head_count_kv", []int{0, 2, 0},
			"ssm.conv_kernel", 4, "ssm.inner_size", 128, "ssm.state_size", 16, "ssm.time_step_rank", 8, "ssm.group_count", 1,
			"logit_scale", 2.0, "rope.scaling.finetuned", false, "embedding_scale", 3.0, "residual_scale", 0.4,
			"attention.scale", 0.2)},
	{Name: "granitehybrid-experts", Arch: "granitehybrid", Tied: true,
		Fields: fields("block_count", 3, "attention.head_count_kv",
			[]int{0, 2, 0}, "ssm.conv_kernel", 4, "ssm.inner_size", 128, "ssm.state_size", 16, "ssm.time_step_rank", 8,
			"ssm.group_count", 2, "logit_scale", 2.0, "expert_count", 4, "expert_used_count", 2, "feed_forward_length", 24,
			"expert_shared_feed_forward_length", 40)},
	{Name: "nemotron_h", Arch: "nemotron_h",
		Fields: fields("block_count", 5, "attention.head_count_kv", []int{0, 0, 2, 0, 0},
			"feed_forward_length", []int{0, 96, 0, 0, 96}, "ssm.conv_kernel", 4, "ssm.inner_size", 128, "ssm.state_size", 16,
			"ssm.time_step_rank", 8, "ssm.group_count", 2, "attention.layer_norm_epsilon", 1e-5)},
	{Name: "mamba2", Arch: "mamba2",
		Fields: fields("attention.head_count", 0, "attention.head_count_kv", nil, "feed_forward_length", 0,
			"ssm.conv_kernel", 4, "ssm.inner_size", 128, "ssm.state_size", 16, "ssm.time_step_rank", 8, "ssm.group_count", 2)},
	{Name: "qwen35", Arch: "qwen35", Seed: 4, Tied: true,
		Fields: fields("block_count", 4, "attention.key_length", 32, "attention.value_length", 32,
			"rope.dimension_count", 8, "rope.dimension_sections", []int{2, 1, 1, 0}, "ssm.conv_kernel", 4, "ssm.inner_size", 96,
			"ssm.state_size", 16, "ssm.time_step_rank", 6, "ssm.group_count", 2, "full_attention_interval", 4)},
	{Name: "qwen35moe", Arch: "qwen35moe", Fused: []arch.Role{arch.ExpertGate, arch.ExpertUp},
		Fields: fields("block_count", 4,
			"attention.key_length", 32, "attention.value_length", 32, "rope.dimension_count", 8, "rope.dimension_sections",
			[]int{2, 1, 1, 0}, "ssm.conv_kernel", 4, "ssm.inner_size", 96, "ssm.state_size", 16, "ssm.time_step_rank", 6,
			"ssm.group_count", 2, "full_attention_interval", 4, "expert_count", 4, "expert_used_count", 2,
			"expert_feed_forward_length", 24, "expert_shared_feed_forward_length", 40)},
	{Name: "qwen3next", Arch: "qwen3next", Seed: 1,
		Fields: fields("block_count", 4, "attention.key_length", 32, "attention.value_length", 32,
			"rope.dimension_count", 8, "ssm.conv_kernel", 4, "ssm.inner_size", 64, "ssm.state_size", 16, "ssm.time_step_rank", 4,
			"ssm.group_count", 2, "expert_count", 4, "expert_used_count", 2, "expert_feed_forward_length", 24,
			"expert_shared_feed_forward_length", 40)},
	{Name: "gpt2", Arch: "gpt2", Biases: geluBiases, Fields: layerNorm("attention.head_count_kv", nil)},
	{Name: "gptneox", Arch: "gptneox", Biases: geluBiases,
		Fields: layerNorm("attention.head_count_kv", nil, "rope.dimension_count", 4, "use_parallel_residual", true)},
	{Name: "gptneox-sequential", Arch: "gptneox", Biases: geluBiases, Fields: layerNorm("attention.head_count_kv", nil,
		"rope.dimension_count", 4, "use_parallel_residual", false)},
	{Name: "phi2", Arch: "phi2", Biases: append(append([]arch.Role{arch.OutputHead}, geluBiases...), attention...),
		Fields: layerNorm("attention.head_count_kv", nil, "rope.dimension_count", 8)},
	{Name: "starcoder2", Arch: "starcoder2", Tied: true,
		Biases: append(append([]arch.Role{}, geluBiases...), attention...), Fields: layerNorm()},
	{Name: "stablelm", Arch: "stablelm", Has: []arch.Role{arch.FFNNorm},
		Biases: append([]arch.Role{arch.OutputNorm, arch.AttentionNorm,
			arch.FFNNorm}, attention...), Fields: layerNorm("rope.dimension_count", 4, "use_parallel_residual", false)},
	{Name: "stablelm-parallel", Arch: "stablelm", Has: []arch.Role{arch.QueryNorm, arch.KeyNorm},
		Biases: []arch.Role{arch.OutputNorm,
			arch.AttentionNorm}, Fields: layerNorm("rope.dimension_count", 4, "use_parallel_residual", true)},
	{Name: "falcon", Arch: "falcon", Biases: []arch.Role{arch.OutputNorm, arch.FFNNorm},
		Fields: layerNorm("attention.head_count_kv", 1)},
	{Name: "falcon-40b", Arch: "falcon", Has: []arch.Role{arch.AttentionNorm},
		Biases: []arch.Role{arch.OutputNorm, arch.FFNNorm, arch.AttentionNorm}, Tied: true, Fields: layerNorm()},
	{Name: "bloom", Arch: "bloom", Biases: append([]arch.Role{arch.EmbeddingNorm}, geluBiases...), Fields: layerNorm(
		"attention.head_count_kv", nil, "attention.head_count", 6, "embedding_length", 96)},
	{Name: "command-r", Arch: "command-r", Tied: true, Fields: layerNorm("logit_scale", 0.5)},
	{Name: "cohere2", Arch: "cohere2", Tied: true,
		Fields: layerNorm("block_count", 4, "logit_scale", 0.5, "attention.sliding_window", 8)},
	{Name: "nemotron", Arch: "nemotron", Biases: []arch.Role{arch.OutputNorm, arch.AttentionNorm, arch.FFNNorm},
		Fields: layerNorm(
			"rope.dimension_count", 8)},
	{Name: "olmo", Arch: "olmo", Fields: layerNorm("attention.clamp_kqv", 1.5)},
}

// layerNorm are the metadata of an architecture of LayerNorms.
func layerNorm(pairs ...any) map[string]any {
	return fields(append([]any{"attention.layer_norm_rms_epsilon", nil, "attention.layer_norm_epsilon", 1e-5},
		pairs...)...)
}

// geluBiases are biases of norms, and of maps that no gate is beside.
var geluBiases = []arch.Role{
	arch.OutputNorm, arch.AttentionNorm, arch.FFNNorm, arch.QKV, arch.AttentionOutput, arch.Up, arch.Down,
}
