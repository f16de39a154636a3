// Package safetensors reads and writes safetensors, the file format of Hugging Face models and adapters: a JSON header
// with the name, element type, shape and position of each tensor, and then the bytes.
//
// [Open] takes a file, the index of a model that is spread over several files, or the directory that holds either, and
// maps what it finds: the tensors' bytes are views, nothing is copied. [Parse] does the same for bytes in memory.
//
// All rules of the format are checked: header size, JSON without duplicate keys, sizes that follow from shape and type
// without overflow, tensors that cover the data exactly, one after the other. A [FormatError] reports a violation.
//
// [Write] writes tensors that are in memory. [NewWriter] writes them one after another, in pieces of any size, so that
// a large model needs little memory. [NewShardedWriter] divides them over several files with an index. The order of
// tensors and the header are those of the format's reference library: the same tensors give the same bytes.
//
// # Caveats
//
// The slices that [Tensor.Bytes] returns are valid until [File.Close], and they must not be written to. All numbers are
// little-endian, and matrices are stored row after row.
package safetensors
