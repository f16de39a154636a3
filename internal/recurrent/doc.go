// Package recurrent has the operations that carry a state along a sequence: the causal convolution, the gated delta
// net and Mamba-2, each forward and backward over packed batches, and forward from a state for a session.
//
// A scan is defined by its recurrence, token by token: the plain functions in float64 (definition.go) are the
// definition and the oracle of the tests. Batches are computed in chunks of 64 tokens as matrix products, which is the
// same function (Yang et al. 2024, "Gated Delta Networks"; Dao, Gu 2024, "Transformers are SSMs"): what tokens of a
// chunk do to each other is a triangular matrix, what came before is in the state at the chunk's start. Backward keeps
// these states and computes the inside of a chunk again.
//
// Chunks begin where sequences begin, so that the result of a sequence does not depend on what it is packed with, and
// work is divided by sequences and heads, so that no result depends on the number of threads. Matrices are row-major.
// Slices of wrong lengths are the caller's bug and panic.
package recurrent

func check(ok bool, message string) {
	if !ok {
		panic("recurrent: " + message)
	}
}
