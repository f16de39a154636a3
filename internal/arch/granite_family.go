package arch

import "cmp"

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
	return append(fusedExperts("block_sparse_moe.router.layer", "block_sparse_moe.input_linear"+weightSuffix,
		"block_sparse_moe.output_linear"+weightSuffix), graniteShared(
		layerTensor(SharedGate, "ffn_gate_shexp", "", DimShared, DimWidth),
		layerTensor(SharedUp, "ffn_up_shexp", "", DimShared, DimWidth),
		layerTensor(SharedDown, "ffn_down_shexp", "shared_mlp.output_linear", DimWidth, DimShared),
		DimShared, DimShared)...)
}

// graniteShared are the maps of a network whose gate and up-projection Hugging Face has in one parameter of that many
// rows in all.
func graniteShared(gate, up, down Tensor, all ...Dim) []Tensor {
	const in = "model.layers.%d.shared_mlp.input_linear" + weightSuffix
	gate.Within = &Within{HF: in, All: all}
	up.Within = &Within{HF: in, Before: []Dim{gate.Shape[0]}, All: all}
	return []Tensor{gate, up, down}
}

// graniteKeys are those of llama, of which no head size, and the constants of the family.
func graniteKeys(k *Keys) {
	llamaKeys(k)
	k.remove("attention.key_length")
	k.remove("attention.value_length")
	k.float("attention.scale", "attention_multiplier")
	k.float("embedding_scale", "embedding_multiplier")
	k.float("residual_scale", "residual_multiplier")
	k.float("logit_scale", "logits_scaling")
}

func graniteMoEKeys(k *Keys) {
	graniteKeys(k)
	k.counts("expert_shared_feed_forward_length", "shared_intermediate_size")
}

// graniteScales sets the constants of the Granite family.
func (c *Config) graniteScales() {
	s := c.Spec
	c.sets("embedding_multiplier", cmp.Or(s.EmbeddingScale, 1), "residual_multiplier", cmp.Or(s.ResidualScale, 1),
		"attention_multiplier", c.mainLayer().Scale(), "logits_scaling", c.f.FloatOr("logit_scale", "", 1))
}
