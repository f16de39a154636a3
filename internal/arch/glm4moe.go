package arch

func init() { Register(&glm4moe) }

// glm4moe is GLM 4.5 and 4.6: sigmoid routing with a bias that only chooses, a shared expert, dense layers first.
var glm4moe = Arch{
	Name:       "glm4moe",
	Conversion: Conversion{Keys: glm4moeKeys, Drafts: &nextTokens},
	HF: []HFModel{
		{Type: "glm4_moe", Class: "Glm4MoeForCausalLM", BiasFlags: [2]string{Attention: "attention_bias"}},
	},
	Vocabulary: glm4moeVocabulary,
	Spec: func(f *Fields) Spec {
		f.share = 0.5
		s := decoderSpec(f)
		f.activation("hidden_act", "silu")
		f.deepExperts(&s, Sigmoid, true)
		return s
	},
	Tensors: with(decoderTensors(nil), append(deepExpertTensors(),
		layerTensor(FFNNorm, "post_attention_norm", "post_attention_layernorm", DimWidth),
		optional(headNorms()[0]), optional(headNorms()[1]))...),
	Ignored: rotaryAngles,

	Config: func(c *Config) {
		glm4Config(c)
		m := c.deepExperts()
		c.sets("n_group", max(m.Groups, 1), "topk_group", max(m.GroupsUsed, 1), "use_qk_norm", c.has(QueryNorm),
			"num_nextn_predict_layers", c.Spec.Drafts)
	},
}

func glm4moeKeys(k *Keys) {
	k.base()
	k.ropeDim()
	k.counts("expert_count", "n_routed_experts")
	k.counts("expert_feed_forward_length", "moe_intermediate_size")
	k.counts("expert_shared_count", "n_shared_experts")
	k.counts("leading_dense_block_count", "first_k_dense_replace")
	k.count("expert_gating_func", int(Sigmoid))
	k.float("expert_weights_scale", "routed_scaling_factor")
	if k.has("norm_topk_prob") {
		k.set("expert_weights_norm", k.f.BoolOr("", "norm_topk_prob", false))
	}
	k.drafts()
}
