package arch

func init() { Register(&qwen3next) }

// qwen3next is Qwen 3 Next.
var qwen3next = Arch{
	Name:       "qwen3next",
	Conversion: Conversion{Keys: deltaKeys, Drafts: &mtp},
	HF:         []HFModel{{Type: "qwen3_next", Class: "Qwen3NextForCausalLM"}},
	Spec:       func(f *Fields) Spec { return deltaSpec(f, true) },
	Tensors:    deltaTensors(true, qwenExperts()),
	Ignored:    rotaryAngles,

	Config: func(c *Config) {
		c.delta()
		c.set("partial_rotary_factor", share(c.mainLayer().Rope.Dim, c.mainLayer().HeadDim))
	},
}
