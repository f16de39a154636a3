package arch

import "math"

func init() { Register(&gemma) }

// gemma is Gemma 1: embeddings scaled by the root of the width, a network gated by GELU, and the embedding table as
// head.
var gemma = Arch{
	Name:       "gemma",
	Conversion: Conversion{Keys: gemmaKeys, DropsHead: true},
	HF:         []HFModel{{Type: "gemma", Class: "GemmaForCausalLM"}},
	Vocabulary: gemmaVocabulary,
	Spec:       gemmaSpec,
	Tensors:    addOnes(without(decoderTensors(nil), OutputHead)),
	Ignored:    append([]string{"output.weight"}, rotaryAngles...),
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

func gemmaKeys(k *Keys) {
	k.context()
	k.width()
	k.layers()
	k.ffn()
	k.heads()
	k.keyHeads()
	k.rmsEps()
	k.headDims(k.Spec.HeadDim, k.Spec.HeadDim)
	k.fileType()
}
