package arch

func init() { Register(&seedOSS) }

// seedOSS is Seed-OSS: llama with biases on q, k and v, and another name for the norm before the FFN.
var seedOSS = Arch{
	Name:       "seed_oss",
	Conversion: Conversion{Keys: baseKeys},
	HF: []HFModel{
		{Type: "seed_oss", Class: "SeedOssForCausalLM", BiasFlags: [2]string{Attention: "attention_bias"}},
	},
	Spec: qwen2Spec,
	Tensors: with(decoderTensors(nil),
		layerTensor(FFNNorm, "post_attention_norm", "post_attention_layernorm", DimWidth)),
	Ignored: rotaryAngles,

	Config: func(c *Config) {
		c.sets("head_dim", c.Spec.HeadDim, "attention_bias", c.hasBias(Query, Key, Value),
			"attention_out_bias", c.hasBias(AttentionOutput), "mlp_bias", c.hasBias(Gate, Up, Down))
		c.Biased = []Role{Query, Key, Value}
	},
}
