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

	Config: func(c *Config) { qwen35Config(c, "qwen3_5_text") },
}

// qwen35Config is that of the text model alone.
func qwen35Config(c *Config, modelType string) {
	c.textOnly(modelType)
	c.delta()
	c.set("partial_rotary_factor", share(c.mainLayer().Rope.Dim, c.mainLayer().HeadDim))
	p := c.ropeParameters()
	v, _ := c.f.value("rope.dimension_sections", "")
	if sections, ok := v.ints(); ok && len(sections) >= 3 {
		p["mrope_section"], p["mrope_interleaved"] = sections[:3], true
	}
	c.sets("attn_output_gate", true, "mamba_ssm_dtype", "float32", "mtp_num_hidden_layers", c.Spec.Drafts,
		"mtp_use_dedicated_embeddings", false)
}
