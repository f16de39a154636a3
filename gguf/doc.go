// Package gguf reads and writes GGUF, the file format of llama.cpp and its relatives: metadata, a table of tensors, and
// their data.
//
// Open maps a file and returns a [File]: its [Metadata] in file order, and its tensors, whose bytes are views of the
// map. Nothing of the data is copied, so a model larger than memory opens in milliseconds. A model that is split over
// several files is opened as one, from any of them. [Parse] does the same for bytes in memory.
//
// Every rule of the format is checked before anything is allocated by it: counts and lengths against the bytes that are
// left, products for overflow, names for uniqueness, offsets for order, alignment and bounds. What is wrong is said by
// a [FormatError], with the file and the byte where it stands. Versions 1, 2 and 3 are read, in either byte order. An
// error is [ErrFormat] where a file is malformed, and errors.ErrUnsupported where it is only not handled.
//
// [NewWriter] writes a file from front to back: the header, then one tensor after another, each in pieces of any size,
// so no tensor has to be in memory whole. The output equals that of ggml's own writer for the same metadata and
// tensors. Reading a file and writing it again gives the same bytes: metadata values keep their kinds, floats their
// bits, empty arrays their element type.
//
// # Caveats
//
// The slices that [Tensor.Bytes] returns are valid until [File.Close], and they must not be written to. In a big-endian
// file (File.Order) they are big-endian too: [SwapBytes] turns a copy around, and [Tensor.Float32s] needs none. What
// the bytes of a block type mean is not this package's business: package quant registers decoders for all of them with
// [RegisterBlocks], and a program that calls Float32s imports it.
package gguf
