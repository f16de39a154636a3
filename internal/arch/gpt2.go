package arch

func init() { Register(&gpt2) }

// gpt2 is GPT-2: learned positions, LayerNorms, biases everywhere.
var gpt2 = Arch{
	Name:       "gpt2",
	Conversion: Conversion{Keys: gpt2Keys},
	HF:         []HFModel{{Type: "gpt2", Class: "GPT2LMHeadModel"}},
	Spec: func(f *Fields) Spec {
		if f.HF {
			f.rename(map[string]string{
				"num_hidden_layers": "n_layer", "hidden_size": "n_embd", "num_attention_heads": "n_head",
				"max_position_embeddings": "n_positions", "intermediate_size": "n_inner",
			})
		}
		s := geluSpec(f, "activation_function", "layer_norm_epsilon", "gelu_new")
		f.refuse("scale_attn_by_inverse_layer_idx", "add_cross_attention")
		f.fourWidths(&s)
		if f.HF {
			s.Tied = f.BoolOr("", "tie_word_embeddings", true)
		}
		s.noRope()
		return s
	},
	Tensors: gpt2Tensors(),

	Config: gpt2Config,
}

func gpt2Tensors() []Tensor {
	layer := namesIn("transformer.h")
	turned := func(t Tensor) Tensor { return transformed(t, Transpose{}) }
	return []Tensor{
		endTensor(TokenEmbedding, "token_embd", "transformer.wte", DimVocab, DimWidth),
		positions("transformer.wpe"),
		endTensor(OutputNorm, "output_norm", "transformer.ln_f", DimWidth),
		endTensor(OutputHead, "output", "lm_head", DimVocab, DimWidth),
		layer(AttentionNorm, "attn_norm", "ln_1", DimWidth),
		turned(layer(QKV, "attn_qkv", "attn.c_attn", DimQKV, DimWidth)),
		turned(layer(AttentionOutput, "attn_output", "attn.c_proj", DimWidth, DimAttended)),
		layer(FFNNorm, "ffn_norm", "ln_2", DimWidth),
		turned(layer(Up, "ffn_up", "mlp.c_fc", DimFFN, DimWidth)),
		turned(layer(Down, "ffn_down", "mlp.c_proj", DimWidth, DimFFN)),
	}
}

func gpt2Keys(k *Keys) {
	k.layers()
	k.context()
	k.width()
	k.ffn()
	k.heads()
	k.layerNormEps()
	k.fileType()
}

func gpt2Config(c *Config) {
	c.rename("num_hidden_layers", "n_layer", "hidden_size", "n_embd", "num_attention_heads", "n_head",
		"max_position_embeddings", "n_positions", "intermediate_size", "n_inner", "layer_norm_eps", "layer_norm_epsilon")
	c.unset("num_key_value_heads", "head_dim", "hidden_act")
	c.sets("n_ctx", c.Spec.Context, "activation_function", "gelu_new")
	if c.Spec.FFN == 4*c.Spec.Width {
		c.set("n_inner", nil)
	}
}
