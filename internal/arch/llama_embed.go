package arch

func init() { Register(&llamaEmbed) }

// llamaEmbed is llama without a causal mask, for embeddings of texts.
var llamaEmbed = Arch{Name: "llama-embed", Quantize: llama.Quantize}
