// Package kernels holds the fast loops: matrix products, norms, activations, rotary embeddings and the
// optimizer's update, over plain slices of float32.
//
// Every kernel has a plain Go definition, named xGeneric, which is its documentation and the oracle of its
// tests. Where the processor has the instructions, assembly of the same kernel is called instead: with
// AVX-512 or AVX2, FMA and F16C on amd64, NEON on arm64, and for products in lower precisions AMX or SDOT, SMMLA and
// BFMMLA. Tier says which. The environment variable PEFTCONV_TIER
// chooses a lower tier of the machine, and the build tag purego leaves all assembly out.
//
// Results do not depend on the number of threads: work is divided along outputs, never along a reduction.
// They do depend, within rounding, on the tier. Slices of wrong lengths are the caller's bug and panic.
//
// # Matrix products
//
// Gemm multiplies dense matrices; GemmWT and GemmW multiply activations by Weights, which are anything that
// can give tiles of itself as float32, quantized blocks above all. A product goes one of two ways, by its
// shape. Where one side has few rows and the other is contiguous in k, rows are multiplied with rows
// (gemm_dots.go). Else both are packed into panels and multiplied by register tiles (gemm_tiles.go). Memory
// for packing is kept from one product to the next, so that a training step allocates nothing.
//
// Products with Weights can round their operands to a Precision, which on processors with the instructions makes them
// faster; sums stay float32 (narrow.go). A LowRank beside the weights, trainable and float32, is multiplied together
// with them (lowrank.go). docs/performance.md has the design and what was measured.
//
// Rows that are rounded to 8-bit integers are multiplied with the codes of blocks as they lie in the file (rounded.go).
// That is how text is generated: one row at a time, at the speed of the memory.
//
// # Blocks
//
// Quantize, Dequantize and the searches of Groups are loops of the block formats of package quant, which holds their
// definitions. Unlike the other kernels they give the same bits on every tier. Where a tier has no assembly, they say
// so and the caller runs the definition.
//
// # Adding a kernel
//
// Write xGeneric with the loop it equals in its comment, and the exported function, which checks lengths and
// divides whole blocks from the rest. Describe the assembly in _asm, run go generate, declare the stubs in
// the files of the architectures and the choice of tier beside them, forward to xGeneric in the file _noasm.go,
// and add a line to the table in vector_test.go.
package kernels

//go:generate go -C _asm run . ..
