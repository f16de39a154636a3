package arch

func init() { Register(&qwen2moe) }

// qwen2moe is the mixtures of Qwen 1.5 and 2: a shared expert with a weight of its own, and weights of the chosen
// experts that do not add up to 1.
var qwen2moe = Arch{
	Name:       "qwen2moe",
	Conversion: Conversion{Keys: qwenMoEKeys},
	HF:         []HFModel{{Type: "qwen2_moe", Class: "Qwen2MoeForCausalLM"}},
	Spec:       func(f *Fields) Spec { return qwenMoESpec(f, false) },
	Tensors: with(without(decoderTensors(nil), Gate, Up, Down),
		append(append(qwenExperts(), sharedTensors("mlp.shared_expert")...),
			layerTensor(SharedRouter, "ffn_gate_inp_shexp", "mlp.shared_expert_gate", DimOne, DimWidth))...),
	Ignored: rotaryAngles,

	Config: func(c *Config) { qwenMoEConfig(c, false) },
}

func qwenMoESpec(f *Fields, norm bool) Spec {
	s := decoderSpec(f)
	f.activation("hidden_act", "silu")
	f.plainWindow(&s, true)
	used := f.IntOr("expert_used_count", "num_experts_per_tok", 0)
	m := MoE{
		Count: f.IntOr("", "num_experts", 0), Used: used, Gating: Softmax, Norm: f.BoolOr("", "norm_topk_prob", norm),
		FFN: f.IntOr("expert_feed_forward_length", "moe_intermediate_size", s.FFN/max(used, 1)),
	}
	if !norm {
		m.Shared = f.IntOr("expert_shared_feed_forward_length", "shared_expert_intermediate_size", s.FFN)
	}
	f.experts(&s, m)
	return s
}

// qwenMoEKeys are those that most architectures have, and the widths of experts.
func qwenMoEKeys(k *Keys) {
	k.base()
	k.expertWidths()
}

func qwenMoEConfig(c *Config, norm bool) {
	c.plainWindows()
	m := c.experts("num_experts", "moe_intermediate_size")
	c.sets("norm_topk_prob", norm, "decoder_sparse_step", 1, "mlp_only_layers", []int{})
	if norm {
		c.set("head_dim", c.Spec.HeadDim)
	}
	if m.Shared > 0 {
		c.set("shared_expert_intermediate_size", m.Shared)
	}
	c.assume("norm_topk_prob %t, which llama.cpp has as a constant", norm)
}
