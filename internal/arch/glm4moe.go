package arch

func init() { Register(&glm4moe) }

// glm4moe is GLM 4.5 and 4.6: sigmoid routing with a bias that only chooses, a shared expert, dense layers first.
var glm4moe = Arch{
	Name: "glm4moe",
	HF:   []HFModel{{Type: "glm4_moe", Class: "Glm4MoeForCausalLM", BiasFlags: [2]string{Attention: "attention_bias"}}},
	Spec: func(f *Fields) Spec {
		s := decoderSpec(f)
		f.activation("hidden_act", "silu")
		f.deepExperts(&s, Sigmoid, true)
		return s
	},
	Tensors: with(decoderTensors(nil), append(deepExpertTensors(),
		layerTensor(FFNNorm, "post_attention_norm", "post_attention_layernorm", DimWidth),
		optional(headNorms()[0]), optional(headNorms()[1]))...),
	Ignored: rotaryAngles,
}

// deepExperts reads the experts of DeepSeek and of architectures that follow it.
func (f *Fields) deepExperts(s *Spec, gating Gating, norm bool) {
	m := MoE{
		Count: f.IntOr("", "n_routed_experts", 0), Used: f.IntOr("", "num_experts_per_tok", 0),
		FFN:    f.IntOr("expert_feed_forward_length", "moe_intermediate_size", 0),
		Gating: Gating(f.IntOr("expert_gating_func", "", int(gating))),
		Norm:   f.BoolOr("expert_weights_norm", "norm_topk_prob", f.HF && norm),
		Scale:  float32(f.FloatOr("expert_weights_scale", "routed_scaling_factor", 0)),
		Groups: f.IntOr("expert_group_count", "n_group", 0), GroupsUsed: f.IntOr("expert_group_used_count", "topk_group", 0),
	}
	m.Shared = m.FFN * f.IntOr("expert_shared_count", "n_shared_experts", 0)
	f.experts(s, m)
}

// deepExpertTensors are those of the experts.
func deepExpertTensors() []Tensor {
	return append(append(qwenExperts(), sharedTensors("mlp.shared_experts")...), optional(Tensor{
		Role: SelectionBias, GGUF: "blk.%d.exp_probs_b.bias", HF: "model.layers.%d.mlp.gate.e_score_correction_bias",
		Shape: []Dim{DimExperts},
	}))
}
