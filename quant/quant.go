package quant

import "github.com/peftconv/peftconv/gguf"

// A format is what the package knows of one block type. Lengths given to its functions have been checked.
type format struct {
	weights int // in one block
	bytes   int // of one block

	// dequantize fills dst, whole blocks, from the blocks of src.
	dequantize func(dst []float32, src []byte)

	// quantize turns src, whole blocks, into the blocks of dst; nil: the format needs importance weights.
	quantize func(dst []byte, src []float32)

	// quantizeWeighted does so for one row with importance weights; nil: the format takes no notice of them.
	quantizeWeighted func(dst []byte, row, importance []float32)

	// nonFinite is the index of the first weight in data that is NaN or infinite, or -1.
	nonFinite func(data []byte) int
}

// formats holds the known formats by the id of their type; weights == 0 marks the others.
var formats = [...]format{
	gguf.F32:  {1, 4, dequantizeF32, quantizeF32, nil, nonFiniteF32},
	gguf.F16:  {1, 2, dequantizeF16, quantizeF16, nil, nonFiniteF16},
	gguf.BF16: {1, 2, dequantizeBF16, quantizeBF16, nil, nonFiniteBF16},
}

// lookup is the format of t, or nil.
func lookup(t gguf.Type) *format {
	if int(t) >= len(formats) || formats[t].weights == 0 {
		return nil
	}
	return &formats[t]
}

// mustLookup is the format of t, which the caller should have asked [Supported] for.
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

// Quantize sets dst to the blocks of src, rows of cols weights each. importance is nil or holds one weight a
// column, by which the squared errors of that column count; some formats take no notice of it and some
// ([NeedsImportance]) cannot do without. The result depends on each row alone, so that rows can be quantized in
// pieces and on many threads.
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
