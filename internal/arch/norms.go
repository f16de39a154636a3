package arch

// layerNorms makes all norms LayerNorms.
func (f *Fields) layerNorms(s *Spec, inHF string) {
	s.LayerNorm = true
	s.NormEps = float32(f.FloatOr("attention.layer_norm_epsilon", inHF, 0))
}

// headNorms are the norms of queries and keys head by head.
func headNorms() []Tensor {
	return []Tensor{
		layerTensor(QueryNorm, "attn_q_norm", "self_attn.q_norm", DimHead),
		layerTensor(KeyNorm, "attn_k_norm", "self_attn.k_norm", DimHead),
	}
}

// addOnes has the norms of a table raised by one.
func addOnes(table []Tensor) []Tensor {
	for i := range table {
		if table[i].Role.Kind() == Norm {
			table[i].Transform = AddOne{}
		}
	}
	return table
}

// sandwich has norms before and after attention and FFN.
func sandwich(table []Tensor) []Tensor {
	return with(table,
		layerTensor(AttentionPostNorm, "post_attention_norm", "post_attention_layernorm", DimWidth),
		layerTensor(FFNNorm, "ffn_norm", "pre_feedforward_layernorm", DimWidth),
		layerTensor(FFNPostNorm, "post_ffw_norm", "post_feedforward_layernorm", DimWidth))
}
