package arch

func init() { Register(&olmo2) }

// olmo2 is OLMo 2 and 3: norms after attention and FFN, norms of all queries and all keys; OLMo 3 has a window in three
// of four layers, which are without YaRN.
var olmo2 = Arch{
	Name:       "olmo2",
	Conversion: Conversion{Keys: olmo2Keys},
	HF: []HFModel{
		{Type: "olmo2", Class: "Olmo2ForCausalLM", BiasFlags: [2]string{Attention: "attention_bias"}},
		{Type: "olmo3", Class: "Olmo3ForCausalLM", BiasFlags: [2]string{Attention: "attention_bias"}},
	},
	Spec: olmo2Spec,
	Tensors: with(without(decoderTensors(nil), AttentionNorm, FFNNorm),
		layerTensor(QueryNorm, "attn_q_norm", "self_attn.q_norm", DimQuery),
		layerTensor(KeyNorm, "attn_k_norm", "self_attn.k_norm", DimKey),
		layerTensor(AttentionPostNorm, "post_attention_norm", "post_attention_layernorm", DimWidth),
		layerTensor(FFNPostNorm, "post_ffw_norm", "post_feedforward_layernorm", DimWidth)),
	Ignored: rotaryAngles,

	Config: func(c *Config) {
		if c.layer(func(l *Layer) bool { return l.Window > 0 }).Window > 0 {
			c.class("olmo3")
			c.layerTypes()
		}
	},
}

func olmo2Spec(f *Fields) Spec {
	s := decoderSpec(f)
	f.activation("hidden_act", "silu")
	windowed := f.window(&s, 4)
	s.PerLayer(func(i int, l *Layer) {
		if windowed[i] {
			l.Rope = Rope{Dim: l.Rope.Dim, Base: l.Rope.Base, Scale: 1, Neox: true}
		}
	})
	return s
}

func olmo2Keys(k *Keys) {
	k.base()
	if k.has("sliding_window") {
		k.window()
		k.pattern()
	}
}
