package arch

func init() { Register(&nemotron) }

// nemotron is Nemotron 4 and Minitron: LayerNorms stored less one, and a network of squared ReLUs.
var nemotron = Arch{
	Name:       "nemotron",
	Conversion: Conversion{Keys: nemotronKeys},
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

	Config: func(c *Config) {
		c.rename("layer_norm_eps", "norm_eps")
		c.sets("hidden_act", "relu2", "partial_rotary_factor", share(c.Spec.Rope.Dim, c.Spec.HeadDim))
	},
}

func nemotronKeys(k *Keys) {
	k.base()
	k.vocab()
	k.set("attention.layer_norm_epsilon", k.Spec.NormEps)
	k.ropeDim()
	if factor := k.f.FloatOr("", "rope_scaling.factor", 0); factor != 0 {
		k.set("rope.scaling.type", "linear")
		k.set("rope.scaling.factor", float32(factor))
		return
	}
	k.set("rope.scaling.type", "none")
}
