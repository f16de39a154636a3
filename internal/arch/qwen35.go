package arch

func init() { Register(&qwen35) }

// qwen35 is Qwen 3.5 and 3.6: gated delta nets in three of four layers, attention with gates in the others.
var qwen35 = Arch{
	Name:       "qwen35",
	Conversion: Conversion{Keys: deltaKeys, Drafts: &mtp},
	HF: []HFModel{
		{Type: "qwen3_5", Class: "Qwen3_5ForConditionalGeneration", Text: "text_config", In: "model.language_model."},
		{Type: "qwen3_5_text", Class: "Qwen3_5ForCausalLM"},
	},
	Spec:    func(f *Fields) Spec { return deltaSpec(f, false) },
	Tensors: deltaTensors(false, nil),
	Ignored: rotaryAngles,
}
