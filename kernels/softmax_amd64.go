//go:build !purego

package kernels

import "math"

//go:noescape
func expSumAVX512(n int, x *float32, max float32) float32

//go:noescape
func expSumAVX2(n int, x *float32, max float32) float32

// expSum is expSumGeneric on the current tier.
func expSum(x []float32, max float32) float32 {
	if current == tierGeneric {
		return expSumGeneric(x, max)
	}
	n := whole(len(x))
	var s float32
	if n > 0 {
		s = expSumBlocks(n, &x[0], max)
	}
	if n < len(x) {
		s += expSumTail(x[n:], max)
	}
	return s
}

func expSumBlocks(n int, x *float32, max float32) float32 {
	if current == tierAVX512 {
		return expSumAVX512(n, x, max)
	}
	return expSumAVX2(n, x, max)
}

// expSumTail fills the block that x is part of with elements whose exponentials are 0.
func expSumTail(x []float32, max float32) float32 {
	var block [vectorBlock]float32
	low := float32(math.Inf(-1))
	for i := copy(block[:], x); i < len(block); i++ {
		block[i] = low
	}
	s := expSumBlocks(len(block), &block[0], max)
	copy(x, block[:])
	return s
}
