package arch

func init() { Register(&gemma4) }

// gemma4 is Gemma 4: heads of two sizes, later layers that read the keys and values of earlier ones, values without a
// projection of their own, a second embedding of the tokens for each layer, experts beside a dense network.
var gemma4 = Arch{
	Name:       "gemma4",
	Conversion: Conversion{Keys: gemma4Keys, CutsVocab: true, KeepsFused: true},
	HF: []HFModel{
		{Type: "gemma4", Class: "Gemma4ForConditionalGeneration", Text: "text_config", In: "model.language_model."},
		{Type: "gemma4_text", Class: "Gemma4ForCausalLM"},
	},
	Vocabulary: gemma4Vocabulary,
	Spec:       gemma4Spec,
	Tensors:    gemma4Tensors(),
	Ignored:    rotaryAngles,

	Config: gemma4Config,
}

func gemma4Tensors() []Tensor {
	table := with(sandwich(decoderTensors(nil)), append(headNorms(),
		endTensor(LayerEmbedding, "per_layer_token_embd", "model.embed_tokens_per_layer", DimVocab, DimLayerEmbeddings),
		endTensor(LayerEmbeddingMap, "per_layer_model_proj", "model.per_layer_model_projection", DimLayerEmbeddings,
			DimWidth),
		endTensor(LayerEmbeddingNorm, "per_layer_proj_norm", "model.per_layer_projection_norm", DimLayerEmbedding),
		layerTensor(LayerEmbeddingGate, "inp_gate", "per_layer_input_gate", DimLayerEmbedding, DimWidth),
		layerTensor(LayerEmbeddingUp, "proj", "per_layer_projection", DimWidth, DimLayerEmbedding),
		layerTensor(LayerEmbeddingPost, "post_norm", "post_per_layer_input_norm", DimWidth),
		optional(layerParameter(LayerScale, "layer_output_scale.weight", "layer_scalar", DimOne)),
		layerParameter(RouterScale, "ffn_gate_inp.scale", "router.scale", DimWidth),
		optional(layerParameter(ExpertScale, "ffn_down_exps.scale", "router.per_expert_scale", DimExperts)),
		layerTensor(FFNPostNorm1, "post_ffw_norm_1", "post_feedforward_layernorm_1", DimWidth),
		layerTensor(ExpertsNorm, "pre_ffw_norm_2", "pre_feedforward_layernorm_2", DimWidth),
		layerTensor(ExpertsPostNorm, "post_ffw_norm_2", "post_feedforward_layernorm_2", DimWidth))...)
	for i := range table {
		if table[i].Role == Value {
			table[i].Optional = true
		}
	}
	return append(table, fusedExperts("router.proj", "experts.gate_up_proj", "experts.down_proj")...)
}

func gemma4Spec(f *Fields) Spec {
	f.plainRope = true
	s := gemmaSpec(f)
	s.Tied = f.BoolOr("", "tie_word_embeddings", true)
	s.LogitCap = float32(f.FloatOr("final_logit_softcapping", "final_logit_softcapping", 30))
	s.LayerEmbedding = f.IntOr("embedding_length_per_layer_input", "hidden_size_per_layer_input", 0)
	windowed := f.window(&s, 6)
	narrow, wide := s.HeadDim, f.IntOr("", "global_head_dim", s.HeadDim)
	if !f.HF {
		narrow = f.IntOr("attention.key_length_swa", "", s.HeadDim)
	}
	narrowBase := f.FloatOr("rope.freq_base_swa", "rope_parameters.sliding_attention.rope_theta", 10000)
	wideBase := f.FloatOr("rope.freq_base", "rope_parameters.full_attention.rope_theta", 1e6)
	share := f.FloatOr("", "rope_parameters.full_attention.partial_rotary_factor", 1)
	wideHeads := f.IntOr("", "num_global_key_value_heads", 0)
	shared := s.Layers - f.IntOr("attention.shared_kv_layers", "num_kv_shared_layers", 0)
	double := f.BoolOr("", "use_double_wide_mlp", false)
	s.PerLayer(func(i int, l *Layer) {
		l.ScoreScale, l.NormValues, l.ValueDim = 1, true, 0
		l.HeadDim = narrow
		l.Rope = Rope{Dim: f.IntOr("rope.dimension_count_swa", "", narrow), Base: narrowBase, Scale: 1, Neox: true,
			Plain: true}
		if !windowed[i] {
			l.HeadDim = wide
			l.Rope = Rope{Dim: wide, Base: wideBase, Scale: 1, Neox: true}
			if f.HF {
				l.Rope.Factors = stillFactors(wide, share)
			}
			if wideHeads > 0 && f.BoolOr("", "attention_k_eq_v", false) {
				l.KeyHeads = wideHeads
			}
		}
		if i >= shared {
			l.KeysFrom = shared // the last layer before them that is alike
			if windowed[i] {
				l.KeysFrom = shared - 1
			}
			if double {
				l.FFN *= 2
			}
		}
	})
	if f.BoolOr("", "enable_moe_block", true) {
		f.experts(&s, MoE{
			Count: f.IntOr("", "num_experts", 0), Used: f.IntOr("", "top_k_experts", 0),
			FFN:    f.IntOr("expert_feed_forward_length", "moe_intermediate_size", 0),
			Gating: Softmax, Norm: true, Beside: true,
		})
	}
	return s
}

