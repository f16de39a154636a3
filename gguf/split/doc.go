// Package split splits a GGUF model over several files and joins such files again, as llama.cpp's llama-gguf-split
// does: the same names, the same metadata, the same division of tensors. Tensors are copied byte for byte, a piece at a
// time.
//
// All files are temporary until they get their names together at the end, the first one, from which programs load the
// model, last. A program that is killed leaves no incomplete model that looks complete.
package split
