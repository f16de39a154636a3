// Package safetensors reads and writes safetensors, the file format of Hugging Face models and adapters: a JSON header
// that names each tensor, its element type, its shape and its place, and then the bytes.
//
// [Open] takes a file, the index of a model that is spread over several files, or the directory that holds either, and maps
// what it finds: the tensors' bytes are views, nothing is copied. [Parse] does the same for bytes in memory.
//
// The format's law is checked in full: header size, JSON without duplicate keys, sizes that follow from shape and type
// without overflow, tensors that cover the data exactly, one after the other. What is wrong is said by a [FormatError].
//
// [Write] writes tensors that are in memory; [NewWriter] writes them one after another, in as many pieces as suits the
// caller, so that a large model needs no memory; [NewShardedWriter] spreads them over several files with an index. The
// order of tensors and the header are those of the format's reference library: the same tensors give the same bytes.
//
// # Caveats
//
// The slices that [Tensor.Bytes] returns are valid until [File.Close], and they must not be written to. All numbers are
// little-endian, and matrices are stored row after row.
package safetensors
