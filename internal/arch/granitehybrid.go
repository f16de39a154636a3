package arch

func init() { Register(&graniteHybrid) }

// graniteHybrid is Granite 4 with Mamba-2 in most layers.
var graniteHybrid = Arch{
	Name:       "granitehybrid",
	Conversion: Conversion{Keys: graniteHybridKeys, As: graniteWithout},
	HF:         []HFModel{{Type: "granitemoehybrid", Class: "GraniteMoeHybridForCausalLM"}},
	Vocabulary: Vocabulary{Sources: []VocabularySource{SentencePiece, ByteBPE}, PadTo: 8, PadWith: "mamba"},
	Spec:       graniteHybridSpec,
	Tensors: with(decoderTensors(permuteHeads), append(append(graniteExpertTensors(), mambaTensors("mamba.")...),
		hybridDense()...)...),
	Ignored: rotaryAngles,

	Config: graniteHybridConfig,
}

// hybridDense is a dense network, which Hugging Face has as the shared one.
func hybridDense() []Tensor {
	return graniteShared(layerTensor(Gate, "ffn_gate", "", DimFFN, DimWidth),
		layerTensor(Up, "ffn_up", "", DimFFN, DimWidth),
		layerTensor(Down, "ffn_down", "shared_mlp.output_linear", DimWidth, DimFFN), DimGateUp)
}

func graniteHybridSpec(f *Fields) Spec {
	s := decoderSpec(f)
	f.activation("hidden_act", "silu")
	f.permutedRope(&s)
	f.graniteScales(&s)
	f.graniteExperts(&s)
	if s.Experts.Count == 0 && f.HF {
		dense := f.IntOr("", "shared_intermediate_size", s.FFN)
		s.All(func(l *Layer) { l.FFN = dense })
	}
	turns := f.BoolOr("rope.scaling.finetuned", "", true)
	if f.HF {
		turns = f.Text("", "position_embedding_type") == "rope"
	}
	m := f.mamba("mamba_n_heads", "mamba_d_head", "mamba_n_groups", "mamba_d_state", "mamba_d_conv")
	kinds, byName := f.Texts("layer_types", s.Layers)
	s.PerLayer(func(i int, l *Layer) {
		if !turns {
			l.Rope.Dim = 0
		}
		if l.KeyHeads == 0 || byName && kinds[i] == "mamba" {
			l.Mixer, l.Mamba = Mamba2, m
		}
	})
	return s
}

// graniteWithout is the architecture of a model of the hybrid class: one without Mamba-2 where it has none.
func graniteWithout(s *Spec) string {
	switch {
	case s.hasMamba():
		return "granitehybrid"
	case s.Experts.Used > 0:
		return "granitemoe"
	}
	return "granite"
}

// hasMamba reports whether a layer is a Mamba-2 mixer.
func (s *Spec) hasMamba() bool {
	for i := range s.Layers {
		if s.At(i).Mixer == Mamba2 {
			return true
		}
	}
	return false
}

// graniteHybridKeys are those of graniteMoEKeys, and of Mamba-2, also where no layer is one.
func graniteHybridKeys(k *Keys) {
	graniteMoEKeys(k)
	turns := !k.Spec.hasMamba()
	if !turns {
		k.count("context_length", 1<<20)
	}
	k.counts("ssm.conv_kernel", "conv_kernel", "d_conv", "mamba_conv_kernel", "mamba_d_conv")
	k.counts("ssm.state_size", "mamba_state_size", "mamba_d_state")
	k.counts("ssm.group_count", "mamba_n_groups", "mamba_num_groups")
	k.count("ssm.inner_size", k.number("mamba_expand", 0)*k.Spec.Width)
	k.counts("ssm.time_step_rank", "mamba_n_heads", "mamba_num_heads")
	k.ropeDimOfHead()
	k.keyHeadsOfLayers()
	k.set("rope.scaling.finetuned", turns)
}

func graniteHybridConfig(c *Config) {
	c.graniteScales()
	s := c.Spec
	types := make([]string, s.Layers)
	for i := range types {
		types[i] = "attention"
		if s.At(i).Mixer == Mamba2 {
			types[i] = "mamba"
		}
	}
	position := "nope"
	if c.mainLayer().Rope.Dim > 0 {
		position = "rope"
	}
	c.sets("layer_types", types, "position_embedding_type", position, "normalization_function", "rmsnorm")
	if s.Experts.Count > 0 {
		m := c.experts("num_local_experts", "intermediate_size")
		c.set("shared_intermediate_size", m.Shared)
	} else {
		c.sets("num_local_experts", 0, "num_experts_per_tok", 0, "shared_intermediate_size", s.FFN)
	}
	l := c.layer(func(l *Layer) bool { return l.Mixer == Mamba2 })
	c.sets("mamba_n_heads", 1, "mamba_d_head", s.Width, "mamba_expand", 1) // sizes that the class takes for none
	if m := &l.Mamba; l.Mixer == Mamba2 {
		c.sets("mamba_n_heads", m.Heads, "mamba_d_head", m.HeadDim, "mamba_n_groups", m.Groups, "mamba_d_state", m.State,
			"mamba_d_conv", m.Taps, "mamba_expand", c.expand(m), "mamba_conv_bias", true, "mamba_proj_bias", false,
			"mamba_chunk_size", 256)
	}
}
