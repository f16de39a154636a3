package arch

func init() { Register(&gemma2) }

// gemma2 is Gemma 2: norms before and after attention and FFN, capped scores and logits, and a window in every other
// layer.
var gemma2 = Arch{
	Name:       "gemma2",
	Conversion: Conversion{Keys: gemma2Keys, DropsHead: true},
	HF:         []HFModel{{Type: "gemma2", Class: "Gemma2ForCausalLM"}},
	Vocabulary: gemma2Vocabulary,
	Spec:       gemma2Spec,
	Tensors:    addOnes(sandwich(without(decoderTensors(nil), OutputHead))),
	Ignored:    append([]string{"output.weight"}, rotaryAngles...),

	Config: func(c *Config) {
		gemmaConfig(c)
		c.gemmaCaps()
	},
}

func gemma2Spec(f *Fields) Spec {
	s := gemmaSpec(f)
	f.gemmaScores(&s, 46)
	s.LogitCap = float32(f.FloatOr("final_logit_softcapping", "final_logit_softcapping", 30))
	limit := float32(f.FloatOr("attn_logit_softcapping", "attn_logit_softcapping", 50))
	s.All(func(l *Layer) { l.ScoreCap = limit })
	f.window(&s, 2)
	return s
}

func gemma2Keys(k *Keys) {
	gemmaKeys(k)
	k.float("attn_logit_softcapping", "attn_logit_softcapping")
	k.float("final_logit_softcapping", "final_logit_softcapping")
	k.window()
}
