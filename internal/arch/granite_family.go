package arch

// graniteScales reads the constants of the Granite family.
func (f *Fields) graniteScales(s *Spec) {
	s.EmbeddingScale = float32(f.FloatOr("embedding_scale", "embedding_multiplier", 0))
	s.ResidualScale = float32(f.FloatOr("residual_scale", "residual_multiplier", 0))
	if logits := f.FloatOr("logit_scale", "logits_scaling", 0); logits != 0 {
		s.LogitScale = float32(1 / logits)
	}
	score := float32(f.FloatOr("attention.scale", "attention_multiplier", 0))
	s.All(func(l *Layer) { l.ScoreScale = score })
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
