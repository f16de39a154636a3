package arch

// namesIn makes tensors of layers whose names in Hugging Face files begin so.
func namesIn(prefix string) func(role Role, inGGUF, inHF string, shape ...Dim) Tensor {
	return func(role Role, inGGUF, inHF string, shape ...Dim) Tensor {
		t := layerTensor(role, inGGUF, inHF, shape...)
		t.HF = prefix + ".%d." + inHF + weightSuffix
		return t
	}
}

// positions is a table of embeddings of positions.
func positions(inHF string) Tensor {
	return endTensor(PositionEmbedding, "position_embd", inHF, DimContext, DimWidth)
}

// noRope takes rotary position embedding away.
func (s *Spec) noRope() { s.EditRope(func(r *Rope) { *r = Rope{Base: 1, Scale: 1} }) }

// geluSpec reads a decoder of LayerNorms and a network of GELU.
func geluSpec(f *Fields, activation, eps string) Spec {
	s := decoderSpec(f)
	f.activation(activation, "gelu_pytorch_tanh", "gelu_new", "gelu_fast", "gelu")
	f.layerNorms(&s, eps)
	form := GELU
	if f.Text("", activation) == "gelu" { // which GGUF files do not tell from the form of the tanh
		form = GELUErf
	}
	s.All(func(l *Layer) { l.Activation = form })
	return s
}

func init() {
	Register(&gpt2)
	Register(&gptneox)
	Register(&phi2)
	Register(&starcoder2)
	Register(&stablelm)
	Register(&bloom)
	Register(&commandR)
	Register(&cohere2)
	Register(&nemotron)
}

