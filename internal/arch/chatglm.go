package arch

func init() { Register(&chatGLM) }

// chatGLM is ChatGLM 3 and GLM 4 of 2024: llama with biases on q, k and v, RoPE over neighbours in a part of the head,
// and a fused gate and up-projection.
var chatGLM = Arch{
	Name:       "chatglm",
	HF:         []HFModel{{Type: "glm", Class: "GlmForCausalLM", BiasFlags: [2]string{Attention: "attention_bias"}}},
	Vocabulary: glmVocabulary,
	Spec:       glm4Spec,
	Tensors:    with(without(decoderTensors(nil), Gate, Up), fusedGateUp()),
	Ignored:    rotaryAngles,
}
