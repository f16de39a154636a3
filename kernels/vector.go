package kernels

import (
	"math"
	"unsafe"
)

// Each kernel here and in the files beside it exists three times: x, which chooses a tier, xGeneric, the
// definition, and xAVX2, xAVX512 and xNEON in assembly. x is given whole blocks; what is left of a slice is
// the definition's.

// blockLen is what the number of elements that assembly is given is a multiple of.
const blockLen = 16

// whole is how many of n elements make up blocks.
func whole(n int) int { return n &^ (blockLen - 1) }

// ptr is the address of the first element, if there is one.
func ptr(x []float32) *float32 { return unsafe.SliceData(x) }

// Dot is the sum of x[i]*y[i].
func Dot(x, y []float32) float32 {
	if len(x) != len(y) {
		panic("kernels: Dot of slices of different lengths")
	}
	n := whole(len(x))
	return dot(x[:n], y[:n]) + dotGeneric(x[n:], y[n:])
}

func dotGeneric(x, y []float32) float32 {
	var s0, s1, s2, s3 float32
	y = y[:len(x)]
	i := 0
	for ; i+4 <= len(x); i += 4 {
		s0 += x[i] * y[i]
		s1 += x[i+1] * y[i+1]
		s2 += x[i+2] * y[i+2]
		s3 += x[i+3] * y[i+3]
	}
	for ; i < len(x); i++ {
		s0 += x[i] * y[i]
	}
	return (s0 + s2) + (s1 + s3)
}

// Axpy is
//
//	for i := range x { y[i] += a * x[i] }
func Axpy(a float32, x, y []float32) {
	if len(x) != len(y) {
		panic("kernels: Axpy of slices of different lengths")
	}
	n := whole(len(x))
	axpy(a, x[:n], y[:n])
	axpyGeneric(a, x[n:], y[n:])
}

func axpyGeneric(a float32, x, y []float32) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] += a * v
	}
}

// Scale is
//
//	for i := range x { x[i] *= a }
func Scale(a float32, x []float32) {
	n := whole(len(x))
	scale(a, x[:n])
	scaleGeneric(a, x[n:])
}

func scaleGeneric(a float32, x []float32) {
	for i := range x {
		x[i] *= a
	}
}

// Add is
//
//	for i := range dst { dst[i] += x[i] }
func Add(dst, x []float32) {
	if len(dst) != len(x) {
		panic("kernels: Add of slices of different lengths")
	}
	n := whole(len(x))
	add(dst[:n], x[:n])
	addGeneric(dst[n:], x[n:])
}

func addGeneric(dst, x []float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] += x[i]
	}
}

// Mul is
//
//	for i := range dst { dst[i] *= x[i] }
func Mul(dst, x []float32) {
	if len(dst) != len(x) {
		panic("kernels: Mul of slices of different lengths")
	}
	n := whole(len(x))
	mul(dst[:n], x[:n])
	mulGeneric(dst[n:], x[n:])
}

func mulGeneric(dst, x []float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] *= x[i]
	}
}

// MulAdd is
//
//	for i := range dst { dst[i] += x[i] * y[i] }
func MulAdd(dst, x, y []float32) {
	if len(dst) != len(x) || len(dst) != len(y) {
		panic("kernels: MulAdd of slices of different lengths")
	}
	n := whole(len(x))
	mulAdd(dst[:n], x[:n], y[:n])
	mulAddGeneric(dst[n:], x[n:], y[n:])
}

func mulAddGeneric(dst, x, y []float32) {
	x, y = x[:len(dst)], y[:len(dst)]
	for i := range dst {
		dst[i] += x[i] * y[i]
	}
}

// SumSquares is the sum of x[i]*x[i], added up in float64.
func SumSquares(x []float32) float64 {
	n := whole(len(x))
	return sumSquares(x[:n]) + sumSquaresGeneric(x[n:])
}

func sumSquaresGeneric(x []float32) float64 {
	var s float64
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	return s
}

// Max is the largest of x: -Inf when x is empty. A NaN in x may or may not be passed over.
func Max(x []float32) float32 {
	n := whole(len(x))
	return max(maximum(x[:n]), maximumGeneric(x[n:]))
}

func maximumGeneric(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}
