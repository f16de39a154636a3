package model

// qwen2Spec is Qwen 2 and 2.5: llama with biases on q, k and v and RoPE over halves of the head.
func qwen2Spec(c *config) Spec {
	s := c.decoderSpec()
	s.Rope.Neox = true
	return s
}
