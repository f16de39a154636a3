package arch

func init() { Register(&chatGLM) }

// chatGLM is ChatGLM 3 and GLM 4 of 2024: llama with biases on q, k and v, RoPE over neighbours in a part of the head,
// and a fused gate and up-projection.
var chatGLM = Arch{
	Name: "chatglm",
	HF:   []HFModel{{Type: "glm", Class: "GlmForCausalLM", BiasFlags: [2]string{Attention: "attention_bias"}}},
	Spec: func(f *Fields) Spec {
		s := glm4Spec(f)
		if f.HF { // as the class has it where config.json does not say
			share := f.FloatOr("", "partial_rotary_factor", 0.5)
			s.EditRope(func(r *Rope) { r.Dim = int(float64(s.HeadDim) * share) })
		}
		return s
	},
	Tensors: with(without(decoderTensors(nil), Gate, Up), fusedGateUp()),
	Ignored: rotaryAngles,
}
