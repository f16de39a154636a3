package arch

import "cmp"

// experts puts a mixture of experts in place of the dense network of all layers, from the first layer that has one on.
// What of m is zero is read from the metadata of a GGUF file.
func (f *Fields) experts(s *Spec, m MoE) {
	if !f.HF {
		m.Count, m.Used = f.IntOr("expert_count", "", 0), f.IntOr("expert_used_count", "", 0)
	}
	if m.Count == 0 {
		return
	}
	dense := f.IntOr("leading_dense_block_count", "first_k_dense_replace", 0)
	s.PerLayer(func(i int, l *Layer) {
		if i < dense {
			return
		}
		l.Experts = m
		if !m.Beside {
			l.FFN = 0
		}
	})
}

// expertTensors are the router and the maps of experts.
func expertTensors(router, gate, up, down string) []Tensor {
	fused := func(before ...Dim) *Within {
		return &Within{GGUF: "blk.%d.ffn_gate_up_exps" + weightSuffix, Before: before, All: []Dim{DimExpertGateUp}}
	}
	g := layerTensor(ExpertGate, "ffn_gate_exps", gate, DimExperts, DimExpertFFN, DimWidth)
	u := layerTensor(ExpertUp, "ffn_up_exps", up, DimExperts, DimExpertFFN, DimWidth)
	g.Within, u.Within = fused(), fused(DimExpertFFN)
	return []Tensor{
		layerTensor(Router, "ffn_gate_inp", router, DimExperts, DimWidth),
		g,
		u,
		layerTensor(ExpertDown, "ffn_down_exps", down, DimExperts, DimWidth, DimExpertFFN),
	}
}

// fusedExperts are experts whose gates and up-projections Hugging Face has in one parameter.
func fusedExperts(router, gateUp, down string) []Tensor {
	tensors := expertTensors(router, "", "", "")
	for i := range tensors {
		switch t := &tensors[i]; t.Role {
		case ExpertGate, ExpertUp:
			t.Within.HF = "model.layers.%d." + gateUp
		case ExpertDown:
			t.HF = "model.layers.%d." + down
		}
	}
	return tensors
}

// sharedTensors are the maps of the expert that all tokens visit.
func sharedTensors(in string) []Tensor {
	return []Tensor{
		layerTensor(SharedGate, "ffn_gate_shexp", in+".gate_proj", DimShared, DimWidth),
		layerTensor(SharedUp, "ffn_up_shexp", in+".up_proj", DimShared, DimWidth),
		layerTensor(SharedDown, "ffn_down_shexp", in+".down_proj", DimWidth, DimShared),
	}
}

// qwenExperts are experts as most classes of Hugging Face name them.
func qwenExperts() []Tensor {
	return expertTensors("mlp.gate", "mlp.experts.%e.gate_proj", "mlp.experts.%e.up_proj", "mlp.experts.%e.down_proj")
}

// mixtralExperts are the experts of Mixtral.
func mixtralExperts() []Tensor {
	return expertTensors("block_sparse_moe.gate", "block_sparse_moe.experts.%e.w1", "block_sparse_moe.experts.%e.w3",
		"block_sparse_moe.experts.%e.w2")
}

// deepExperts reads the experts of DeepSeek and of architectures that follow it.
func (f *Fields) deepExperts(s *Spec, gating Gating, norm bool) {
	m := MoE{
		Count: f.IntOr("", "n_routed_experts", 0), Used: f.IntOr("", "num_experts_per_tok", 0),
		FFN:    f.IntOr("expert_feed_forward_length", "moe_intermediate_size", 0),
		Gating: Gating(f.IntOr("expert_gating_func", "", int(gating))),
		Norm:   f.BoolOr("expert_weights_norm", "norm_topk_prob", f.HF && norm),
		Scale:  float32(f.FloatOr("expert_weights_scale", "routed_scaling_factor", 0)),
		Groups: f.IntOr("expert_group_count", "n_group", 0), GroupsUsed: f.IntOr("expert_group_used_count", "topk_group", 0),
	}
	m.Shared = m.FFN * f.IntOr("expert_shared_count", "n_shared_experts", 0)
	f.experts(s, m)
}

// deepExpertTensors are those of the experts.
func deepExpertTensors() []Tensor {
	return append(append(qwenExperts(), sharedTensors("mlp.shared_experts")...),
		selectionBias("mlp.gate.e_score_correction_bias"))
}

// selectionBias is added to the scores of the experts where they are chosen.
func selectionBias(inHF string) Tensor {
	return optional(layerParameter(SelectionBias, "exp_probs_b.bias", inHF, DimExperts))
}

// deepExperts sets what deepExperts of Fields reads.
func (c *Config) deepExperts() *MoE {
	m := c.experts("n_routed_experts", "moe_intermediate_size")
	shared := 0
	if m.FFN > 0 {
		shared = m.Shared / m.FFN
	}
	c.sets("n_shared_experts", shared, "routed_scaling_factor", cmp.Or(m.Scale, 1), "norm_topk_prob", m.Norm,
		"n_group", m.Groups, "topk_group", m.GroupsUsed,
		"first_k_dense_replace", c.f.IntOr("leading_dense_block_count", "", 0))
	if m.Count == 0 {
		c.set("first_k_dense_replace", c.Spec.Layers)
	}
	return m
}
