package arch

// decoderSpec reads what all llama-like decoders share: RMS norms before attention and before a gated feed-forward
// network with SiLU, heads that share keys and values, RoPE over halves of the head.
func decoderSpec(f *Fields) Spec {
	var s Spec
	s.Layers = f.Int("block_count", "num_hidden_layers")
	s.Width = f.Int("embedding_length", "hidden_size")
	ffn, each := f.IntPerLayer("feed_forward_length", "intermediate_size", s.Layers)
	s.FFN = ffn
	s.QueryHeads = f.Int("attention.head_count", "num_attention_heads")
	s.KeyHeads = f.IntOr("attention.head_count_kv", "num_key_value_heads", s.QueryHeads)
	s.HeadDim = f.IntOr("attention.key_length", "head_dim", s.Width/max(s.QueryHeads, 1))
	if v := f.IntOr("attention.value_length", "", s.HeadDim); v != s.HeadDim {
		f.Fail("%s is %d, the key length %d: other than equal they are %w",
			f.Name("attention.value_length", ""), v, s.HeadDim, ErrUnsupported)
	}
	s.Vocab = f.IntOr("", "vocab_size", 0)
	s.Context = f.IntOr("context_length", "max_position_embeddings", 0)
	s.NormEps = float32(f.FloatOr("attention.layer_norm_rms_epsilon", "rms_norm_eps", 0))
	s.Tied = f.BoolOr("", "tie_word_embeddings", false)
	if experts := f.IntOr("expert_count", "", 0); experts > 0 {
		f.Fail("the model has %d experts a layer: mixtures of experts are %w", experts, ErrUnsupported)
	}
	if act := f.Text("", "hidden_act"); act != "" && act != "silu" {
		f.Fail("hidden_act %q is %w, expected silu", act, ErrUnsupported)
	}
	window := f.IntOr("", "sliding_window", 0)
	if window > 0 && window < s.Context && f.BoolOr("", "use_sliding_window", true) {
		f.Fail("sliding_window %d is %w", window, ErrUnsupported)
	}
	s.Rope = rope(f, s.HeadDim)
	for _, ffn := range each {
		l := s.Layer
		l.FFN = ffn
		s.Each = append(s.Each, l)
	}
	return s
}

// decoderTensors are the tensors of a llama-like decoder, where query and key stand in GGUF files as transform has
// them; nil is as they are.
func decoderTensors(transform func(heads Dim) Transform) []Tensor {
	if transform == nil {
		transform = func(Dim) Transform { return nil }
	}
	layer := func(role Role, inGGUF, inHF string, shape ...Dim) Tensor {
		return Tensor{
			Role: role, GGUF: "blk.%d." + inGGUF + weightSuffix, HF: "model.layers.%d." + inHF + weightSuffix,
			Shape: shape, Bias: role.Kind() == Linear,
		}
	}
	query := layer(Query, "attn_q", "self_attn.q_proj", DimQuery, DimWidth)
	key := layer(Key, "attn_k", "self_attn.k_proj", DimKey, DimWidth)
	query.Transform, key.Transform = transform(DimQueryHeads), transform(DimKeyHeads)
	return []Tensor{
		{Role: TokenEmbedding, GGUF: "token_embd.weight", HF: "model.embed_tokens.weight", Shape: []Dim{DimVocab, DimWidth}},
		{Role: OutputNorm, GGUF: "output_norm.weight", HF: "model.norm.weight", Shape: []Dim{DimWidth}},
		{Role: OutputHead, GGUF: "output.weight", HF: "lm_head.weight", Shape: []Dim{DimVocab, DimWidth}},
		{Role: RopeFactors, GGUF: "rope_freqs.weight", Shape: []Dim{DimRopePairs}, Optional: true},
		layer(AttentionNorm, "attn_norm", "input_layernorm", DimWidth),
		query,
		key,
		layer(Value, "attn_v", "self_attn.v_proj", DimKey, DimWidth),
		layer(AttentionOutput, "attn_output", "self_attn.o_proj", DimWidth, DimQuery),
		layer(FFNNorm, "ffn_norm", "post_attention_layernorm", DimWidth),
		layer(Gate, "ffn_gate", "mlp.gate_proj", DimFFN, DimWidth),
		layer(Up, "ffn_up", "mlp.up_proj", DimFFN, DimWidth),
		layer(Down, "ffn_down", "mlp.down_proj", DimWidth, DimFFN),
	}
}

// permuteHeads is a transform for decoderTensors.
func permuteHeads(heads Dim) Transform { return PermuteHeads{heads} }

// rotaryAngles are the endings of tensors with the angles of RoPE, which old files have and which are calculated.
var rotaryAngles = []string{".attn_rot_embd.weight", ".attn.rotary_emb.inv_freq"}
