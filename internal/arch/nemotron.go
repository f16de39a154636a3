package arch

func init() { Register(&nemotron) }

// nemotron is Nemotron 4 and Minitron: LayerNorms stored less one, and a network of squared ReLUs.
var nemotron = Arch{
	Name: "nemotron",
	HF: []HFModel{{Type: "nemotron", Class: "NemotronForCausalLM",
		BiasFlags: [2]string{Attention: "attention_bias", FFN: "mlp_bias"}}},
	Vocabulary: nemotronVocabulary,
	Spec: func(f *Fields) Spec {
		f.share = 0.5
		s := decoderSpec(f)
		f.activation("hidden_act", "relu2")
		f.layerNorms(&s, "norm_eps")
		s.All(func(l *Layer) { l.Activation = ReLU2 })
		return s
	},
	Tensors: addOnes(without(decoderTensors(nil), Gate)),
}
