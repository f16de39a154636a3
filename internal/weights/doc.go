// Package weights goes through the tensors of a model's files, GGUF and safetensors alike, piece by piece.
//
// A [File] lists the tensors. A [Tensor] returns its bytes in pieces of at most [PieceElements] elements, and a
// [Reader] converts a piece to numbers. The caller releases each piece after use ([Tensor.Release]); the pages of the
// file are then given back to the system from time to time, so that a program that reads a file of any size holds
// little of it.
//
// The bytes lie in a mapped file: a disk that fails, or a file that is truncated while it is read, causes a memory
// fault. [Each] and [Guard] turn it into an error.
package weights
