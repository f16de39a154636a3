package linalg

import (
	"errors"
	"math"
)

// ErrSingular is the error of a system without a unique solution, to working precision.
var ErrSingular = errors.New("linalg: the matrix is singular")

// Solve is the x (n, k) with a·x = b, a being (n, n) and b (n, k), by Gaussian elimination with row exchanges.
// a and b are left as they are.
func Solve[T Float](a, b []T, n, k int) ([]T, error) {
	check(len(a) == n*n && len(b) == n*k, "Solve with matrices of another size")
	lu, x := widen(a), widen(b)
	for j := range n {
		if err := pivot(lu, x, n, k, j); err != nil {
			return nil, err
		}
		for i := j + 1; i < n; i++ {
			f := -lu[i*n+j] / lu[j*n+j]
			axpy(f, lu[j*n+j:(j+1)*n], lu[i*n+j:(i+1)*n])
			axpy(f, x[j*k:(j+1)*k], x[i*k:(i+1)*k])
		}
	}
	for i := n - 1; i >= 0; i-- {
		for j := i + 1; j < n; j++ {
			axpy(-lu[i*n+j], x[j*k:(j+1)*k], x[i*k:(i+1)*k])
		}
		scale(1/lu[i*n+i], x[i*k:(i+1)*k])
	}
	return convert[T](x), nil
}

// pivot brings the largest element of column j, at or below the diagonal, onto the diagonal.
func pivot(lu, x []float64, n, k, j int) error {
	p := j
	for i := j + 1; i < n; i++ {
		if math.Abs(lu[i*n+j]) > math.Abs(lu[p*n+j]) {
			p = i
		}
	}
	if v := math.Abs(lu[p*n+j]); v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return ErrSingular
	}
	if p != j {
		swap(lu[p*n:(p+1)*n], lu[j*n:(j+1)*n])
		swap(x[p*k:(p+1)*k], x[j*k:(j+1)*k])
	}
	return nil
}

func swap(x, y []float64) {
	for i := range x {
		x[i], y[i] = y[i], x[i]
	}
}

func identity[T Float](n int) []T {
	one := make([]T, n*n)
	for i := range n {
		one[i*n+i] = 1
	}
	return one
}

func widen[T Float](x []T) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

// Inverse is the inverse of a (n, n).
func Inverse[T Float](a []T, n int) ([]T, error) {
	return Solve(a, identity[T](n), n, n)
}
