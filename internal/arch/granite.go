package arch

func init() { Register(&granite) }

// granite is Granite 3 and the dense models of 4: llama with constants that scale embeddings, scores, what is added to
// the stream, and logits.
var granite = Arch{
	Name:       "granite",
	Conversion: Conversion{Keys: graniteKeys},
	HF: []HFModel{{Type: "granite", Class: "GraniteForCausalLM",
		BiasFlags: [2]string{Attention: "attention_bias", FFN: "mlp_bias"}}},
	Vocabulary: llamaVocabulary,
	Spec:       graniteSpec,
	Tensors:    decoderTensors(permuteHeads),
	Ignored:    rotaryAngles,

	Config: graniteConfig,
}

func graniteSpec(f *Fields) Spec {
	s := decoderSpec(f)
	f.activation("hidden_act", "silu")
	f.permutedRope(&s)
	f.graniteScales(&s)
	if !f.BoolOr("rope.scaling.finetuned", "", true) {
		s.EditRope(func(r *Rope) { r.Dim = 0 })
	}
	return s
}

// graniteConfig is that of the hybrid class where there is no position embedding, which the dense class always has.
func graniteConfig(c *Config) {
	c.graniteScales()
	if c.Spec.Rope.Dim > 0 {
		return
	}
	c.Arch = &graniteHybrid
	c.class("granitemoehybrid")
	graniteHybridConfig(c)
}
