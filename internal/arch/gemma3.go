package arch

func init() { Register(&gemma3) }

// gemma3 is Gemma 3: norms of the heads of queries and keys, and a window and a RoPE of their own in five of six
// layers.
var gemma3 = Arch{
	Name:       "gemma3",
	Conversion: Conversion{Keys: gemma3Keys, CutsVocab: true},
	HF: []HFModel{
		{Type: "gemma3_text", Class: "Gemma3ForCausalLM"},
		{Type: "gemma3", Class: "Gemma3ForConditionalGeneration", Text: "text_config", In: "language_model.model."},
	},
	Vocabulary: gemma3Vocabulary,
	Spec:       gemma3Spec,
	Tensors:    addOnes(with(sandwich(decoderTensors(nil)), headNorms()...)),
	Ignored:    rotaryAngles,

	Config: gemma3Config,
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

// gemma3Keys are those that most architectures have, with what the class has where config.json is silent.
func gemma3Keys(k *Keys) {
	k.base()
	k.count("context_length", k.number("max_position_embeddings", 131072))
	k.count("attention.head_count", k.number("num_attention_heads", 8))
	k.set("attention.layer_norm_rms_epsilon", float32(k.f.FloatOr("", "rms_norm_eps", 1e-6)))
	k.headDims(k.number("head_dim", 256), k.number("head_dim", 256))
	if _, name := k.found(baseNames); name == "" {
		k.set("rope.freq_base", float32(1e6))
	}
	k.float("final_logit_softcapping", "final_logit_softcapping")
	if k.number("sliding_window_pattern", 0) != 1 {
		k.window()
	}
	k.count("attention.head_count_kv", k.number("num_key_value_heads", 4))
}

func gemma3Config(c *Config) {
	gemmaConfig(c)
	c.gemmaCaps()
	c.sets("use_bidirectional_attention", false, "rope_local_base_freq", 10000.0)
	if l := c.layer(func(l *Layer) bool { return l.Window > 0 }); l.Window > 0 {
		c.sets("rope_local_base_freq", l.Rope.Base, "sliding_window_pattern", 6)
	}
}
