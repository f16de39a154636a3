// Package quant reads and writes the block formats in which GGUF files store weights.
//
// A tensor is rows of whole blocks. A block is a few weights that share a scale: weight = scale·value(code) + offset.
// [Dequantize] turns blocks into float32 and [Quantize] turns float32 into blocks, both bit for bit as ggml's
// reference does on a machine without fused multiply-add, on every platform. [Matrix] is a weight matrix that stays in
// its blocks (usually a view of a mapped file) and returns float32 rows and tiles of itself. [SetScales] and [SetCodes]
// requantize: they give blocks other scales and offsets, or other codes, and keep the rest. What the package knows of a
// type is in the file of its name, which registers it.
//
// Bytes are little-endian, as in nearly every GGUF file; a big-endian tensor has to be swapped first.
//
// Lengths and shapes that do not fit are the caller's bug and panic, except in [NewMatrix], which checks what came
// from a file and returns an error.
package quant
