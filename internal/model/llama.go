package model

// llamaSpec is the llama family: Llama 1 to 3, Mistral, SmolLM, TinyLlama and others converted as "llama".
func llamaSpec(c *config) Spec { return c.decoderSpec() }
