package arch

func init() { Register(&qwen3moe) }

// qwen3moe is the mixtures of Qwen 3: norms of the heads of queries and keys, and no shared expert.
var qwen3moe = Arch{
	Name:       "qwen3moe",
	Conversion: Conversion{Keys: qwenMoEKeys},
	HF: []HFModel{{Type: "qwen3_moe", Class: "Qwen3MoeForCausalLM",
		BiasFlags: [2]string{Attention: "attention_bias"}}},
	Spec:    func(f *Fields) Spec { return qwenMoESpec(f, true) },
	Tensors: with(without(decoderTensors(nil), Gate, Up, Down), append(qwenExperts(), headNorms()...)...),
	Ignored: rotaryAngles,

	Config: func(c *Config) { qwenMoEConfig(c, true) },
}
