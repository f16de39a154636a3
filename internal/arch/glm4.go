package arch

func init() { Register(&glm4) }

// glm4 is GLM 4 of 2025: norms before and after attention and FFN, RoPE over neighbours in a part of the head, a fused
// gate and up-projection.
var glm4 = Arch{
	Name:       "glm4",
	Conversion: Conversion{Keys: glm4Keys},
	HF:         []HFModel{{Type: "glm4", Class: "Glm4ForCausalLM", BiasFlags: [2]string{Attention: "attention_bias"}}},
	Vocabulary: glm4Vocabulary,
	Spec:       glm4Spec,
	Tensors: with(without(decoderTensors(nil), Gate, Up), fusedGateUp(),
		layerTensor(FFNNorm, "ffn_norm", "post_attention_layernorm", DimWidth),
		layerTensor(AttentionPostNorm, "post_attention_norm", "post_self_attn_layernorm", DimWidth),
		layerTensor(FFNPostNorm, "post_ffw_norm", "post_mlp_layernorm", DimWidth)),
	Ignored: rotaryAngles,

	Config: glm4Config,
}

func glm4Spec(f *Fields) Spec {
	f.share = 0.5
	s := decoderSpec(f)
	f.activation("hidden_act", "silu")
	s.EditRope(func(r *Rope) { r.Neox = false })
	return s
}

func glm4Keys(k *Keys) {
	k.base()
	k.ropeDim()
}

func glm4Config(c *Config) {
	c.sets("head_dim", c.Spec.HeadDim, "partial_rotary_factor", share(c.Spec.Rope.Dim, c.Spec.HeadDim))
	c.Biased = []Role{Query, Key, Value}
}
