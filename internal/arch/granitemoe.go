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
}