// gpt2 is GPT-2: learned positions, LayerNorms, biases everywhere.
var gpt2 = Arch{
	Name: "gpt2",
	HF:   []HFModel{{Type: "gpt2", Class: "GPT2LMHeadModel"}},
	Spec: func(f *Fields) Spec {
		if f.HF {
			f.rename(map[string]string{
				"num_hidden_layers": "n_layer", "hidden_size": "n_embd", "num_attention_heads": "n_head",
				"max_position_embeddings": "n_positions", "intermediate_size": "n_inner",
			})
		}
		s := geluSpec(f, "activation_function", "layer_norm_epsilon")
		f.fourWidths(&s)
		if f.HF {
			s.Tied = f.BoolOr("", "tie_word_embeddings", true)
		}
		s.noRope()
		return s
	},
	Tensors: gpt2Tensors(),
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

// gptneox is GPT-NeoX and Pythia: attention and FFN side by side, each with a norm of its own.
var gptneox = Arch{
	Name: "gptneox",
	HF:   []HFModel{{Type: "gpt_neox", Class: "GPTNeoXForCausalLM"}},
	Spec: func(f *Fields) Spec {
		s := geluSpec(f, "hidden_act", "layer_norm_eps")
		parallel := f.BoolOr("use_parallel_residual", "use_parallel_residual", true)
		base := f.FloatOr("", "rotary_emb_base", s.Rope.Base)
		s.All(func(l *Layer) { l.Parallel, l.Rope.Base = parallel, base })
		return s
	},
	Tensors: gptneoxTensors(),
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

// phi2 is Phi 1, 1.5 and 2: one norm for attention and FFN side by side, and biases everywhere.
var phi2 = Arch{
	Name: "phi2",
	HF:   []HFModel{{Type: "phi", Class: "PhiForCausalLM"}},
	Spec: func(f *Fields) Spec {
		s := geluSpec(f, "hidden_act", "layer_norm_eps")
		s.All(func(l *Layer) { l.Parallel = true })
		return s
	},
	Tensors: with(without(decoderTensors(nil), FFNNorm, Gate),
		endTensor(OutputNorm, "output_norm", "model.final_layernorm", DimWidth),
		biased(OutputHead, "output", "lm_head"),
		layerTensor(AttentionOutput, "attn_output", "self_attn.dense", DimWidth, DimAttended),
		layerTensor(Up, "ffn_up", "mlp.fc1", DimFFN, DimWidth),
		layerTensor(Down, "ffn_down", "mlp.fc2", DimWidth, DimFFN)),
}

// starcoder2 is StarCoder 2: LayerNorms, biases and GELU in a block like llama's.
var starcoder2 = Arch{
	Name: "starcoder2",
	HF:   []HFModel{{Type: "starcoder2", Class: "Starcoder2ForCausalLM"}},
	Spec: func(f *Fields) Spec {
		s := geluSpec(f, "hidden_act", "norm_epsilon")
		f.plainWindow(&s, false)
		if f.HF {
			s.Tied = f.BoolOr("", "tie_word_embeddings", true)
		}
		return s
	},
	Tensors: with(without(decoderTensors(nil), Gate),
		layerTensor(Up, "ffn_up", "mlp.c_fc", DimFFN, DimWidth),
		layerTensor(Down, "ffn_down", "mlp.c_proj", DimWidth, DimFFN)),
}

// stablelm is StableLM: LayerNorms around llama's block; without a norm before the FFN it reads that of the attention.
var stablelm = Arch{
	Name: "stablelm",
	HF:   []HFModel{{Type: "stablelm", Class: "StableLmForCausalLM"}},
	Spec: func(f *Fields) Spec {
		s := decoderSpec(f)
		f.activation("hidden_act", "silu")
		f.layerNorms(&s, "layer_norm_eps")
		parallel := f.BoolOr("use_parallel_residual", "use_parallel_residual", false)
		s.All(func(l *Layer) { l.Parallel = parallel })
		return s
	},
	Tensors: with(decoderTensors(nil),
		optional(layerTensor(QueryNorm, "attn_q_norm", "self_attn.q_layernorm.norms.%h", DimQueryHeads, DimHead)),
		optional(layerTensor(KeyNorm, "attn_k_norm", "self_attn.k_layernorm.norms.%h", DimKeyHeads, DimHead)),
		optional(layerTensor(FFNNorm, "ffn_norm", "post_attention_layernorm", DimWidth))),
}

// bloom is BLOOM: biases by distance in place of position embeddings, and a norm of the embedding.
var bloom = Arch{
	Name: "bloom",
	HF:   []HFModel{{Type: "bloom", Class: "BloomForCausalLM"}},
	Spec: func(f *Fields) Spec {
		if f.HF {
			f.rename(map[string]string{
				"num_hidden_layers": "n_layer", "num_attention_heads": "n_head", "max_position_embeddings": "seq_length",
				"intermediate_size": "",
			})
		}
		s := geluSpec(f, "", "layer_norm_epsilon")
		f.fourWidths(&s)
		if f.HF {
			s.Tied = f.BoolOr("", "tie_word_embeddings", true)
		}
		s.noRope()
		s.All(func(l *Layer) { l.ALiBi = 8 })
		return s
	},
	Tensors: bloomTensors(),
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

// commandR is Command R: LayerNorms without biases, attention and FFN side by side, scaled logits.
var commandR = Arch{
	Name: "command-r",
	HF:   []HFModel{{Type: "cohere", Class: "CohereForCausalLM", BiasFlags: [2]string{Attention: "attention_bias"}}},
	Spec: cohereSpec,
	Tensors: with(without(decoderTensors(nil), FFNNorm, OutputHead),
		optional(layerTensor(QueryNorm, "attn_q_norm", "self_attn.q_norm", DimQueryHeads, DimHead)),
		optional(layerTensor(KeyNorm, "attn_k_norm", "self_attn.k_norm", DimKeyHeads, DimHead))),
}

func cohereSpec(f *Fields) Spec {
	s := decoderSpec(f)
	f.activation("hidden_act", "silu")
	f.layerNorms(&s, "layer_norm_eps")
	s.LogitScale = float32(f.FloatOr("logit_scale", "logit_scale", 0))
	s.Tied = true
	s.All(func(l *Layer) { l.Parallel, l.Rope.Neox = true, false })
	return s
}

// cohere2 is Command R7B and its kin: a window in three of four layers, and positions only there.
var cohere2 = Arch{
	Name: "cohere2",
	HF:   []HFModel{{Type: "cohere2", Class: "Cohere2ForCausalLM", BiasFlags: [2]string{Attention: "attention_bias"}}},
	Spec: func(f *Fields) Spec {
		s := cohereSpec(f)
		windowed := f.window(&s, 4)
		s.PerLayer(func(i int, l *Layer) {
			if !windowed[i] {
				l.Rope.Dim = 0
			}
		})
		return s
	},
	Tensors: without(decoderTensors(nil), FFNNorm, OutputHead),
}

// nemotron is Nemotron 4 and Minitron: LayerNorms stored less one, and a network of squared ReLUs.
var nemotron = Arch{
	Name: "nemotron",
	HF: []HFModel{{Type: "nemotron", Class: "NemotronForCausalLM",
		BiasFlags: [2]string{Attention: "attention_bias", FFN: "mlp_bias"}}},
	Spec: func(f *Fields) Spec {
		s := decoderSpec(f)
		f.activation("hidden_act", "relu2")
		f.layerNorms(&s, "norm_eps")
		s.All(func(l *Layer) { l.Activation = ReLU2 })
		return s
	},
	Tensors: addOnes(without(decoderTensors(nil), Gate)),
}

// fourWidths makes the network of a model of Hugging Face as wide as four streams where config.json does not say.
func (f *Fields) fourWidths(s *Spec) {
	if f.HF && s.FFN == 0 {
		s.All(func(l *Layer) { l.FFN = 4 * s.Width })
	}
}
