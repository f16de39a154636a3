package arch

// Llama is the name of the llama family: Llama 1 to 3, Mistral, Mixtral, SmolLM, TinyLlama and others converted as
// "llama".
const Llama = "llama"

func init() { Register(&llama) }

var llama = Arch{
	Name:       Llama,
	Conversion: Conversion{Keys: llamaKeys},
	HF: []HFModel{
		{Type: "llama", Class: "LlamaForCausalLM", BiasFlags: [2]string{Attention: "attention_bias", FFN: "mlp_bias"}},
		{Type: "mistral", Class: "MistralForCausalLM"},
		{Type: "mixtral", Class: "MixtralForCausalLM"},
	},
	Vocabulary: llamaVocabulary,
	Spec:       llamaSpec,
	Tensors:    with(decoderTensors(permuteHeads), mixtralExperts()...),

	Ignored:    rotaryAngles,
	AddsBiases: true,
	FFNOnly:    deci.Name,
	Quantize:   Quantize{LargeLayers: 80, LargeShared: true},

	Config: llamaConfig,
}

func llamaSpec(f *Fields) Spec {
	s := decoderSpec(f)
	f.activation("hidden_act", "silu")
	if f.Text("", "model_type") != Llama { // whose class has none
		f.plainWindow(&s, false)
	}
	f.permutedRope(&s)
	if f.HF {
		f.experts(&s, MoE{Count: f.IntOr("", "num_local_experts", 0), Used: f.IntOr("", "num_experts_per_tok", 0), FFN: s.FFN,
			Gating: Softmax, Norm: true})
	} else {
		f.experts(&s, MoE{FFN: s.FFN, Gating: Softmax, Norm: true})
	}
	return s
}

// permutedRope turns neighbours: the rows of query and key stand permuted in GGUF files.
func (f *Fields) permutedRope(s *Spec) { s.EditRope(func(r *Rope) { r.Neox = f.HF }) }

// llamaConfig is that of Mixtral where there are experts.
func llamaConfig(c *Config) {
	if c.Spec.Experts.Count == 0 {
		c.assume("the class: %s and MistralForCausalLM compute the same", c.Class.Class)
		return
	}
	c.class("mixtral")
	c.experts("num_local_experts", "intermediate_size")
	c.set("sliding_window", nil)
}
