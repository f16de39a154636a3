package arch

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
