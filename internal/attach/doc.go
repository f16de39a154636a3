// Package attach defines adapters and bases, and attaches adapters to a base.
//
//   - A [Base] is a frozen model, mapped from its files. Everything made from it is valid until it is closed.
//   - An [Adapter] is a [Config] and its tensors under PEFT's names. It belongs to no base and holds its rows in the
//     order of the Hugging Face checkpoint.
//   - A [Method] gives these tensors a meaning. A [Family] is a method before there is an adapter of it: how it is
//     named, configured and made. Methods register their families (package methods, package virtual).
//   - A [Bound] is an adapter attached to one base: hooks of the decoder, and an [Effect] for all else that the method
//     does. Several together are a [Stack].
//
// # Rows of q and k
//
// GGUF files of some architectures store the rows of the query and key projections permuted, so that the two halves
// that a rotation couples are adjacent. An adapter file does not: it fits PEFT and the Hugging Face checkpoint. Rows
// are permuted where an adapter is bound to such a base and where it is exported for llama.cpp, nowhere else.
//
// # Quantization-aware training
//
// An adapter with a [Quantized] trains what merging will write: after each step the base's blocks are requantized with
// its changes (package requant), and the forward pass multiplies with these blocks.
package attach
