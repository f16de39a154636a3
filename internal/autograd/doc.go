// Package autograd is a tape of fused operations over packed batches: forward now, backward in reverse.
//
// A [Tape] allocates tensors from one arena and records a backward for every operation whose result depends on
// something trainable. An operation is a forward and a backward written as a pair, in files named for what they do.
// Shapes are in comments, with
//
//	T tokens of a packed batch    D width of the stream    H heads    E experts    V vocabulary    r rank of an adapter
//
// Gradients accumulate: backward adds, and the owner of a parameter zeroes its gradient between steps. Some operations
// work in place and return the tensor they were given (LoRA, AddBias, Rope, ScaleByRow, ApplyLogits): the value before
// them is lost, which is right for a chain such as projection, adapter, bias, rotation.
//
// [Tape.Checkpoint] runs a sub-graph without recording its inside and recomputes it in backward, so that memory holds
// one (T, D) matrix a layer and the inside of one layer at a time.
//
// Operations on the same tape are not safe for concurrent use; each divides its own work among the threads of
// package kernels, always along outputs, so that results do not depend on their number.
package autograd
