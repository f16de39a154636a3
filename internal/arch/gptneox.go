package arch

func init() { Register(&gptneox) }

// gptneox is GPT-NeoX and Pythia: attention and FFN side by side, each with a norm of its own.
var gptneox = Arch{
	Name:       "gptneox",
	Conversion: Conversion{Keys: gptneoxKeys, NoFileType: true},
	HF:         []HFModel{{Type: "gpt_neox", Class: "GPTNeoXForCausalLM"}},
	Spec: func(f *Fields) Spec {
		f.share = 0.25
		s := geluSpec(f, "hidden_act", "layer_norm_eps", "gelu")
		parallel := f.BoolOr("use_parallel_residual", "use_parallel_residual", true)
		base := f.FloatOr("", "rotary_emb_base", s.Rope.Base)
		s.All(func(l *Layer) { l.Parallel, l.Rope.Base = parallel, base })
		return s
	},
	Tensors: gptneoxTensors(),

	Config: gptneoxConfig,
}

func gptneoxTensors() []Tensor {
	layer := namesIn("gpt_neox.layers")
	return []Tensor{
		endTensor(TokenEmbedding, "token_embd", "gpt_neox.embed_in", DimVocab, DimWidth),
		endTensor(OutputNorm, "output_norm", "gpt_neox.final_layer_norm", DimWidth),
		endTensor(OutputHead, "output", "embed_out", DimVocab, DimWidth),
		layer(AttentionNorm, "attn_norm", "input_layernorm", DimWidth),
		transformed(layer(QKV, "attn_qkv", "attention.query_key_value", DimQKV, DimWidth), SplitHeads{}),
		layer(AttentionOutput, "attn_output", "attention.dense", DimWidth, DimAttended),
		layer(FFNNorm, "ffn_norm", "post_attention_layernorm", DimWidth),
		layer(Up, "ffn_up", "mlp.dense_h_to_4h", DimFFN, DimWidth),
		layer(Down, "ffn_down", "mlp.dense_4h_to_h", DimWidth, DimFFN),
	}
}

func gptneoxKeys(k *Keys) {
	k.context()
	k.width()
	k.layers()
	k.ffn()
	k.ropeDim()
	k.heads()
	k.parallel()
	k.layerNormEps()
}

func gptneoxConfig(c *Config) {
	s := c.Spec
	c.unset("num_key_value_heads", "head_dim", "partial_rotary_factor")
	c.rename("rope_theta", "rotary_emb_base")
	c.sets("hidden_act", "gelu", "rotary_pct", share(s.Rope.Dim, s.HeadDim), "use_parallel_residual", s.Parallel,
		"attention_bias", c.hasBias(QKV))
	c.exactGELU()
}

// exactGELU notes that the class computes GELU by the error function, llama.cpp by tanh.
func (c *Config) exactGELU() {
	c.assume("the activation is GELU by the error function, as the class has it; llama.cpp computes the form of tanh")
}
