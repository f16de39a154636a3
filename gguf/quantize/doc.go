// Package quantize writes GGUF models in other block types.
//
// A [FileType] says which type each tensor of a model gets: most of them one type, some another by rules that look at
// what the tensor does and where it stands. The file types, their rules and the files that come out are those of
// llama.cpp's llama-quantize, byte for byte, metadata and the order of tensors included. [ParseFileType] finds one by its
// name. Instead of a file type a size can be given: [Budget] then chooses the types so that the file fits and the error
// that was measured on the model is least.
//
// A [Plan] is what will be written: which tensors, in which types, how many bytes. Making one reads no weights (but for a
// Budget, which samples them). [Plan.Write] streams: rows are read, quantized on all processors and written in order at
// the same time, so that memory stays small whatever the size of the model.
package quantize
