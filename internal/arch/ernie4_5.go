package arch

func init() { Register(&ernie) }

// ernie is ERNIE 4.5 without experts: llama's block, with RoPE over neighbours in both kinds of files.
var ernie = Arch{
	Name:       "ernie4_5",
	Conversion: Conversion{Keys: baseKeys},
	HF:         []HFModel{{Type: "ernie4_5", Class: "Ernie4_5ForCausalLM", BiasFlags: [2]string{FFN: "use_bias"}}},
	Vocabulary: Vocabulary{Sources: []VocabularySource{SentencePiece}, SpacePrefix: SpacePrefixLast},
	Spec:       ernieSpec,
	Tensors:    decoderTensors(nil),
	Ignored:    rotaryAngles,

	Config: func(c *Config) {
		c.sets("head_dim", c.Spec.HeadDim, "use_bias", c.hasBias(append(linearRoles(Attention), linearRoles(FFN)...)...))
	},
}

func ernieSpec(f *Fields) Spec {
	s := decoderSpec(f)
	f.activation("hidden_act", "silu")
	s.EditRope(func(r *Rope) { r.Neox = false })
	return s
}
