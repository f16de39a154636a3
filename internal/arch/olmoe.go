package arch

func init() { Register(&olmoe) }

// olmoe is OLMoE: norms of all queries and all keys.
var olmoe = Arch{
	Name:       "olmoe",
	Conversion: Conversion{Keys: olmoeKeys},
	HF:         []HFModel{{Type: "olmoe", Class: "OlmoeForCausalLM", BiasFlags: [2]string{Attention: "attention_bias"}}},
	Spec: func(f *Fields) Spec {
		s := decoderSpec(f)
		f.activation("hidden_act", "silu")
		if clip := f.FloatOr("", "clip_qkv", 0); clip != 0 {
			f.Fail("clip_qkv %g is %w", clip, ErrUnsupported)
		}
		f.experts(&s, MoE{
			Count: f.IntOr("", "num_experts", 0), Used: f.IntOr("", "num_experts_per_tok", 0), FFN: s.FFN, Gating: Softmax,
			Norm: f.BoolOr("", "norm_topk_prob", false),
		})
		return s
	},
	Tensors: with(without(decoderTensors(nil), Gate, Up, Down), append(qwenExperts(),
		layerTensor(QueryNorm, "attn_q_norm", "self_attn.q_norm", DimQuery),
		layerTensor(KeyNorm, "attn_k_norm", "self_attn.k_norm", DimKey))...),
	Ignored: rotaryAngles,

	Config: func(c *Config) {
		c.experts("num_experts", "intermediate_size")
		c.sets("norm_topk_prob", false, "clip_qkv", nil)
	},
}

func olmoeKeys(k *Keys) {
	k.base()
	k.set("attention.layer_norm_rms_epsilon", float32(1e-5))
}
