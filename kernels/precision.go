package kernels

import (
	"sync"
)

// A Precision is how the operands of a product are rounded. Sums are always float32.
type Precision int

// The precisions. If this processor has no fast product with weights in a precision, the next more precise one is
// used.
const (
	F32  Precision = iota // not at all
	BF16                  // to bfloat16, nearest, ties to even
	Int8                  // to 8 bits and a scale a block
)

// String is "f32", "bf16" or "int8".
func (p Precision) String() string { return [...]string{"f32", "bf16", "int8"}[p] }

// HasBF16 says whether the processor has instructions that multiply bfloat16 numbers, on the current tier. Whether
// these are faster than those for float32 depends on the processor: see AutoPrecision.
func HasBF16() bool { return hasBF16() }

// HasInt8 says whether the processor has instructions that multiply bytes, on the current tier.
func HasInt8() bool { return hasInt8() }

// ForSums is the precision of gradients that are summed over many rows, beside products in precision p: p, or BF16 in
// the place of F32 where that is faster, because the gradients of two rows differ far more than by such a rounding.
func (p Precision) ForSums() Precision {
	if p == F32 {
		return AutoPrecision()
	}
	return p
}

// AutoPrecision is BF16 where multiplying bfloat16 numbers is measured to be faster than multiplying float32, and F32
// elsewhere. It measures once, which takes some milliseconds.
func AutoPrecision() Precision {
	if HasBF16() && bf16Pays() {
		return BF16
	}
	return F32
}

// bf16Pays compares the instructions. Processors that start two VDPBF16PS per cycle give 2, those that start one every
// second cycle give a half.
//
// The answer decides bytes, so a busy machine must not change it: the two are measured in turn and often, each by its
// best time of some tens of microseconds.
var bf16Pays = sync.OnceValue(func() bool {
	const rounds, turns = 5000, 60
	var best [2]float64
	for range turns {
		for i, p := range []Precision{BF16, F32} {
			best[i] = max(best[i], float64(peakOps(p))/fastest(0, func() { peakRounds(p, rounds) }))
		}
	}
	return best[0] > 1.25*best[1]
})
