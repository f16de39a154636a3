package arch

func init() { Register(&cohere2) }

// cohere2 is Command R7B and its kin: a window in three of four layers, and positions only there.
var cohere2 = Arch{
	Name:       "cohere2",
	Conversion: Conversion{Keys: cohere2Keys, ZeroBiases: true},
	HF: []HFModel{
		{Type: "cohere2", Class: "Cohere2ForCausalLM", BiasFlags: [2]string{Attention: "attention_bias"}},
	},
	Spec: func(f *Fields) Spec {
		s := cohereSpec(f)
		windowed := f.window(&s, 4)
		s.PerLayer(func(i int, l *Layer) {
			if !windowed[i] {
				l.Rope.Dim = 0
			}
		})
		return s
	},
	Tensors: without(decoderTensors(nil), FFNNorm, OutputHead),

	Config: func(c *Config) {
		cohereConfig(c)
		c.unset("use_qk_norm")
		c.layerTypes()
		c.set("sliding_window_pattern", 4)
	},
}

func cohere2Keys(k *Keys) {
	k.base()
	k.float("logit_scale", "logit_scale")
	k.window()
	k.vocab()
	k.count("rope.dimension_count", int(k.f.FloatOr("", "rotary_pct", 1)*float64(k.headDim())))
	k.set("rope.scaling.type", "none")
}
