// Package tohf writes a GGUF model as a Hugging Face directory: config.json, safetensors files with their index, and a
// model card.
//
// [Write] makes the tensors of the class that computes what the file does: names, and rows and columns in the order,
// of that class; matrices that the class has in one are joined and those that it has apart are cut; what a conversion
// to GGUF calculated is calculated back; quantized tensors become floats. Which tensors and settings a class has is
// data of package arch.
//
// The tensors are made in pieces of rows, on all threads, and written while the next ones are read, so that a model of
// any size needs little memory. The directory appears under its name when all of it is written.
package tohf
