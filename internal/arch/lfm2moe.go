package arch

func init() { Register(&lfm2moe) }

// lfm2moe has experts in place of the dense network in all but the first layers.
var lfm2moe = Arch{
	Name:       "lfm2moe",
	Conversion: Conversion{Keys: lfm2moeKeys},
	HF:         []HFModel{{Type: "lfm2_moe", Class: "Lfm2MoeForCausalLM"}},
	Spec: func(f *Fields) Spec {
		f.rename(map[string]string{"first_k_dense_replace": "num_dense_layers"})
		s := lfm2Spec(f)
		f.experts(&s, MoE{
			Count: f.IntOr("", "num_experts", 0), Used: f.IntOr("", "num_experts_per_tok", 0),
			FFN:    f.IntOr("expert_feed_forward_length", "moe_intermediate_size", 0),
			Gating: Gating(f.IntOr("expert_gating_func", "", int(Sigmoid))), Norm: f.BoolOr("", "norm_topk_prob", true),
		})
		return s
	},
	Tensors: with(lfm2Tensors(), append(expertTensors("feed_forward.gate", "feed_forward.experts.%e.w1",
		"feed_forward.experts.%e.w3", "feed_forward.experts.%e.w2"), selectionBias("feed_forward.expert_bias"))...),
	Ignored: rotaryAngles,

	Config: func(c *Config) {
		lfm2Config(c)
		c.unset("block_ff_dim", "block_auto_adjust_ff_dim")
		m := c.experts("num_experts", "moe_intermediate_size")
		c.sets("num_dense_layers", c.f.IntOr("leading_dense_block_count", "", 0), "use_expert_bias", c.has(SelectionBias),
			"norm_topk_prob", m.Norm, "routed_scaling_factor", 1.0)
	},
}

func lfm2moeKeys(k *Keys) {
	k.base()
	k.keyHeadsOfLayers()
	k.counts("expert_feed_forward_length", "moe_intermediate_size")
	k.counts("leading_dense_block_count", "num_dense_layers")
	k.count("expert_gating_func", int(Sigmoid))
	k.vocab()
	k.counts("shortconv.l_cache", "conv_L_cache")
}
