package arch

func deltaSpec(f *Fields, grouped bool) Spec {
	s := decoderSpec(f)
	f.activation("hidden_act", "silu")
	d := Delta{
		KeyHeads: f.Int("ssm.group_count", "linear_num_key_heads"), KeyDim: f.Int("ssm.state_size", "linear_key_head_dim"),
		ValueHeads: f.Int("ssm.time_step_rank", "linear_num_value_heads"), Grouped: grouped,
		Taps: f.Int("ssm.conv_kernel", "linear_conv_kernel_dim"),
	}
	if f.HF {
		d.ValueDim = f.Int("", "linear_value_head_dim")
	} else {
		d.ValueDim = f.Int("ssm.inner_size", "") / max(d.ValueHeads, 1)
	}
	f.deltaRope(&s)
	recurrent, listed := f.Flags("attention.recurrent_layers", "", s.Layers+s.Drafts)
	kinds, byName := f.Texts("layer_types", s.Layers)
	interval := max(f.IntOr("full_attention_interval", "full_attention_interval", 4), 1)
	s.PerLayer(func(i int, l *Layer) {
		l.GatedQuery = true
		is := (i+1)%interval != 0
		if listed {
			is = recurrent[i]
		} else if byName {
			is = kinds[i] == "linear_attention"
		}
		if is {
			l.Mixer, l.Delta = DeltaNet, d
		}
	})
	if f.IntOr("expert_count", "num_experts", 0) > 0 {
		used := f.IntOr("expert_used_count", "num_experts_per_tok", 0)
		f.experts(&s, MoE{
			Count: f.IntOr("", "num_experts", 0), Used: used, Gating: Softmax, Norm: f.BoolOr("", "norm_topk_prob", true),
			FFN:    f.IntOr("expert_feed_forward_length", "moe_intermediate_size", s.FFN/max(used, 1)),
			Shared: f.IntOr("expert_shared_feed_forward_length", "shared_expert_intermediate_size", s.FFN),
		})
	}
	return s
}

// deltaRope reads the sections of RoPE over several kinds of positions, which for text are the same: a pair beyond the
// sections does not turn.
func (f *Fields) deltaRope(s *Spec) {
	v, _ := f.value("rope.dimension_sections", "")
	sections, ok := v.ints()
	if f.HF || !ok || len(sections) < 3 {
		return
	}
	turning := sections[0] + sections[1] + sections[2]
	s.EditRope(func(r *Rope) {
		if turning >= r.Dim/2 {
			return
		}
		f.Fail("%s cover %d of %d pairs: others than all are %w", f.Name("rope.dimension_sections", ""), turning, r.Dim/2,
			ErrUnsupported)
	})
}

// deltaTensors are those of a decoder of gated delta nets and gated attention, with the experts given.
func deltaTensors(next bool, experts []Tensor) []Tensor {
	vector := func(role Role, inGGUF, inHF string, shape ...Dim) Tensor {
		return layerParameter(role, inGGUF, "linear_attn."+inHF, shape...)
	}
	linear := func(role Role, inGGUF, inHF string, shape ...Dim) Tensor {
		return layerTensor(role, inGGUF, "linear_attn."+inHF, shape...)
	}
	conv := vector(RecurrentConv, "ssm_conv1d.weight", "conv1d.weight", DimRecurrentQKV, DimRecurrentTaps)
	time := vector(RecurrentTimeBias, "ssm_dt.bias", "dt_bias", DimRecurrentHeads)
	decay := vector(RecurrentDecay, "ssm_a", "A_log", DimRecurrentHeads)
	norm := linear(RecurrentNorm, "ssm_norm", "norm", DimRecurrentDim)
	out := linear(RecurrentOut, "ssm_out", "out_proj", DimWidth, DimRecurrentInner)
	table := addOnes(with(decoderTensors(nil), append(headNorms(),
		layerTensor(FFNNorm, "post_attention_norm", "post_attention_layernorm", DimWidth))...))
	table = with(table, layerTensor(Query, "attn_q", "self_attn.q_proj", DimQueryGated, DimWidth), norm)
	if next {
		qkv := linear(RecurrentQKV, "attn_qkv", "in_proj_qkvz", DimRecurrentQKV, DimWidth)
		gate := linear(RecurrentGate, "attn_gate", "in_proj_qkvz", DimRecurrentInner, DimWidth)
		qkv.Transform, gate.Transform = PickQKVZ{}, PickQKVZ{Gate: true}
		table = with(table, conv, time, decay, out, qkv, gate,
			linear(RecurrentBetaAlpha, "ssm_ba", "in_proj_ba", DimRecurrentHeads2, DimWidth))
	} else {
		rows := TileHeads{Each: DimRecurrentDim}
		mixed, ones, columns := rows, TileHeads{Each: DimOne}, rows
		mixed.Skip, columns.Columns = DimRecurrentKeys, true
		table = with(table, transformed(conv, mixed), transformed(time, ones), transformed(decay, ones),
			transformed(out, columns),
			transformed(linear(RecurrentQKV, "attn_qkv", "in_proj_qkv", DimRecurrentQKV, DimWidth), mixed),
			transformed(linear(RecurrentGate, "attn_gate", "in_proj_z", DimRecurrentInner, DimWidth), rows),
			transformed(linear(RecurrentBeta, "ssm_beta", "in_proj_b", DimRecurrentHeads, DimWidth), ones),
			transformed(linear(RecurrentAlpha, "ssm_alpha", "in_proj_a", DimRecurrentHeads, DimWidth), ones))
	}
	if experts == nil {
		return table
	}
	return with(without(table, Gate, Up, Down), append(append(experts, sharedTensors("mlp.shared_expert")...),
		layerTensor(SharedRouter, "ffn_gate_inp_shexp", "mlp.shared_expert_gate", DimOne, DimWidth))...)
}

