package arch

func init() { Register(&gptOSS) }

// gptOSS is gpt-oss: attention with sinks, a window in every other layer, and experts with biases and a clamped gate.
var gptOSS = Arch{
	Name:       "gpt-oss",
	Conversion: Conversion{Keys: gptOSSKeys},
	HF:         []HFModel{{Type: "gpt_oss", Class: "GptOssForCausalLM"}},
	Spec:       gptOSSSpec,
	Tensors: with(without(decoderTensors(nil), Gate, Up, Down), append(packedExperts(),
		layerTensor(FFNNorm, "post_attention_norm", "post_attention_layernorm", DimWidth),
		layerParameter(Sinks, "attn_sinks.weight", "self_attn.sinks", DimQueryHeads),
	)...),
	Ignored: rotaryAngles,

	Config: gptOSSConfig,
}

// packedExperts are experts whose gates and up-projections alternate in one parameter of Hugging Face files.
func packedExperts() []Tensor {
	tensors := fusedExperts("mlp.router", "mlp.experts.gate_up_proj", "mlp.experts.down_proj")
	for i := range tensors {
		switch t := &tensors[i]; t.Role {
		case ExpertGate:
			t.Transform = PackExperts{First: 0, Every: 2}
		case ExpertUp:
			t.Transform = PackExperts{First: 1, Every: 2}
		case ExpertDown:
			t.Transform = PackExperts{Every: 1}
			t.Within, t.HF = &Within{HF: t.HF, All: []Dim{DimWidth}}, ""
		}
	}
	return tensors
}

func gptOSSSpec(f *Fields) Spec {
	s := decoderSpec(f)
	f.window(&s, 2)
	f.experts(&s, MoE{
		Count: f.IntOr("", "num_local_experts", 0), Used: f.IntOr("", "num_experts_per_tok", 0),
		FFN: f.IntOr("expert_feed_forward_length", "intermediate_size", 0), Gating: SoftmaxOfChosen,
	})
	s.All(func(l *Layer) { l.Activation = OAI })
	return s
}

func gptOSSKeys(k *Keys) {
	k.base()
	k.window()
	k.counts("expert_feed_forward_length", "intermediate_size")
}

func gptOSSConfig(c *Config) {
	m := c.experts("num_local_experts", "intermediate_size")
	c.layerTypes()
	c.sets("head_dim", c.Spec.HeadDim, "swiglu_limit", 7.0, "experts_per_token", m.Used, "attention_bias", true,
		"initial_context_length", c.Spec.Rope.Original)
	if scaling, ok := c.Values["rope_scaling"].(map[string]any); ok {
		scaling["truncate"] = false
		c.assume("truncate false in rope_scaling, as in the published models; llama.cpp computes as with true")
	}
}

// KeepBlocks says that the experts are blocks of MXFP4.
func (c *Config) KeepBlocks() {
	c.set("quantization_config", map[string]any{"quant_method": "mxfp4", "modules_to_not_convert": []string{
		"model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"}})
}
