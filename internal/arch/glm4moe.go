package arch

func init() { Register(&glm4moe) }

// glm4moe is GLM 4.5 and 4.6: sigmoid routing with a bias that only chooses, a shared expert, dense layers first.
var glm4moe = Arch{
	Name:       "glm4moe",
	HF:         []HFModel{{Type: "glm4_moe", Class: "Glm4MoeForCausalLM", BiasFlags: [2]string{Attention: "attention_bias"}}},
	Vocabulary: glm4moeVocabulary,
	Spec: func(f *Fields) Spec {
		f.share = 0.5
		s := decoderSpec(f)
		f.activation("hidden_act", "silu")
		f.deepExperts(&s, Sigmoid, true)
		return s
	},
	Tensors: with(decoderTensors(nil), append(deepExpertTensors(),
		layerTensor(FFNNorm, "post_attention_norm", "post_attention_layernorm", DimWidth),
		optional(headNorms()[0]), optional(headNorms()[1]))...),
	Ignored: rotaryAngles,
}
