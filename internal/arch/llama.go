package arch

// Llama is the name of the llama family: Llama 1 to 3, Mistral, SmolLM, TinyLlama and others converted as "llama".
const Llama = "llama"

func init() {
	Register(&llama)
	Register(&llamaEmbed)
}

var llama = Arch{
	Name: Llama,
	HF: []HFModel{
		{Type: "llama", Class: "LlamaForCausalLM", BiasFlags: [2]string{Attention: "attention_bias", FFN: "mlp_bias"}},
		{Type: "mistral", Class: "MistralForCausalLM"},
	},
	Spec:    llamaSpec,
	Tensors: decoderTensors(permuteHeads),

	Ignored:    rotaryAngles,
	AddsBiases: true,
	FFNOnly:    deci.Name,
	Quantize:   Quantize{LargeLayers: 80, LargeShared: true},
}

func llamaSpec(f *Fields) Spec {
	s := decoderSpec(f)
	s.EditRope(func(r *Rope) { r.Neox = f.HF }) // the rows of query and key stand permuted in GGUF files
	return s
}

// llamaEmbed is llama without a causal mask, for embeddings of texts.
var llamaEmbed = Arch{Name: "llama-embed", Quantize: llama.Quantize}
