// Package kernels holds the fast loops: matrix products, norms, activations, rotary embeddings and the
// optimizer's update, over plain slices of float32.
//
// Every kernel has a plain Go definition, named xGeneric, which is its documentation and the oracle of its
// tests. Where the processor has the instructions, assembly of the same kernel is called instead; Tier says
// which. The build tag purego leaves all assembly out.
//
// Results do not depend on the number of threads: work is divided along outputs, never along a reduction.
// They do depend, within rounding, on the tier. Slices of wrong lengths are the caller's bug and panic.
package kernels
