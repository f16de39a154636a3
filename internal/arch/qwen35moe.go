package arch

func init() { Register(&qwen35moe) }

// qwen35moe is its mixtures.
var qwen35moe = Arch{
	Name:       "qwen35moe",
	Conversion: Conversion{Keys: deltaKeys, Drafts: &mtp},
	HF: []HFModel{
		{Type: "qwen3_5_moe", Class: "Qwen3_5MoeForConditionalGeneration", Text: "text_config", In: "model.language_model."},
		{Type: "qwen3_5_moe_text", Class: "Qwen3_5MoeForCausalLM"},
	},
	Spec:    func(f *Fields) Spec { return deltaSpec(f, false) },
	Tensors: deltaTensors(false, fusedExperts("mlp.gate", "mlp.experts.gate_up_proj", "mlp.experts.down_proj")),
	Ignored: rotaryAngles,

	Config: func(c *Config) { qwen35Config(c, "qwen3_5_moe_text") },
}