// still is the divisor of the angles of pairs that do not turn.
const still = 1e30

// stillFactors are divisors of angles with which only a share of the pairs turns.
func stillFactors(dim int, share float64) []float32 {
	factors := make([]float32, dim/2)
	for i := range factors {
		factors[i] = 1
		if i >= int(float64(dim/2)*share) {
			factors[i] = still
		}
	}
	return factors
}

// gemma4Keys are those of gemma3, and what differs between layers with a window and without.
func gemma4Keys(k *Keys) {
	gemma3Keys(k)
	s := k.Spec
	wide := k.number("global_head_dim", s.HeadDim)
	narrow := k.number("head_dim", 256)
	k.count("attention.shared_kv_layers", k.number("num_kv_shared_layers", 0))
	k.count("embedding_length_per_layer_input", s.LayerEmbedding)
	k.pattern()
	k.headDims(wide, wide)
	k.count("attention.key_length_swa", narrow)
	k.count("attention.value_length_swa", narrow)
	k.counts("expert_feed_forward_length", "moe_intermediate_size")
	ffn, keyHeads := make([]int32, s.Layers), make([]int32, s.Layers)
	for i := range ffn {
		ffn[i], keyHeads[i] = int32(s.At(i).FFN), int32(s.At(i).KeyHeads)
	}
	if k.f.BoolOr("", "use_double_wide_mlp", false) {
		k.set("feed_forward_length", ffn)
	}
	if k.number("num_global_key_value_heads", 0) > 0 && k.f.BoolOr("", "attention_k_eq_v", false) {
		k.set("attention.head_count_kv", keyHeads)
	}
	k.count("rope.dimension_count", wide)
	k.count("rope.dimension_count_swa", narrow)
}

// gemma4Config is that of the text model alone.
func gemma4Config(c *Config) {
	gemmaConfig(c)
	c.textOnly("gemma4_text")
	c.layerTypes()
	c.set("final_logit_softcapping", c.Spec.LogitCap)
	c.unset("partial_rotary_factor", "rope_theta", "rope_scaling")
	s := c.Spec
	narrow := c.layer(func(l *Layer) bool { return l.Window > 0 })
	wide := c.layer(func(l *Layer) bool { return l.Window == 0 })
	shared, double, alike := 0, false, false
	for i := range s.Layers {
		l := s.At(i)
		if l.KeysFrom > 0 {
			shared++
			double = double || l.FFN == 2*s.At(0).FFN
		} else if _, ok := c.file.Tensor(c.source.Tensor(Value).InGGUF(i)); !ok {
			alike = true
		}
	}
	c.sets("head_dim", narrow.HeadDim, "global_head_dim", wide.HeadDim, "num_key_value_heads", narrow.KeyHeads,
		"num_global_key_value_heads", nil, "attention_k_eq_v", alike, "num_kv_shared_layers", shared,
		"intermediate_size", s.At(0).FFN, "use_double_wide_mlp", double,
		"hidden_size_per_layer_input", s.LayerEmbedding, "vocab_size_per_layer_input", s.Vocab,
		"use_bidirectional_attention", nil, "enable_moe_block", s.Experts.Count > 0, "num_experts", nil,
		"top_k_experts", nil, "moe_intermediate_size", nil)
	if alike {
		c.set("num_global_key_value_heads", wide.KeyHeads)
	}
	if s.Experts.Count > 0 {
		c.experts("num_experts", "moe_intermediate_size")
		c.rename("num_experts_per_tok", "top_k_experts")
	}
	turning := 0
	for turning < len(wide.Rope.Factors) && wide.Rope.Factors[turning] == 1 {
		turning++
	}
	if wide.Rope.Factors == nil {
		turning = wide.HeadDim / 2
	}
	c.set("rope_parameters", map[string]any{
		"full_attention": map[string]any{"rope_type": "proportional", "rope_theta": wide.Rope.Base,
			"partial_rotary_factor": share(turning, wide.HeadDim/2)},
		"sliding_attention": map[string]any{"rope_type": "default", "rope_theta": narrow.Rope.Base},
	})
}
