package arch

// geluSpec reads a decoder of LayerNorms and a network of GELU, of the form that config.json names or, where it does
// not, the class has.
func geluSpec(f *Fields, activation, eps, missing string) Spec {
	s := decoderSpec(f)
	f.activation(activation, "gelu_pytorch_tanh", "gelu_new", "gelu_fast", "gelu")
	f.layerNorms(&s, eps)
	form := GELU
	act := f.Text("", activation)
	if act == "" {
		act = missing
	}
	if f.HF && act == "gelu" { // which GGUF files do not tell from the form of the tanh
		form = GELUErf
	}
	s.All(func(l *Layer) { l.Activation = form })
	return s
}

// fourWidths makes the network of a model of Hugging Face as wide as four streams where config.json does not say.
func (f *Fields) fourWidths(s *Spec) {
	if f.HF && s.FFN == 0 {
		s.All(func(l *Layer) { l.FFN = 4 * s.Width })
	}
}

// noRope takes rotary position embedding away.
func (s *Spec) noRope() { s.EditRope(func(r *Rope) { *r = Rope{Base: 1, Scale: 1} }) }

// positions is a table of embeddings of positions.
func positions(inHF string) Tensor {
	return endTensor(PositionEmbedding, "position_embd", inHF, DimContext, DimWidth)
}

// namesIn makes tensors of layers whose names in Hugging Face files begin so.
func namesIn(prefix string) func(role Role, inGGUF, inHF string, shape ...Dim) Tensor {
	return func(role Role, inGGUF, inHF string, shape ...Dim) Tensor {
		t := layerTensor(role, inGGUF, inHF, shape...)
		t.HF = prefix + ".%d." + inHF + weightSuffix
		return t
	}
}
