package arch

func init() { Register(&mamba2) }

// mamba2 is Mamba-2 alone: a mixer in each layer, and no feed-forward network.
var mamba2 = Arch{
	Name:       "mamba2",
	Conversion: Conversion{Keys: mamba2Keys},
	HF:         []HFModel{{Type: "mamba2", Class: "Mamba2ForCausalLM", In: "backbone."}},
	Vocabulary: mamba2Vocabulary,
	Spec:       mamba2Spec,
	Tensors: append(mambaTensors("mixer."),
		endTensor(TokenEmbedding, "token_embd", "model.embeddings", DimVocab, DimWidth),
		endTensor(OutputNorm, "output_norm", "model.norm_f", DimWidth),
		endTensor(OutputHead, "output", "lm_head", DimVocab, DimWidth),
		layerTensor(AttentionNorm, "attn_norm", "norm", DimWidth)),

	Config: func(c *Config) {
		m := &c.Spec.Mamba
		c.unset("intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings")
		c.rename("rms_norm_eps", "layer_norm_epsilon")
		c.sets("num_heads", m.Heads, "head_dim", m.HeadDim, "n_groups", m.Groups, "state_size", m.State,
			"conv_kernel", m.Taps, "expand", c.expand(m), "use_conv_bias", true, "use_bias", false, "rms_norm", true,
			"chunk_size", 256, "max_position_embeddings", c.Spec.Context)
	},
}

func mamba2Spec(f *Fields) Spec {
	s := decoderSpec(f)
	f.activation("hidden_act", "silu")
	if f.HF {
		s.NormEps = float32(f.FloatOr("", "layer_norm_epsilon", 1e-5))
	}
	m := f.mamba("num_heads", "head_dim", "n_groups", "state_size", "conv_kernel")
	s.All(func(l *Layer) { l.Mixer, l.Mamba, l.FFN, l.Rope = Mamba2, m, 0, Rope{} })
	return s
}

func mamba2Keys(k *Keys) {
	m := &k.Spec.Mamba
	k.count("context_length", 1<<20)
	k.width()
	k.count("feed_forward_length", 0)
	k.count("attention.head_count", 0)
	k.layers()
	k.count("ssm.conv_kernel", m.Taps)
	k.count("ssm.inner_size", m.Inner())
	k.count("ssm.state_size", m.State)
	k.count("ssm.time_step_rank", m.Heads)
	k.count("ssm.group_count", m.Groups)
	k.rmsEps()
	k.fileType()
}
