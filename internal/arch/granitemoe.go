package arch

func init() { Register(&graniteMoE) }

// graniteMoE is the mixtures of Granite 3 and 4.
var graniteMoE = Arch{
	Name:       "granitemoe",
	Conversion: Conversion{Keys: graniteMoEKeys},
	HF: []HFModel{
		{Type: "granitemoe", Class: "GraniteMoeForCausalLM"},
		{Type: "granitemoeshared", Class: "GraniteMoeSharedForCausalLM"},
	},
	Vocabulary: llamaVocabulary,
	Spec: func(f *Fields) Spec {
		s := decoderSpec(f)
		f.activation("hidden_act", "silu")
		f.permutedRope(&s)
		f.graniteScales(&s)
		f.graniteExperts(&s)
		return s
	},
	Tensors: with(without(decoderTensors(permuteHeads), Gate, Up, Down), graniteExpertTensors()...),
	Ignored: rotaryAngles,

	Config: func(c *Config) {
		c.graniteScales()
		if m := c.experts("num_local_experts", "intermediate_size"); m.Shared > 0 {
			c.class("granitemoeshared")
			c.set("shared_intermediate_size", m.Shared)
		}
	},
}
