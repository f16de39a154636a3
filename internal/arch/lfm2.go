package arch

func init() { Register(&lfm2) }

// lfm2 is LFM2: short convolutions in most layers, attention with norms of the heads of queries and keys in others.
var lfm2 = Arch{
	Name:       "lfm2",
	Conversion: Conversion{Keys: lfm2Keys},
	HF:         []HFModel{{Type: "lfm2", Class: "Lfm2ForCausalLM"}},
	Spec:       lfm2Spec,
	Tensors:    lfm2Tensors(),
	Ignored:    rotaryAngles,

	Config: lfm2Config,
}

func lfm2Tensors() []Tensor {
	return with(decoderTensors(nil),
		endTensor(OutputNorm, "token_embd_norm", "model.embedding_norm", DimWidth),
		layerTensor(AttentionNorm, "attn_norm", "operator_norm", DimWidth),
		layerTensor(QueryNorm, "attn_q_norm", "self_attn.q_layernorm", DimHead),
		layerTensor(KeyNorm, "attn_k_norm", "self_attn.k_layernorm", DimHead),
		layerTensor(AttentionOutput, "attn_output", "self_attn.out_proj", DimWidth, DimAttended),
		layerTensor(ConvIn, "shortconv.in_proj", "conv.in_proj", DimConvIn, DimWidth),
		layerTensor(ConvKernel, "shortconv.conv", "conv.conv", DimWidth, DimTaps),
		layerTensor(ConvOut, "shortconv.out_proj", "conv.out_proj", DimWidth, DimWidth),
		layerTensor(FFNNorm, "ffn_norm", "ffn_norm", DimWidth),
		layerTensor(Gate, "ffn_gate", "feed_forward.w1", DimFFN, DimWidth),
		layerTensor(Up, "ffn_up", "feed_forward.w3", DimFFN, DimWidth),
		layerTensor(Down, "ffn_down", "feed_forward.w2", DimWidth, DimFFN))
}

func lfm2Spec(f *Fields) Spec {
	s := decoderSpec(f)
	if f.HF {
		s.NormEps = float32(f.FloatOr("", "norm_eps", float64(s.NormEps)))
		s.Tied = f.BoolOr("", "tie_embedding", f.BoolOr("", "tie_word_embeddings", true))
		ffn := f.IntOr("", "block_ff_dim", s.FFN)
		if f.BoolOr("", "block_auto_adjust_ff_dim", false) {
			ffn = 2 * ffn / 3
			ffn = int(f.FloatOr("", "block_ffn_dim_multiplier", 1) * float64(ffn))
			unit := max(f.IntOr("", "block_multiple_of", 1), 1)
			ffn = (ffn + unit - 1) / unit * unit
		}
		s.All(func(l *Layer) { l.FFN = ffn })
	}
	taps := f.IntOr("shortconv.l_cache", "conv_L_cache", 0)
	kinds, byName := f.Texts("layer_types", s.Layers)
	s.PerLayer(func(i int, l *Layer) {
		if l.KeyHeads == 0 || byName && kinds[i] == "conv" {
			l.Mixer, l.Taps = ShortConv, taps
		}
	})
	if f.IntOr("attention.sliding_window", "", 0) > 0 {
		f.window(&s, 0)
	}
	return s
}

func lfm2Keys(k *Keys) {
	k.base()
	k.keyHeadsOfLayers()
	k.vocab()
	k.counts("shortconv.l_cache", "conv_L_cache")
	k.set("attention.layer_norm_rms_epsilon", k.Spec.NormEps)
	k.ffn()
}

func lfm2Config(c *Config) {
	s := c.Spec
	types := make([]string, s.Layers)
	for i := range types {
		types[i] = "full_attention"
		if s.At(i).Mixer == ShortConv {
			types[i] = "conv"
		}
	}
	c.rename("rms_norm_eps", "norm_eps")
	c.sets("layer_types", types, "conv_bias", false, "block_auto_adjust_ff_dim", false,
		"block_ff_dim", c.Values["intermediate_size"],
		"conv_L_cache", c.layer(func(l *Layer) bool { return l.Mixer == ShortConv }).Taps)
}
