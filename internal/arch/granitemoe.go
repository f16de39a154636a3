package arch

func init() {
	Register(&graniteMoE)
	Register(&graniteHybrid)
}

// graniteMoE is the mixtures of Granite 3 and 4.
var graniteMoE = Arch{
	Name: "granitemoe",
	HF: []HFModel{
		{Type: "granitemoe", Class: "GraniteMoeForCausalLM"},
		{Type: "granitemoeshared", Class: "GraniteMoeSharedForCausalLM"},
	},
	Spec: func(f *Fields) Spec {
		s := decoderSpec(f)
		f.activation("hidden_act", "silu")
		f.permutedRope(&s)
		f.graniteScales(&s)
		f.graniteExperts(&s)
		return s
	},
	Tensors: with(without(decoderTensors(permuteHeads), Gate, Up, Down), graniteExpertTensors()...),
	Ignored: rotaryAngles,
}

// graniteExperts reads the experts of the Granite family.
func (f *Fields) graniteExperts(s *Spec) {
	f.experts(s, MoE{
		Count: f.IntOr("", "num_local_experts", 0), Used: f.IntOr("", "num_experts_per_tok", 0), FFN: s.FFN, Gating: Softmax,
		Norm: true, Shared: f.IntOr("expert_shared_feed_forward_length", "shared_intermediate_size", 0),
	})
}

// graniteExpertTensors are experts of which Hugging Face has the gates and up-projections in one parameter.
func graniteExpertTensors() []Tensor {
	const in = "model.layers.%d."
	tensors := append(expertTensors("block_sparse_moe.router.layer", "", "", "block_sparse_moe.output_linear"),
		layerTensor(SharedGate, "ffn_gate_shexp", "", DimShared, DimWidth),
		layerTensor(SharedUp, "ffn_up_shexp", "", DimShared, DimWidth),
		layerTensor(SharedDown, "ffn_down_shexp", "shared_mlp.output_linear", DimWidth, DimShared))
	for i := range tensors {
		switch t := &tensors[i]; t.Role {
		case ExpertGate, ExpertUp:
			t.Within.HF = in + "block_sparse_moe.input_linear" + weightSuffix
		case SharedGate:
			t.Within = &Within{HF: in + "shared_mlp.input_linear" + weightSuffix, All: []Dim{DimShared, DimShared}}
		case SharedUp:
			t.Within = &Within{
				HF: in + "shared_mlp.input_linear" + weightSuffix, Before: []Dim{DimShared}, All: []Dim{DimShared, DimShared},
			}
		}
	}
	return tensors
}

// graniteHybrid is Granite 4 with Mamba-2 in most layers.
var graniteHybrid = Arch{
	Name: "granitehybrid",
	HF:   []HFModel{{Type: "granitemoehybrid", Class: "GraniteMoeHybridForCausalLM"}},
	Spec: graniteHybridSpec,
	Tensors: with(decoderTensors(permuteHeads), append(append(graniteExpertTensors(), mambaTensors("mamba.")...),
		hybridDense()...)...),
	Ignored: rotaryAngles,
}

// hybridDense is a dense network, which Hugging Face has as the shared one.
func hybridDense() []Tensor {
	const in = "model.layers.%d.shared_mlp.input_linear" + weightSuffix
	gate := layerTensor(Gate, "ffn_gate", "", DimFFN, DimWidth)
	up := layerTensor(Up, "ffn_up", "", DimFFN, DimWidth)
	gate.Within = &Within{HF: in, All: []Dim{DimGateUp}}
	up.Within = &Within{HF: in, Before: []Dim{DimFFN}, All: []Dim{DimGateUp}}
	return []Tensor{gate, up, layerTensor(Down, "ffn_down", "shared_mlp.output_linear", DimWidth, DimFFN)}
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

// mamba reads a Mamba-2 mixer, with the names of config.json.
func (f *Fields) mamba(heads, headDim, groups, state, taps string) Mamba {
	m := Mamba{
		Heads: f.IntOr("ssm.time_step_rank", heads, 0), Groups: f.IntOr("ssm.group_count", groups, 1),
		State: f.IntOr("ssm.state_size", state, 0), Taps: f.IntOr("ssm.conv_kernel", taps, 0),
	}
	if f.HF {
		m.HeadDim = f.IntOr("", headDim, 0)
	} else {
		m.HeadDim = f.IntOr("ssm.inner_size", "", 0) / max(m.Heads, 1)
	}
	return m
}

// mambaTensors are those of a Mamba-2 mixer, whose names begin so in Hugging Face files.
func mambaTensors(in string) []Tensor {
	vector := func(role Role, inGGUF, inHF string, shape ...Dim) Tensor {
		return Tensor{Role: role, GGUF: "blk.%d." + inGGUF, HF: "model.layers.%d." + in + inHF, Shape: shape}
	}
	norm := layerTensor(RecurrentNorm, "ssm_norm", in+"norm", DimGroups, DimGroupInner)
	norm.Bias = false
	return []Tensor{
		layerTensor(RecurrentIn, "ssm_in", in+"in_proj", DimRecurrentIn, DimWidth),
		vector(RecurrentConv, "ssm_conv1d.weight", "conv1d.weight", DimRecurrentQKV, DimRecurrentTaps),
		vector(RecurrentConvBias, "ssm_conv1d.bias", "conv1d.bias", DimRecurrentQKV),
		vector(RecurrentTimeBias, "ssm_dt.bias", "dt_bias", DimRecurrentHeads),
		vector(RecurrentDecay, "ssm_a", "A_log", DimRecurrentHeads, DimOne),
		vector(RecurrentSkip, "ssm_d", "D", DimRecurrentHeads, DimOne),
		norm,
		layerTensor(RecurrentOut, "ssm_out", in+"out_proj", DimWidth, DimRecurrentInner),
	}
}
