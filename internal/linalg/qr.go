package linalg

import (
	"math"

	"github.com/peftconv/peftconv/kernels"
)

// QR factors a (m, n) into q (m, k), whose columns are orthonormal, and r (k, n),
// upper triangular, with k = min(m, n), by Householder reflections. Signs are
// LAPACK's (and so NumPy's and PyTorch's): a diagonal element of r has the sign
// opposite to that of the element it replaces.
//
// The first columns of q and rows of r need no more than the first columns of a:
// q₁ is that of QR(a₁), and r₁ is q₁ᵀ·a.
func QR[T Float](a []T, m, n int) (q, r []T) {
	check(len(a) == m*n, "QR of a matrix of another size")
	k := min(m, n)
	c := columns(a, m, n)
	tau := householder(c, m, n)
	top := make([]float64, k*n)
	for j := range n {
		for i := range min(j+1, k) {
			top[i*n+j] = c[j*m+i]
		}
	}
	return rowsOf[T](reflections(c, tau, m, k), m, k), convert[T](top)
}

// householder reduces n columns of m elements, one after the other, to upper
// triangular form. Below the diagonal it leaves the reflections I - τ·v·vᵀ, whose
// v begin with a 1 that is not stored.
func householder(c []float64, m, n int) (tau []float64) {
	tau = make([]float64, min(m, n))
	for j := range tau {
		v := c[j*m+j : (j+1)*m]
		tau[j] = reflector(v)
		reflectAll(tau[j], v, c[(j+1)*m:n*m], m, j)
	}
	return tau
}

// reflector makes the reflection that turns x into a multiple of the first unit
// vector, and puts the multiple and the reflection in its place.
func reflector(x []float64) (tau float64) {
	rest := norm(x[1:])
	if rest == 0 {
		return 0
	}
	alpha := x[0]
	beta := -math.Copysign(math.Hypot(alpha, rest), alpha)
	scale(1/(alpha-beta), x[1:])
	x[0] = beta
	return (beta - alpha) / beta
}

// reflectAll applies the reflection to the elements from the given one of each column of c.
func reflectAll(tau float64, v, c []float64, m, from int) {
	one := func(i int) {
		x := c[i*m+from : (i+1)*m]
		s := tau * (x[0] + dot(v[1:], x[1:]))
		x[0] -= s
		axpy(-s, v[1:], x[1:])
	}
	parallel(len(c)/m, len(v), one)
}

// reflections multiplies the reflections out: the first k columns of their product.
func reflections(c, tau []float64, m, k int) []float64 {
	q := make([]float64, k*m)
	for j := k - 1; j >= 0; j-- {
		q[j*m+j] = 1
		reflectAll(tau[j], c[j*m+j:(j+1)*m], q[j*m:], m, j)
	}
	return q
}

// parallel is kernels.Parallel where n calls of the given length are worth it.
func parallel(n, length int, f func(i int)) {
	if n*length >= 1<<14 {
		kernels.Parallel(n, f)
		return
	}
	for i := range n {
		f(i)
	}
}
