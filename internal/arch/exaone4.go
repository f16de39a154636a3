package arch

func init() { Register(&exaone4) }

// exaone4 is EXAONE 4: norms after attention and FFN, norms of the heads of queries and keys; in the large model three
// of four layers have a window, and only these have a position embedding.
var exaone4 = Arch{
	Name:       "exaone4",
	Conversion: Conversion{Keys: exaone4Keys},
	HF:         []HFModel{{Type: "exaone4", Class: "Exaone4ForCausalLM"}},
	Spec:       exaone4Spec,
	Tensors: with(without(decoderTensors(nil), AttentionNorm, FFNNorm), append(headNorms(),
		layerTensor(AttentionPostNorm, "post_attention_norm", "post_attention_layernorm", DimWidth),
		layerTensor(FFNPostNorm, "post_ffw_norm", "post_feedforward_layernorm", DimWidth))...),
	Ignored: rotaryAngles,

	Config: func(c *Config) {
		c.sets("head_dim", c.Spec.HeadDim, "sliding_window_pattern", nil)
		if c.layerTypes() > 0 {
			c.set("sliding_window_pattern", 4)
		}
	},
}

func exaone4Spec(f *Fields) Spec {
	s := decoderSpec(f)
	f.activation("hidden_act", "silu")
	if !f.HF && s.Layers != 64 { // llama.cpp knows the model with windows by its number of layers
		return s
	}
	windowed := f.window(&s, 4)
	s.PerLayer(func(i int, l *Layer) {
		if l.Window == 0 && anyOf(windowed) {
			l.Rope.Dim = 0
		}
	})
	return s
}

// anyOf reports whether one of them is true.
func anyOf(list []bool) bool {
	for _, v := range list {
		if v {
			return true
		}
	}
	return false
}

func exaone4Keys(k *Keys) {
	k.base()
	k.vocab()
	if k.has("sliding_window") {
		k.window()
		k.pattern()
	}
}
