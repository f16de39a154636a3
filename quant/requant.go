package quant

import (
	"sync"

	"github.com/peftconv/peftconv/gguf"
)

// Requantization changes blocks without changing their type. A weight is scale·value(code) + offset: every group of
// weights has a scale and, in some types, an offset (zero point), and each weight has a code. SetScales changes scales
// and offsets and keeps the codes. SetCodes changes codes and keeps scales and offsets. Both write whole blocks of the
// same type, and both return the bytes of the base where nothing changes. The result depends on the arguments alone:
// not on the processor, nor on how rows are shared between threads.

// floatGroup is the number of weights that share a factor where the type has no blocks.
const floatGroup = 32

// GroupLen is the number of weights of type t that share a scale; the last group of a row of floats may be shorter. It
// is 0 for types that are not supported.
func GroupLen(t gguf.Type) int {
	if g := layoutOf(t); g != nil {
		return g.group
	}
	if isFloat(t) {
		return floatGroup
	}
	return 0
}

func isFloat(t gguf.Type) bool { return t == gguf.F32 || t == gguf.F16 || t == gguf.BF16 }

// Groups is the number of groups in a row.
func (m Matrix) Groups() int {
	n := GroupLen(m.Type)
	if n == 0 {
		panic("quant: Groups of an unsupported block type")
	}
	return (m.Cols + n - 1) / n
}

// A blockScales is the scales and offsets of one block.
type blockScales struct {
	scale, offset [16]float32
	mean, spread  [16]float32 // of the values in each group: their mean and their variance
}

// blockWork is memory for one block: arguments of function values would be allocated on the heap for each call.
type blockWork struct {
	have     blockScales
	together changedBlocks
	codes    [weightsK]uint8

	// of the blocks that are rounded at once, with room behind the last one's codes
	scales       [16]float32
	inverse      [16]float32
	old, rounded [2 * weightsK]uint8
}

var blockWorks = sync.Pool{New: func() any { return new(blockWork) }}

// equal compares the first n groups.
func (g *blockScales) equal(o *blockScales, n int) bool {
	for i := range n {
		if g.scale[i] != o.scale[i] || g.offset[i] != o.offset[i] {
			return false
		}
	}
	return true
}
