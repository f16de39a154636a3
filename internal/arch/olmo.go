package arch

func init() { Register(&olmo) }

// olmo is OLMo 1: norms without weights, and clamped queries, keys and values.
var olmo = Arch{
	Name:       "olmo",
	Conversion: Conversion{Keys: olmoKeys},
	HF:         []HFModel{{Type: "olmo", Class: "OlmoForCausalLM", BiasFlags: [2]string{Attention: "attention_bias"}}},
	Spec: func(f *Fields) Spec {
		s := decoderSpec(f)
		f.activation("hidden_act", "silu")
		f.permutedRope(&s)
		f.layerNorms(&s, "")
		if f.HF {
			s.NormEps = 1e-5
		}
		s.BareNorms = true
		limit := float32(f.FloatOr("attention.clamp_kqv", "clip_qkv", 0))
		s.All(func(l *Layer) { l.Clamp = limit })
		return s
	},
	Tensors:  without(decoderTensors(permuteHeads), AttentionNorm, FFNNorm, OutputNorm),
	Quantize: Quantize{LargeLayers: 80},

	Config: func(c *Config) {
		c.unset("layer_norm_eps")
		c.set("clip_qkv", nil)
		if c.Spec.Clamp > 0 {
			c.set("clip_qkv", c.Spec.Clamp)
		}
	},
}

func olmoKeys(k *Keys) {
	k.base()
	k.layerNormEps()
	k.float("attention.clamp_kqv", "clip_qkv")
}
