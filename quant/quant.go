package quant

import "github.com/peftconv/peftconv/gguf"

// A format describes one block type: all that the package knows of it. Its functions may rely on the lengths that they
// get.
type format struct {
	weights int // in one block
	bytes   int // of one block

	// dequantize fills dst, whole blocks, from the blocks of src.
	dequantize func(dst []float32, src []byte)

	// quantize turns src, whole blocks, into the blocks of dst; nil: the format needs importance weights.
	quantize func(dst []byte, src []float32)

	// quantizeWeighted does so for one row with importance weights; nil: the format ignores them.
	quantizeWeighted func(dst []byte, row, importance []float32)

	// nonFinite is the index of the first weight in data that is NaN or infinite, or -1.
	nonFinite func(data []byte) int

	// layout is where scales, offsets and codes are, for requantization; nil of floats.
	layout *layout
}

// formats are the registered formats by the id of their type; nil marks the others.
var formats []*format

// register adds the format of a type. Each format does so in the init function of its own file. It also tells package
// gguf how the blocks are decoded, for Tensor.Float32s. Sizes other than gguf's and a second format of a type panic.
func register(t gguf.Type, f format) {
	switch {
	case lookup(t) != nil:
		panic("quant: a second format of a type")
	case f.weights != t.BlockLen() || f.bytes != t.BlockSize():
		panic("quant: a format whose blocks have another size than package gguf says")
	}
	for int(t) >= len(formats) {
		formats = append(formats, nil)
	}
	formats[t] = &f
	if f.weights > 1 {
		gguf.RegisterBlocks(t, func(dst []float32, src []byte) { Dequantize(t, dst, src) })
	}
}

// lookup is the format of t, or nil.
func lookup(t gguf.Type) *format {
	if int64(t) >= int64(len(formats)) {
		return nil
	}
	return formats[t]
}

// mustLookup is the format of t; the caller must have asked [Supported].
func mustLookup(t gguf.Type) *format {
	f := lookup(t)
	if f == nil {
		panic("quant: unsupported block type")
	}
	return f
}

// Supported says whether weights of type t can be dequantized and quantized.
func Supported(t gguf.Type) bool { return lookup(t) != nil }

// NeedsImportance says whether [Quantize] cannot make blocks of type t without importance weights.
func NeedsImportance(t gguf.Type) bool {
	f := lookup(t)
	return f != nil && f.quantize == nil
}

// Dequantize sets dst to the weights of the blocks in src. len(dst) is a whole number of blocks and src holds
// at least as many; more is not read.
func Dequantize(t gguf.Type, dst []float32, src []byte) {
	f := mustLookup(t)
	if len(dst)%f.weights != 0 {
		panic("quant: Dequantize of a part of a block")
	}
	if len(src) < len(dst)/f.weights*f.bytes {
		panic("quant: Dequantize of fewer blocks than weights")
	}
	f.dequantize(dst, src)
}

// Quantize sets dst to the blocks of src, rows of cols weights each. importance is nil or has one weight per column,
// by which the squared errors of that column count. Some formats ignore it, and some ([NeedsImportance]) require it.
// The result of a row depends on that row alone, so rows can be quantized in pieces and on many threads.
func Quantize(t gguf.Type, dst []byte, src []float32, cols int, importance []float32) {
	f := mustLookup(t)
	switch {
	case cols <= 0 || cols%f.weights != 0 || len(src)%cols != 0:
		panic("quant: Quantize of a part of a block or row")
	case len(dst) != len(src)/f.weights*f.bytes:
		panic("quant: Quantize into more or fewer blocks than weights")
	case importance != nil && len(importance) != cols:
		panic("quant: Quantize with more or fewer importance weights than columns")
	case importance == nil && f.quantize == nil:
		panic("quant: Quantize without the importance weights that the type needs")
	}
	if importance == nil || f.quantizeWeighted == nil {
		f.quantize(dst, src)
		return
	}
	size := cols / f.weights * f.bytes
	for len(src) > 0 {
		f.quantizeWeighted(dst[:size], src[:cols], importance)
		dst, src = dst[size:], src[cols:]
	}
}
