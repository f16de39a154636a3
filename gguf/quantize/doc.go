// Package quantize writes GGUF models in other block types.
//
// A [FileType] determines the type of each tensor: one type for most of them, and others by rules that depend on the
// role and the position of the tensor. The file types, their rules and the output files are those of llama.cpp's
// llama-quantize, byte for byte, including metadata and the order of tensors. [ParseFileType] finds one by its name.
// Instead of a file type a size can be given: [Budget] then chooses the types so that the file fits and the measured
// error is smallest.
//
// A [Plan] lists the tensors to write, with their types and sizes. Making one reads no weights (but for a Budget,
// which samples them). [Plan.Write] streams: rows are read, quantized on all processors and written in order at the
// same time, so memory stays small whatever the size of the model.
package quantize
