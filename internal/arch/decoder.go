package arch

// decoderSpec reads what decoders share, and gives what a llama computes of it: RMS norms before attention and before a
// gated feed-forward network with SiLU, heads that share keys and values, RoPE over halves of the head. Architectures
// change what differs.
func decoderSpec(f *Fields) Spec {
	var s Spec
	f.layers(&s)
	s.Width = f.Int("embedding_length", "hidden_size")
	ffn := f.IntsOr("feed_forward_length", "intermediate_size", s.Layers, 0)
	heads := f.Ints("attention.head_count", "num_attention_heads", s.Layers)
	keyHeads := f.IntsOr("attention.head_count_kv", "num_key_value_heads", s.Layers, -1)
	s.FFN, s.QueryHeads, s.KeyHeads = ffn.first(), heads.first(), keyHeads.first()
	s.HeadDim = f.IntOr("attention.key_length", "head_dim", s.Width/max(heads.most(), 1))
	if v := f.IntOr("attention.value_length", "", s.HeadDim); v != s.HeadDim {
		s.ValueDim = v
	}
	s.Vocab = f.IntOr("", "vocab_size", 0)
	s.Context = f.context()
	s.NormEps = float32(f.FloatOr("attention.layer_norm_rms_epsilon", "rms_norm_eps", 0))
	s.Tied = f.BoolOr("", "tie_word_embeddings", false)
	s.Rope = rope(f, s.HeadDim)
	if s.KeyHeads < 0 {
		s.KeyHeads = s.QueryHeads
	}
	if ffn.differ() || heads.differ() || keyHeads.differ() {
		s.PerLayer(func(i int, l *Layer) {
			l.FFN, l.QueryHeads, l.KeyHeads = ffn.at(i), heads.at(i), keyHeads.at(i)
			if l.KeyHeads < 0 {
				l.KeyHeads = l.QueryHeads
			}
		})
	}
	return s
}

// layers reads how many layers run.
func (f *Fields) layers(s *Spec) {
	if s.Layers = f.Int("block_count", "num_hidden_layers"); s.Layers > maxLayers {
		f.Fail("%s is %d, expected at most %d", f.Name("block_count", "num_hidden_layers"), s.Layers, maxLayers)
		s.Layers = 0
	}
	s.Drafts = f.IntOr("nextn_predict_layers", "", 0)
	if s.Drafts > 0 {
		s.Layers -= s.Drafts
	}
	if s.Layers < 0 {
		f.Fail("%s is %d, but %s %d", f.Name("nextn_predict_layers", ""), s.Drafts, f.Name("block_count", ""),
			s.Layers+s.Drafts)
		s.Layers = 0
	}
}

// activation refuses a config.json whose activation is another one than the architecture has.
func (f *Fields) activation(inHF string, names ...string) {
	act := f.Text("", inHF)
	for _, name := range names {
		if act == name || act == "" {
			return
		}
	}
	f.Fail("%s %q is %w, expected %s", inHF, act, ErrUnsupported, names[0])
}

// noExperts refuses mixtures of experts.
func (f *Fields) noExperts() {
	if experts := f.IntOr("expert_count", "", 0); experts > 0 {
		f.Fail("the model has %d experts a layer: mixtures of experts of this architecture are %w", experts, ErrUnsupported)
	}
}

// plainWindow reads the sliding window of config.json, which GGUF files of the architecture do not have: llama.cpp sees
// all tokens. Without a flag it is in all layers; otherwise use_sliding_window says whether there is one, in the layers
// of layer_types or from max_window_layers on.
func (f *Fields) plainWindow(s *Spec, flag bool) {
	window, from := f.IntOr("", "sliding_window", 0), 0
	if window == 0 || flag && !f.BoolOr("", "use_sliding_window", false) {
		return
	}
	kinds, byName := f.Texts("layer_types", s.Layers)
	if flag {
		from = f.IntOr("", "max_window_layers", 28)
	}
	s.PerLayer(func(i int, l *Layer) {
		if i >= from && !byName || byName && kinds[i] == "sliding_attention" {
			l.Window = window
		}
	})
}

// window reads the sliding window and which layers have it: those that the pattern says, or, where it is a number n or
// missing, those i with i mod n < n-1. It gives whether each layer has it.
func (f *Fields) window(s *Spec, missing int) (windowed []bool) {
	window := f.IntOr("attention.sliding_window", "sliding_window", 0)
	windowed = make([]bool, s.Layers)
	if window == 0 {
		return windowed
	}
	if list, ok := f.Flags("attention.sliding_window_pattern", "", s.Layers+s.Drafts); ok {
		copy(windowed, list)
	} else if types, ok := f.Texts("layer_types", s.Layers); ok {
		for i, kind := range types {
			windowed[i] = kind == "sliding_attention"
		}
	} else {
		n := f.IntOr("attention.sliding_window_pattern", "sliding_window_pattern", missing)
		for i := range windowed {
			windowed[i] = n == 0 || i%n < n-1
		}
	}
	s.PerLayer(func(i int, l *Layer) {
		if windowed[i] {
			l.Window = window
		}
	})
	return windowed
}

