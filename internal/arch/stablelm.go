package arch

func init() { Register(&stablelm) }

// stablelm is StableLM: LayerNorms around llama's block; without a norm before the FFN it reads that of the attention.
var stablelm = Arch{
	Name:       "stablelm",
	Conversion: Conversion{Keys: stablelmKeys},
	HF:         []HFModel{{Type: "stablelm", Class: "StableLmForCausalLM"}},
	Spec: func(f *Fields) Spec {
		f.share = 0.25
		s := decoderSpec(f)
		f.activation("hidden_act", "silu")
		f.layerNorms(&s, "layer_norm_eps")
		parallel := f.BoolOr("use_parallel_residual", "use_parallel_residual", false)
		s.All(func(l *Layer) { l.Parallel = parallel })
		return s
	},
	Tensors: with(decoderTensors(nil),
		optional(layerTensor(QueryNorm, "attn_q_norm", "self_attn.q_layernorm.norms.%h", DimQueryHeads, DimHead)),
		optional(layerTensor(KeyNorm, "attn_k_norm", "self_attn.k_layernorm.norms.%h", DimKeyHeads, DimHead)),
		optional(layerTensor(FFNNorm, "ffn_norm", "post_attention_layernorm", DimWidth))),

	Config: func(c *Config) {
		c.sets("use_qkv_bias", c.hasBias(Query), "qk_layernorm", c.has(QueryNorm),
			"use_parallel_residual", c.Spec.Parallel, "partial_rotary_factor", share(c.Spec.Rope.Dim, c.Spec.HeadDim))
	},
}

func stablelmKeys(k *Keys) {
	k.context()
	k.width()
	k.layers()
	k.ffn()
	k.ropeDim()
	k.heads()
	k.keyHeads()
	k.parallel()
	k.layerNormEps()
	k.fileType()
}
