// Package weights goes through the tensors of a model's files, GGUF and safetensors alike, piece by piece.
//
// A [File] lists the tensors; a [Tensor] hands out its bytes in pieces of at most [PieceElements] elements, and a [Reader]
// makes numbers of a piece. Whoever has read a piece says so ([Tensor.Release]), and the pages of the file are given back to
// the system again and again, so that a program that goes through a file of any size holds little of it.
//
// The bytes lie in a mapped file: a disk that fails, or a file that is cut short while it is read, is a fault of memory.
// [Each] and [Guard] turn it into an error.
package weights
