package arch

func init() { Register(&phi2) }

// phi2 is Phi 1, 1.5 and 2: one norm for attention and FFN side by side, and biases everywhere.
var phi2 = Arch{
	Name:       "phi2",
	Conversion: Conversion{Keys: phi2Keys},
	HF:         []HFModel{{Type: "phi", Class: "PhiForCausalLM"}},
	Spec: func(f *Fields) Spec {
		f.share = 0.5
		s := geluSpec(f, "hidden_act", "layer_norm_eps", "gelu_new")
		f.refuse("qk_layernorm")
		s.All(func(l *Layer) { l.Parallel = true })
		return s
	},
	Tensors: with(without(decoderTensors(nil), FFNNorm, Gate),
		endTensor(OutputNorm, "output_norm", "model.final_layernorm", DimWidth),
		biased(OutputHead, "output", "lm_head"),
		layerTensor(AttentionOutput, "attn_output", "self_attn.dense", DimWidth, DimAttended),
		layerTensor(Up, "ffn_up", "mlp.fc1", DimFFN, DimWidth),
		layerTensor(Down, "ffn_down", "mlp.fc2", DimWidth, DimFFN)),

	Config: func(c *Config) {
		c.sets("hidden_act", "gelu_new", "qk_layernorm", false,
			"partial_rotary_factor", share(c.Spec.Rope.Dim, c.Spec.HeadDim))
	},
}

func phi2Keys(k *Keys) {
	k.context()
	k.sizes()
	k.layerNormEps()
	k.ropeDim()
	k.fileType()
	k.noBOS()
}
