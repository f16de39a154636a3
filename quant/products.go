package quant

import (
	"github.com/peftconv/peftconv/gguf"
	"github.com/peftconv/peftconv/kernels"
)

// productKinds are the types whose blocks package kernels multiplies as they are.
var productKinds = map[gguf.Type]kernels.BlockKind{
	gguf.Q4_0: kernels.Q4_0, gguf.Q4_1: kernels.Q4_1, gguf.Q5_0: kernels.Q5_0, gguf.Q5_1: kernels.Q5_1,
	gguf.Q8_0: kernels.Q8_0, gguf.IQ4_NL: kernels.IQ4_NL, gguf.MXFP4: kernels.MXFP4, gguf.Q4_K: kernels.Q4_K,
	gguf.Q5_K: kernels.Q5_K, gguf.Q6_K: kernels.Q6_K, gguf.IQ4_XS: kernels.IQ4_XS,
}

// Blocks are those of the matrix, for products with [kernels.Rounded] rows; ok is false where there are none for its
// type.
func (m Matrix) Blocks() (kind kernels.BlockKind, data []byte, ok bool) {
	kind, ok = productKinds[m.Type]
	return kind, m.Data, ok && m.Cols > 0
}

// HasProducts says whether the blocks of the matrix can be multiplied with [kernels.Rounded] rows fast, on this
// machine.
func (m Matrix) HasProducts() bool {
	kind, _, ok := m.Blocks()
	return ok && kernels.HasProducts(kind)
}
