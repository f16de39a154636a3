package arch

import "math"

func init() {
	Register(&gemma)
	Register(&gemma2)
	Register(&gemma3)
}

// gemma is Gemma 1: embeddings scaled by the root of the width, a network gated by GELU, and the embedding table as
// head.
var gemma = Arch{
	Name:    "gemma",
	HF:      []HFModel{{Type: "gemma", Class: "GemmaForCausalLM"}},
	Spec:    gemmaSpec,
	Tensors: addOnes(without(decoderTensors(nil), OutputHead)),
	Ignored: append([]string{"output.weight"}, rotaryAngles...),
}

// gemma2 is Gemma 2: norms before and after attention and FFN, capped scores and logits, and a window in every other
// layer.
var gemma2 = Arch{
	Name:    "gemma2",
	HF:      []HFModel{{Type: "gemma2", Class: "Gemma2ForCausalLM"}},
	Spec:    gemma2Spec,
	Tensors: addOnes(sandwich(without(decoderTensors(nil), OutputHead))),
	Ignored: append([]string{"output.weight"}, rotaryAngles...),
}

// gemma3 is Gemma 3: norms of the heads of queries and keys, and a window and a RoPE of their own in five of six
// layers.
var gemma3 = Arch{
	Name: "gemma3",
	HF: []HFModel{
		{Type: "gemma3_text", Class: "Gemma3ForCausalLM"},
		{Type: "gemma3", Class: "Gemma3ForConditionalGeneration", Text: "text_config", In: "language_model.model."},
	},
	Spec:    gemma3Spec,
	Tensors: addOnes(with(sandwich(decoderTensors(nil)), headNorms()...)),
	Ignored: rotaryAngles,
}

// sandwich has norms before and after attention and FFN.
func sandwich(table []Tensor) []Tensor {
	return with(table,
		layerTensor(AttentionPostNorm, "post_attention_norm", "post_attention_layernorm", DimWidth),
		layerTensor(FFNNorm, "ffn_norm", "pre_feedforward_layernorm", DimWidth),
		layerTensor(FFNPostNorm, "post_ffw_norm", "post_feedforward_layernorm", DimWidth))
}

func gemmaSpec(f *Fields) Spec {
	s := decoderSpec(f)
	for _, key := range []string{"hidden_activation", "hidden_act"} {
		f.activation(key, "gelu_pytorch_tanh", "gelu")
	}
	s.EmbeddingScale = float32(math.Sqrt(float64(s.Width)))
	s.Tied = true
	s.All(func(l *Layer) { l.Activation = GELU })
	return s
}

// gemmaScores scales scores: config.json says by what, and llama.cpp knows it of models of so many layers.
func (f *Fields) gemmaScores(s *Spec, largest int) {
	scalar := f.FloatOr("", "query_pre_attn_scalar", float64(s.HeadDim))
	if !f.HF && s.Layers == largest {
		scalar = float64(s.Width / s.QueryHeads)
	}
	s.All(func(l *Layer) { l.ScoreScale = float32(1 / math.Sqrt(scalar)) })
}

func gemma2Spec(f *Fields) Spec {
	s := gemmaSpec(f)
	f.gemmaScores(&s, 46)
	s.LogitCap = float32(f.FloatOr("final_logit_softcapping", "final_logit_softcapping", 30))
	limit := float32(f.FloatOr("attn_logit_softcapping", "attn_logit_softcapping", 50))
	s.All(func(l *Layer) { l.ScoreCap = limit })
	f.window(&s, 2)
	return s
}

func gemma3Spec(f *Fields) Spec {
	s := gemmaSpec(f)
	s.Tied = f.BoolOr("", "tie_word_embeddings", true)
	f.gemmaScores(&s, 62)
	s.LogitCap = float32(f.FloatOr("final_logit_softcapping", "final_logit_softcapping", 0))
	if windowed := f.window(&s, 6); anyOf(windowed) {
		base := f.FloatOr("rope.freq_base_swa", "rope_local_base_freq", 10000)
		s.PerLayer(func(i int, l *Layer) {
			if windowed[i] {
				l.Rope = Rope{Dim: l.Rope.Dim, Base: base, Scale: 1, Neox: true}
			}
		})
	}
	return s
}
