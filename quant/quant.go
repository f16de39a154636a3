package quant

import "github.com/peftconv/peftconv/gguf"

// A format describes one block type. Its functions may rely on the lengths that they get.
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
}

// formats holds the known formats by the id of their type; weights == 0 marks the others.
var formats = [...]format{
	gguf.F32:  {1, 4, dequantizeF32, quantizeF32, nil, nonFiniteF32},
	gguf.F16:  {1, 2, dequantizeF16, quantizeF16, nil, nonFiniteF16},
	gguf.BF16: {1, 2, dequantizeBF16, quantizeBF16, nil, nonFiniteBF16},

	gguf.Q4_0: {weightsQ4_0, bytesQ4_0, dequantizeQ4_0, quantizeQ4_0, quantizeWeightedQ4_0, halfScales(weightsQ4_0, bytesQ4_0, 0)},
	gguf.Q4_1: {weightsQ4_1, bytesQ4_1, dequantizeQ4_1, quantizeQ4_1, quantizeWeightedQ4_1, halfScales(weightsQ4_1, bytesQ4_1, 0, 2)},
	gguf.Q5_0: {weightsQ5_0, bytesQ5_0, dequantizeQ5_0, quantizeQ5_0, quantizeWeightedQ5_0, halfScales(weightsQ5_0, bytesQ5_0, 0)},
	gguf.Q5_1: {weightsQ5_1, bytesQ5_1, dequantizeQ5_1, quantizeQ5_1, quantizeWeightedQ5_1, halfScales(weightsQ5_1, bytesQ5_1, 0, 2)},
	gguf.Q8_0: {weightsQ8_0, bytesQ8_0, dequantizeQ8_0, quantizeQ8_0, nil, halfScales(weightsQ8_0, bytesQ8_0, 0)},

	gguf.Q2_K: {weightsK, bytesQ2_K, dequantizeQ2_K, quantizeQ2_K, quantizeWeightedQ2_K, halfScales(weightsK, bytesQ2_K, dQ2_K, dminQ2_K)},
	gguf.Q3_K: {weightsK, bytesQ3_K, dequantizeQ3_K, quantizeQ3_K, quantizeWeightedQ3_K, halfScales(weightsK, bytesQ3_K, dQ3_K)},
	gguf.Q4_K: {weightsK, bytesQ4_K, dequantizeQ4_K, quantizeQ4_K, quantizeWeightedQ4_K, halfScales(weightsK, bytesQ4_K, 0, 2)},
	gguf.Q5_K: {weightsK, bytesQ5_K, dequantizeQ5_K, quantizeQ5_K, quantizeWeightedQ5_K, halfScales(weightsK, bytesQ5_K, 0, 2)},
	gguf.Q6_K: {weightsK, bytesQ6_K, dequantizeQ6_K, quantizeQ6_K, quantizeWeightedQ6_K, halfScales(weightsK, bytesQ6_K, dQ6_K)},

	gguf.IQ4_NL: {weightsIQ4_NL, bytesIQ4_NL, dequantizeIQ4_NL, quantizeIQ4_NL, quantizeWeightedIQ4_NL, halfScales(weightsIQ4_NL, bytesIQ4_NL, 0)},
	gguf.IQ4_XS: {weightsK, bytesIQ4_XS, dequantizeIQ4_XS, quantizeIQ4_XS, quantizeWeightedIQ4_XS, halfScales(weightsK, bytesIQ4_XS, 0)},

	gguf.IQ1_S:   {weightsK, bytesIQ1_S, dequantizeIQ1_S, nil, quantizeWeightedIQ1_S, halfScales(weightsK, bytesIQ1_S, 0)},
	gguf.IQ1_M:   {weightsK, bytesIQ1_M, dequantizeIQ1_M, quantizeIQ1_M, quantizeWeightedIQ1_M, nonFiniteIQ1_M},
	gguf.IQ2_XXS: {weightsK, bytesIQ2_XXS, dequantizeIQ2_XXS, nil, quantizeWeightedIQ2_XXS, halfScales(weightsK, bytesIQ2_XXS, 0)},
	gguf.IQ2_XS:  {weightsK, bytesIQ2_XS, dequantizeIQ2_XS, nil, quantizeWeightedIQ2_XS, halfScales(weightsK, bytesIQ2_XS, 0)},
	gguf.IQ2_S:   {weightsK, bytesIQ2_S, dequantizeIQ2_S, quantizeIQ2_S, quantizeWeightedIQ2_S, halfScales(weightsK, bytesIQ2_S, 0)},
	gguf.IQ3_XXS: {weightsK, bytesIQ3_XXS, dequantizeIQ3_XXS, quantizeIQ3_XXS, quantizeWeightedIQ3_XXS, halfScales(weightsK, bytesIQ3_XXS, 0)},
	gguf.IQ3_S:   {weightsK, bytesIQ3_S, dequantizeIQ3_S, quantizeIQ3_S, quantizeWeightedIQ3_S, halfScales(weightsK, bytesIQ3_S, 0)},

	gguf.TQ1_0: {weightsK, bytesTQ1_0, dequantizeTQ1_0, quantizeTQ1_0, nil, halfScales(weightsK, bytesTQ1_0, dTQ1_0)},
	gguf.TQ2_0: {weightsK, bytesTQ2_0, dequantizeTQ2_0, quantizeTQ2_0, nil, halfScales(weightsK, bytesTQ2_0, dTQ2_0)},
	gguf.MXFP4: {weightsMXFP4, bytesMXFP4, dequantizeMXFP4, quantizeMXFP4, nil, nonFiniteMXFP4},
	gguf.NVFP4: {weightsNVFP4, bytesNVFP4, dequantizeNVFP4, quantizeNVFP4, nil, nonFiniteNVFP4},
	gguf.Q1_0:  {weightsQ1_0, bytesQ1_0, dequantizeQ1_0, quantizeQ1_0, nil, halfScales(weightsQ1_0, bytesQ1_0, 0)},
	gguf.Q2_0:  {weightsQ2_0, bytesQ2_0, dequantizeQ2_0, quantizeQ2_0, nil, halfScales(weightsQ2_0, bytesQ2_0, 0)},
}

// init tells package gguf how the blocks are decoded, for Tensor.Float32s.
func init() {
	for i := range formats {
		if t := gguf.Type(i); formats[i].weights > 1 {
			gguf.RegisterBlocks(t, func(dst []float32, src []byte) { Dequantize(t, dst, src) })
		}
	}
}

// lookup is the format of t, or nil.
func lookup(t gguf.Type) *format {
	if int(t) >= len(formats) || formats[t].weights == 0 {
		return nil
	}
	return &formats[t]
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
