package arch

func init() { Register(&commandR) }

// commandR is Command R: LayerNorms without biases, attention and FFN side by side, scaled logits.
var commandR = Arch{
	Name:       "command-r",
	Conversion: Conversion{Keys: commandRKeys},
	HF:         []HFModel{{Type: "cohere", Class: "CohereForCausalLM", BiasFlags: [2]string{Attention: "attention_bias"}}},
	Spec:       cohereSpec,
	Tensors: with(without(decoderTensors(nil), FFNNorm, OutputHead),
		optional(layerTensor(QueryNorm, "attn_q_norm", "self_attn.q_norm", DimQueryHeads, DimHead)),
		optional(layerTensor(KeyNorm, "attn_k_norm", "self_attn.k_norm", DimKeyHeads, DimHead))),

	Config: cohereConfig,
}

func cohereSpec(f *Fields) Spec {
	s := decoderSpec(f)
	f.activation("hidden_act", "silu")
	f.layerNorms(&s, "layer_norm_eps")
	missing := 0.0
	if f.HF {
		missing = 0.0625
	}
	s.LogitScale = float32(f.FloatOr("logit_scale", "logit_scale", missing))
	s.Tied = true
	s.All(func(l *Layer) { l.Parallel, l.Rope.Neox = true, false })
	return s
}

func commandRKeys(k *Keys) {
	k.base()
	k.counts("context_length", "model_max_length", "max_position_embeddings")
	k.float("logit_scale", "logit_scale")
	k.set("rope.scaling.type", "none")
}

func cohereConfig(c *Config) {
	c.sets("logit_scale", c.f.FloatOr("logit_scale", "", 1), "use_qk_norm", c.has(QueryNorm))
}
