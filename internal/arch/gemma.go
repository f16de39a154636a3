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

	Config: gemmaConfig,
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
		scalar = float64(s.Width / max(s.QueryHeads, 1))
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

func gemmaConfig(c *Config) {
	c.sets("hidden_act", "gelu_pytorch_tanh", "hidden_activation", "gelu_pytorch_tanh", "head_dim", c.Spec.HeadDim,
		"attention_bias", false)
}

// gemmaCaps says how scores are scaled, and what scores and logits are capped at.
func (c *Config) gemmaCaps() {
	l := c.Spec.At(0)
	scale := float64(l.ScoreScale)
	c.sets("query_pre_attn_scalar", int(math.Round(1/(scale*scale))), "attn_logit_softcapping", nil,
		"final_logit_softcapping", nil)
	if l.ScoreCap > 0 {
		c.set("attn_logit_softcapping", l.ScoreCap)
	}
	if c.Spec.LogitCap > 0 {
		c.set("final_logit_softcapping", c.Spec.LogitCap)
	}
	c.layerTypes()
	c.assume("query_pre_attn_scalar %v, by llama.cpp's rule", c.Values["query_pre_attn_scalar"])
}
