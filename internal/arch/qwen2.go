package arch

// Qwen2 is the name of Qwen 2 and 2.5: llama with biases on q, k and v and RoPE over halves of the head.
const Qwen2 = "qwen2"

func init() { Register(&qwen2) }

var qwen2 = Arch{
	Name:    Qwen2,
	HF:      []HFModel{{Type: "qwen2", Class: "Qwen2ForCausalLM"}},
	Spec:    decoderSpec,
	Tensors: decoderTensors(nil),

	Ignored:  rotaryAngles,
	Quantize: Quantize{LargeLayers: 80},
}
