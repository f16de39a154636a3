package arch

func init() { Register(&gemma3) }

// gemma3 is Gemma 3: norms of the heads of queries and keys, and a window and a RoPE of their own in five of six
// layers.
var gemma3 = Arch{
	Name: "gemma3",
	HF: []HFModel{
		{Type: "gemma3_text", Class: "Gemma3ForCausalLM"},
		{Type: "gemma3", Class: "Gemma3ForConditionalGeneration", Text: "text_config", In: "language_model.model."},
	},
	Vocabulary: gemma3Vocabulary,
	Spec:       gemma3Spec,
	Tensors:    addOnes(with(sandwich(decoderTensors(nil)), headNorms()...)),
	Ignored:    rotaryAngles,
}

func gemma3Spec(f *Fields) Spec {
	s := gemmaSpec(f)
	s.Tied = f.BoolOr("", "tie_word_embeddings", true)
	f.gemmaScores(&s, 62)
	s.LogitCap = float32(f.FloatOr("final_logit_softcapping", "final_logit_softcapping", 0))
	if windowed := f.window(&s, 6); anyOf(windowed) {
		base := f.FloatOr("rope.freq_base_swa", "rope_local_base_freq",
			f.FloatOr("", "rope_parameters.sliding_attention.rope_theta", 10000))
		s.PerLayer(func(i int, l *Layer) {
			if windowed[i] {
				l.Rope = Rope{Dim: l.Rope.Dim, Base: base, Scale: 1, Neox: true}
			}
		})
	}
	return s
}
