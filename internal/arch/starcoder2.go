package arch

func init() { Register(&starcoder2) }

// starcoder2 is StarCoder 2: LayerNorms, biases and GELU in a block like llama's.
var starcoder2 = Arch{
	Name:       "starcoder2",
	Conversion: Conversion{Keys: baseKeys},
	HF:         []HFModel{{Type: "starcoder2", Class: "Starcoder2ForCausalLM"}},
	Spec: func(f *Fields) Spec {
		s := geluSpec(f, "hidden_act", "norm_epsilon", "gelu_pytorch_tanh")
		f.plainWindow(&s, false)
		if f.HF {
			s.Tied = f.BoolOr("", "tie_word_embeddings", true)
		}
		return s
	},
	Tensors: with(without(decoderTensors(nil), Gate),
		layerTensor(Up, "ffn_up", "mlp.c_fc", DimFFN, DimWidth),
		layerTensor(Down, "ffn_down", "mlp.c_proj", DimWidth, DimFFN)),

	Config: func(c *Config) {
		c.rename("layer_norm_eps", "norm_epsilon")
		c.sets("hidden_act", "gelu_pytorch_tanh", "sliding_window", nil, "use_bias", c.hasBias(Query, Up))
		c.assume("no sliding window: GGUF files of this architecture do not say one")
	},
}
