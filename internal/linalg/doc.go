// Package linalg factors matrices: QR, singular values, solutions of small
// systems, and the largest singular values of a large matrix by random
// projection.
//
// Matrices are row-major slices. QR, SVD, Solve and Inverse take float32 or
// float64 and compute in float64; TruncatedSVD multiplies in float32, with the
// kernels. Nothing depends on the number of threads. Slices of wrong lengths are
// the caller's bug and panic.
package linalg

import "math"

// Float is what matrices may be made of.
type Float interface{ float32 | float64 }

func check(ok bool, message string) {
	if !ok {
		panic("linalg: " + message)
	}
}

// columns is a (m, n) as n vectors of m elements, one after the other.
func columns[T Float](a []T, m, n int) []float64 {
	c := make([]float64, m*n)
	for i := range m {
		for j, x := range a[i*n : (i+1)*n] {
			c[j*m+i] = float64(x)
		}
	}
	return c
}

// rowsOf is columns' inverse: n vectors of m elements as a matrix (m, n).
func rowsOf[T Float](c []float64, m, n int) []T {
	a := make([]T, m*n)
	for j := range n {
		for i, x := range c[j*m : (j+1)*m] {
			a[i*n+j] = T(x)
		}
	}
	return a
}

func convert[T Float](x []float64) []T {
	y := make([]T, len(x))
	for i, v := range x {
		y[i] = T(v)
	}
	return y
}

func dot(x, y []float64) float64 {
	y = y[:len(x)]
	var s0, s1, s2, s3 float64
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
	return (s0 + s1) + (s2 + s3)
}

func axpy(a float64, x, y []float64) {
	y = y[:len(x)]
	for i, v := range x {
		y[i] += float64(a * v) // not fused: the same on every processor
	}
}

func scale(a float64, x []float64) {
	for i := range x {
		x[i] *= a
	}
}

// norm is the Euclidean norm; its squares neither overflow nor vanish.
func norm(x []float64) float64 {
	big := 0.0
	for _, v := range x {
		big = max(big, math.Abs(v))
	}
	if big == 0 || math.IsInf(big, 0) || math.IsNaN(big) {
		return big
	}
	s := 0.0
	for _, v := range x {
		s += (v / big) * (v / big)
	}
	return big * math.Sqrt(s)
}
