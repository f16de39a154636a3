package linalg

import (
	"math"
	"math/rand/v2"

	"github.com/peftconv/peftconv/kernels"
)

// Operator is a matrix (m, n) that is given by its products with vectors. Vectors are the rows of x and y, t of them.
type Operator interface {
	// Dims is the shape.
	Dims() (m, n int)
	// Apply sets y (t, m) = x (t, n)·Aᵀ.
	Apply(y, x []float32, t int)
	// ApplyTransposed sets y (t, n) = x (t, m)·A.
	ApplyTransposed(y, x []float32, t int)
}

// Of is weights, quantized or not, as an Operator.
type Of struct{ kernels.Weights }

// Apply implements Operator.
func (w Of) Apply(y, x []float32, t int) { kernels.GemmWT(y, x, t, w.Weights, 0) }

// ApplyTransposed implements Operator.
func (w Of) ApplyTransposed(y, x []float32, t int) { kernels.GemmW(y, x, t, w.Weights, 0) }

// Matrix is a row-major matrix as an Operator.
func Matrix(a []float32, m, n int) Operator {
	check(len(a) == m*n, "a matrix of another size")
	return Of{kernels.Dense{Rows: m, Cols: n, Data: a}}
}

// Projection configures TruncatedSVD's search for the largest singular values. The zero value finds all of them.
type Projection struct {
	Rank       int // how many; 0 is all
	Oversample int // additional directions; 0 is 10 or half of Rank, whichever is more
	Iterations int // multiplications by A·Aᵀ, which suppress the other directions; 0 is 4
	Seed       uint64
}

// TruncatedSVD finds the largest singular values of a, with their vectors: u (m, k), s (k) descending, vt (k, n), with
// k = Rank or less where a is smaller. The element of largest magnitude in each column of u is positive.
//
// A random subspace is turned towards the largest singular vectors by multiplication with a and its transpose (Halko,
// Martinsson and Tropp, SIAM Review 53, 2011, algorithm 4.4), and the factorisation within it is SVD's. Where the
// subspace would be more than half of the matrix, or the matrix has 128 rows or columns at most, it is SVD throughout.
func TruncatedSVD(a Operator, p Projection) (u, s, vt []float32) {
	m, n := a.Dims()
	small := min(m, n)
	rank := small
	if p.Rank > 0 {
		rank = min(p.Rank, small)
	}
	over := p.Oversample
	if over <= 0 {
		over = max(10, rank/2)
	}
	if l := rank + over; small > 128 && 2*l <= small {
		u, s, vt = projected(a, l, p)
	} else {
		u, s, vt = SVD(entries(a), m, n)
	}
	return leading(u, m, len(s), rank), s[:rank], vt[:rank*n]
}

// entries is the operator's matrix.
func entries(a Operator) []float32 {
	m, n := a.Dims()
	out := make([]float32, m*n)
	if m <= n {
		a.ApplyTransposed(out, identity[float32](m), m)
		return out
	}
	a.Apply(out, identity[float32](n), n)
	return Transpose(out, n, m)
}

// leading is the first k columns of u (m, n).
func leading(u []float32, m, n, k int) []float32 {
	out := make([]float32, m*k)
	for i := range m {
		copy(out[i*k:(i+1)*k], u[i*n:])
	}
	return out
}

// projected is the singular value decomposition of a within a subspace of l dimensions.
func projected(a Operator, l int, p Projection) (u, s, vt []float32) {
	m, n := a.Dims()
	iterations := p.Iterations
	if iterations <= 0 {
		iterations = 4
	}
	wide, tall := gaussian(l*n, p.Seed), make([]float32, l*m)
	a.Apply(tall, wide, l)
	for range iterations {
		Orthonormalize(tall, l)
		a.ApplyTransposed(wide, tall, l)
		Orthonormalize(wide, l)
		a.Apply(tall, wide, l)
	}
	Orthonormalize(tall, l)
	a.ApplyTransposed(wide, tall, l) // a ≈ tallᵀ·wide
	inner, s, vt := SVD(wide, l, n)
	u = make([]float32, m*l)
	kernels.Gemm(true, false, m, l, l, 1, tall, m, inner, l, 0, u, l)
	orient32(u, vt, m, n, l)
	return u, s, vt
}

// gaussian is n normal numbers.
func gaussian(n int, seed uint64) []float32 {
	rng := rand.New(rand.NewPCG(seed, 0x5eed0fa11))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// orient32 fixes the signs of the columns of u (m, l) with the rows of vt (l, n).
func orient32(u, vt []float32, m, n, l int) {
	column := make([]float32, m)
	for j := range l {
		for i := range m {
			column[i] = u[i*l+j]
		}
		if signOf(column) >= 0 {
			continue
		}
		for i := range m {
			u[i*l+j] = -u[i*l+j]
		}
		kernels.Scale(-1, vt[j*n:(j+1)*n])
	}
}

// Orthonormalize replaces k vectors, the rows of v, by orthonormal ones that span the same space (Gram and Schmidt's
// method, each vector projected twice). A vector that depends on those before it becomes zero.
func Orthonormalize(v []float32, k int) {
	check(k > 0 && len(v)%k == 0, "Orthonormalize of vectors of different lengths")
	n := len(v) / k
	for j := range k {
		x := v[j*n : (j+1)*n]
		before := math.Sqrt(kernels.SumSquares(x))
		for range 2 {
			for i := range j {
				q := v[i*n : (i+1)*n]
				kernels.Axpy(-kernels.Dot(q, x), q, x)
			}
		}
		if after := math.Sqrt(kernels.SumSquares(x)); after > 1e-6*before {
			kernels.Scale(float32(1/after), x)
		} else {
			clear(x)
		}
	}
}
