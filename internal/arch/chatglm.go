package arch

func init() { Register(&chatGLM) }

// chatGLM is ChatGLM 3 and GLM 4 of 2024: llama with biases on q, k and v, RoPE over neighbours in a part of the head,
// and a fused gate and up-projection.
var chatGLM = Arch{
	Name:       "chatglm",
	Conversion: Conversion{Keys: chatGLMKeys},
	HF:         []HFModel{{Type: "glm", Class: "GlmForCausalLM", BiasFlags: [2]string{Attention: "attention_bias"}}},
	Vocabulary: glmVocabulary,
	Spec:       glm4Spec,
	Tensors:    with(without(decoderTensors(nil), Gate, Up), fusedGateUp()),
	Ignored:    rotaryAngles,

	Config: glm4Config,
}

func chatGLMKeys(k *Keys) {
	k.count("context_length", k.number("seq_length", k.Spec.Width))
	k.sizes()
	k.set("attention.layer_norm_rms_epsilon", float32(k.f.FloatOr("", "layernorm_epsilon", 1e-5)))
	k.fileType()
	k.ropeDim()
	k.noBOS()
	k.set("rope.freq_base", float32(10000*k.f.FloatOr("", "rope_ratio", 1)))
}
