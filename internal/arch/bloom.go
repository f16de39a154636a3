package arch

func init() { Register(&bloom) }

// bloom is BLOOM: biases by distance in place of position embeddings, and a norm of the embedding.
var bloom = Arch{
	Name:       "bloom",
	Conversion: Conversion{Keys: bloomKeys},
	HF:         []HFModel{{Type: "bloom", Class: "BloomForCausalLM"}},
	Spec: func(f *Fields) Spec {
		if f.HF {
			f.rename(map[string]string{
				"num_hidden_layers": "n_layer", "num_attention_heads": "n_head", "max_position_embeddings": "seq_length",
				"hidden_size": "n_embed", "intermediate_size": "",
			})
		}
		s := geluSpec(f, "", "layer_norm_epsilon", "gelu_new")
		f.refuse("apply_residual_connection_post_layernorm")
		f.fourWidths(&s)
		if f.HF {
			s.Tied = f.BoolOr("", "tie_word_embeddings", true)
		}
		s.noRope()
		s.All(func(l *Layer) { l.ALiBi = 8 })
		return s
	},
	Tensors: bloomTensors(),

	Config: bloomConfig,
}

func bloomTensors() []Tensor {
	layer := namesIn("transformer.h")
	return []Tensor{
		endTensor(TokenEmbedding, "token_embd", "transformer.word_embeddings", DimVocab, DimWidth),
		endTensor(EmbeddingNorm, "token_embd_norm", "transformer.word_embeddings_layernorm", DimWidth),
		endTensor(OutputNorm, "output_norm", "transformer.ln_f", DimWidth),
		endTensor(OutputHead, "output", "lm_head", DimVocab, DimWidth),
		layer(AttentionNorm, "attn_norm", "input_layernorm", DimWidth),
		transformed(layer(QKV, "attn_qkv", "self_attention.query_key_value", DimQKV, DimWidth), SplitHeads{}),
		layer(AttentionOutput, "attn_output", "self_attention.dense", DimWidth, DimAttended),
		layer(FFNNorm, "ffn_norm", "post_attention_layernorm", DimWidth),
		layer(Up, "ffn_up", "mlp.dense_h_to_4h", DimFFN, DimWidth),
		layer(Down, "ffn_down", "mlp.dense_4h_to_h", DimWidth, DimFFN),
	}
}

func bloomKeys(k *Keys) {
	k.count("context_length", k.number("seq_length", k.Spec.Width))
	k.sizes()
	k.layerNormEps()
	k.fileType()
}

func bloomConfig(c *Config) {
	c.rename("num_hidden_layers", "n_layer", "num_attention_heads", "n_head", "max_position_embeddings", "seq_length",
		"layer_norm_eps", "layer_norm_epsilon")
	c.unset("num_key_value_heads", "head_dim", "hidden_act", "intermediate_size")
	c.set("apply_residual_connection_post_layernorm", false)
}