// layerTensor is a tensor of every layer.
func layerTensor(role Role, inGGUF, inHF string, shape ...Dim) Tensor {
	t := Tensor{
		Role: role, GGUF: "blk.%d." + inGGUF + weightSuffix, HF: "model.layers.%d." + inHF + weightSuffix,
		Shape: shape, Bias: role.Kind() == Linear || role.Kind() == Norm || role.Kind() == Experts,
	}
	if inHF == "" {
		t.HF = ""
	}
	return t
}

// layerParameter is a tensor of every layer that has whole names, without .weight added, and no bias.
func layerParameter(role Role, inGGUF, inHF string, shape ...Dim) Tensor {
	return Tensor{Role: role, GGUF: "blk.%d." + inGGUF, HF: "model.layers.%d." + inHF, Shape: shape}
}

// optional is a tensor that a file need not have.
func optional(t Tensor) Tensor {
	t.Optional = true
	return t
}

// transformed is a tensor that conversion from Hugging Face changes.
func transformed(t Tensor, by Transform) Tensor {
	t.Transform = by
	return t
}

// endTensor is a tensor outside of the layers.
func endTensor(role Role, inGGUF, inHF string, shape ...Dim) Tensor {
	t := Tensor{Role: role, GGUF: inGGUF + weightSuffix, HF: inHF + weightSuffix, Shape: shape, Bias: role.Kind() == Norm}
	if inHF == "" {
		t.HF = ""
	}
	return t
}

// decoderTensors are the tensors of a llama-like decoder, where query and key stand in GGUF files as transform has
// them; nil is as they are.
func decoderTensors(transform func(heads Dim) Transform) []Tensor {
	if transform == nil {
		transform = func(Dim) Transform { return nil }
	}
	fused := func(before ...Dim) *Within {
		return &Within{GGUF: "blk.%d.attn_qkv" + weightSuffix, Before: before, All: []Dim{DimQKV}}
	}
	query := layerTensor(Query, "attn_q", "self_attn.q_proj", DimQuery, DimWidth)
	key := layerTensor(Key, "attn_k", "self_attn.k_proj", DimKey, DimWidth)
	value := layerTensor(Value, "attn_v", "self_attn.v_proj", DimValue, DimWidth)
	query.Transform, key.Transform = transform(DimQueryHeads), transform(DimKeyHeads)
	query.Within, key.Within, value.Within = fused(), fused(DimQuery), fused(DimQuery, DimKey)
	return []Tensor{
		endTensor(TokenEmbedding, "token_embd", "model.embed_tokens", DimVocab, DimWidth),
		endTensor(OutputNorm, "output_norm", "model.norm", DimWidth),
		endTensor(OutputHead, "output", "lm_head", DimVocab, DimWidth),
		optional(endTensor(RopeFactors, "rope_freqs", "", DimRopePairs)),
		optional(endTensor(RopeLongFactors, "rope_factors_long", "", DimRopePairs)),
		optional(endTensor(RopeShortFactors, "rope_factors_short", "", DimRopePairs)),
		layerTensor(AttentionNorm, "attn_norm", "input_layernorm", DimWidth),
		query,
		key,
		value,
		layerTensor(AttentionOutput, "attn_output", "self_attn.o_proj", DimWidth, DimAttended),
		layerTensor(FFNNorm, "ffn_norm", "post_attention_layernorm", DimWidth),
		layerTensor(Gate, "ffn_gate", "mlp.gate_proj", DimFFN, DimWidth),
		layerTensor(Up, "ffn_up", "mlp.up_proj", DimFFN, DimWidth),
		layerTensor(Down, "ffn_down", "mlp.down_proj", DimWidth, DimFFN),
	}
}

// with is a table with tensors in place of those of their roles, or added.
func with(table []Tensor, tensors ...Tensor) []Tensor {
	roles := make([]Role, len(tensors))
	for i := range tensors {
		roles[i] = tensors[i].Role
	}
	return append(without(table, roles...), tensors...)
}

// without is a table without the tensors of some roles.
func without(table []Tensor, roles ...Role) []Tensor {
	var left []Tensor
next:
	for _, t := range table {
		for _, r := range roles {
			if t.Role == r {
				continue next
			}
		}
		left = append(left, t)
	}
	return left
}

// fusedQKV is queries, keys and values in one matrix, in both kinds of files.
func fusedQKV(inHF string, by Transform) Tensor {
	return transformed(layerTensor(QKV, "attn_qkv", inHF, DimQKV, DimWidth), by)
}

// fusedGateUp is gate and up-projection in one matrix, in both kinds of files.
func fusedGateUp() Tensor {
	return layerTensor(GateUp, "ffn_up", "mlp.gate_up_proj", DimGateUp, DimWidth)
}

// permuteHeads is a transform for decoderTensors.
func permuteHeads(heads Dim) Transform { return PermuteHeads{heads} }

// rotaryAngles are the endings of tensors with the angles of RoPE, which old files have and which are calculated.
var rotaryAngles = []string{".attn_rot_embd.weight", ".attn.rotary_emb.inv_freq"}
