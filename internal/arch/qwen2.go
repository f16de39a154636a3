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

	Config: qwen2Config,
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

func qwen2Config(c *Config) {
	c.plainWindows()
	if name := BiasName(c.source.Tensor(OutputHead).GGUF); c.hasBias(OutputHead) {
		c.fail("tensor %q: %s has no bias of the output head: it is %w", name, c.Class.Class, ErrUnsupported)
	}
}

// plainWindows says that no layer has a sliding window.
func (c *Config) plainWindows() {
	c.sets("use_sliding_window", false, "sliding_window", nil, "max_window_layers", c.Spec.Layers)
}
