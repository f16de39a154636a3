package arch

func init() { Register(&falcon) }

// falcon is Falcon 7B to 180B: LayerNorm, attention and feed-forward network side by side, fused queries, keys and
// values.
var falcon = Arch{
	Name:       "falcon",
	Conversion: Conversion{Keys: falconKeys},
	HF:         []HFModel{{Type: "falcon", Class: "FalconForCausalLM"}},
	Spec:       falconSpec,
	Tensors:    falconTensors(),
	Quantize:   Quantize{OwnMixtures: true},

	Config: falconConfig,
}

func falconSpec(f *Fields) Spec {
	s := geluSpec(f, "activation", "layer_norm_epsilon", "gelu")
	f.refuse("alibi")
	if !f.BoolOr("", "parallel_attn", true) && !f.BoolOr("", "new_decoder_architecture", false) {
		f.Fail("parallel_attn false is %w", ErrUnsupported)
	}
	if f.HF {
		heads := s.QueryHeads
		switch {
		case f.BoolOr("", "new_decoder_architecture", false):
			heads = f.IntOr("", "num_kv_heads", heads)
		case f.BoolOr("", "multi_query", true):
			heads = 1
		}
		ffn := f.IntOr("", "ffn_hidden_size", 4*s.Width)
		s.All(func(l *Layer) { l.KeyHeads, l.FFN = heads, ffn })
		s.Tied = f.BoolOr("", "tie_word_embeddings", true)
	}
	s.All(func(l *Layer) { l.Parallel = true })
	return s
}

func falconTensors() []Tensor {
	layer := namesIn("transformer.h")
	norm := layer(FFNNorm, "attn_norm", "input_layernorm", DimWidth)
	norm.AlsoHF = layer(FFNNorm, "", "ln_mlp").HF
	return []Tensor{
		endTensor(TokenEmbedding, "token_embd", "transformer.word_embeddings", DimVocab, DimWidth),
		endTensor(OutputNorm, "output_norm", "transformer.ln_f", DimWidth),
		endTensor(OutputHead, "output", "lm_head", DimVocab, DimWidth),
		norm,
		optional(layer(AttentionNorm, "attn_norm_2", "ln_attn", DimWidth)),
		transformed(layer(QKV, "attn_qkv", "self_attention.query_key_value", DimQKV, DimWidth), SplitHeads{Groups: true}),
		layer(AttentionOutput, "attn_output", "self_attention.dense", DimWidth, DimAttended),
		layer(Up, "ffn_up", "mlp.dense_h_to_4h", DimFFN, DimWidth),
		layer(Down, "ffn_down", "mlp.dense_4h_to_h", DimWidth, DimFFN),
	}
}

func falconKeys(k *Keys) {
	k.count("context_length", 2048) // not in config.json
	k.set("tensor_data_layout", "jploski")
	k.sizes()
	k.layerNormEps()
	k.fileType()
}

// falconConfig has the new form where attention has a norm of its own, or several heads share keys.
func falconConfig(c *Config) {
	s := c.Spec
	norms := 1
	if c.has(AttentionNorm) {
		norms = 2
	}
	grouped := norms == 2 || s.KeyHeads > 1 && s.KeyHeads < s.QueryHeads
	c.rename("intermediate_size", "ffn_hidden_size", "num_key_value_heads", "num_kv_heads", "layer_norm_eps",
		"layer_norm_epsilon")
	c.unset("head_dim", "hidden_act")
	c.sets("activation", "gelu", "alibi", false, "bias", c.hasBias(QKV, Up), "parallel_attn", true,
		"new_decoder_architecture", grouped, "multi_query", s.KeyHeads == 1, "num_ln_in_parallel_attn", norms)
	c.exactGELU()
}