// mtp is how Qwen 3 and 3.5 name the layer that guesses the token after the next.
var mtp = Drafts{In: "mtp.layers.", Others: map[string]string{
	"mtp.fc" + weightSuffix:                    "nextn.eh_proj" + weightSuffix,
	"mtp.pre_fc_norm_embedding" + weightSuffix: "nextn.enorm" + weightSuffix,
	"mtp.pre_fc_norm_hidden" + weightSuffix:    "nextn.hnorm" + weightSuffix,
	"mtp.norm" + weightSuffix:                  "nextn.shared_head_norm" + weightSuffix,
}}

// drafts sets how many layers guess further tokens.
func (k *Keys) drafts() {
	if k.Drafts > 0 {
		k.count("nextn_predict_layers", k.Drafts)
	}
}

func deltaKeys(k *Keys) {
	s := k.Spec
	k.base()
	k.expertWidths()
	k.drafts()
	recurrent := make([]bool, s.Layers+k.Drafts)
	for i := range s.Layers {
		recurrent[i] = s.At(i).Mixer == DeltaNet
	}
	k.counts("ssm.conv_kernel", "linear_conv_kernel_dim")
	k.counts("ssm.state_size", "linear_key_head_dim")
	k.counts("ssm.group_count", "linear_num_key_heads")
	k.counts("ssm.time_step_rank", "linear_num_value_heads")
	k.count("ssm.inner_size", k.number("linear_value_head_dim", 0)*k.number("linear_num_value_heads", 0))
	if !s.At(0).Delta.Grouped {
		k.set("attention.recurrent_layers", recurrent)
	}
	k.count("full_attention_interval", k.number("full_attention_interval", 4))
	share := k.f.FloatOr("", "rope_parameters.partial_rotary_factor", k.f.FloatOr("", "partial_rotary_factor", 0.25))
	k.count("rope.dimension_count", int(float64(k.headDim())*share))
}

// delta sets what deltaSpec reads.
func (c *Config) delta() {
	s, f := c.Spec, c.f
	l := c.layer(func(l *Layer) bool { return l.Mixer == DeltaNet })
	d := &l.Delta
	types := make([]string, s.Layers)
	for i := range types {
		types[i] = "full_attention"
		if s.At(i).Mixer == DeltaNet {
			types[i] = "linear_attention"
		}
	}
	c.sets("head_dim", c.mainLayer().HeadDim, "attention_bias", false, "layer_types", types,
		"full_attention_interval", f.IntOr("full_attention_interval", "", 4), "linear_conv_kernel_dim", d.Taps,
		"linear_key_head_dim", d.KeyDim, "linear_value_head_dim", d.ValueDim, "linear_num_key_heads", d.KeyHeads,
		"linear_num_value_heads", d.ValueHeads)
	if s.Experts.Count > 0 {
		m := c.experts("num_experts", "moe_intermediate_size")
		c.sets("shared_expert_intermediate_size", m.Shared, "norm_topk_prob", m.Norm, "decoder_sparse_step", 1,
			"mlp_only_layers", []int{})
		if c.Values["intermediate_size"] == 0 {
			c.unset("intermediate_size")
		}
	}
}
