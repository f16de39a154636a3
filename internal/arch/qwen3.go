package arch

func init() { Register(&qwen3) }

// qwen3 is Qwen 3: norms of the heads of queries and keys, and no biases.
var qwen3 = Arch{
	Name:       "qwen3",
	Conversion: Conversion{Keys: baseKeys},
	HF:         []HFModel{{Type: "qwen3", Class: "Qwen3ForCausalLM", BiasFlags: [2]string{Attention: "attention_bias"}}},
	Vocabulary: sentencePieceOrBytes,
	Spec:       qwen2Spec,
	Tensors:    with(decoderTensors(nil), headNorms()...),
	Ignored:    rotaryAngles,

	Config: qwen3Config,
}

func qwen3Config(c *Config) {
	c.plainWindows()
	c.set("head_dim", c.Spec.HeadDim)
}
