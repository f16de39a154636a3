package arch

// Qwen2 is the name of Qwen 2 and 2.5: llama with biases on q, k and v and RoPE over halves of the head.
const Qwen2 = "qwen2"

func init() { Register(&qwen2) }

var qwen2 = Arch{
	Name:       Qwen2,
	Conversion: Conversion{Keys: baseKeys},
	HF:         []HFModel{{Type: "qwen2", Class: "Qwen2ForCausalLM"}},
	Vocabulary: sentencePieceOrBytes,
	Spec:       qwen2Spec,
	Tensors:    with(decoderTensors(nil), biased(OutputHead, "output", "lm_head")),

	Ignored:  rotaryAngles,
	Quantize: Quantize{LargeLayers: 80},
}

func qwen2Spec(f *Fields) Spec {
	s := decoderSpec(f)
	f.activation("hidden_act", "silu")
	f.plainWindow(&s, true)
	f.noExperts()
	return s
}

// biased is an output head that may have a bias.
func biased(role Role, inGGUF, inHF string) Tensor {
	t := endTensor(role, inGGUF, inHF, DimVocab, DimWidth)
	t.Bias = true
	return t
}
