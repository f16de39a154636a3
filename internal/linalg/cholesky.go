package linalg

import (
	"errors"
	"math"

	"github.com/peftconv/peftconv/kernels"
)

// ErrNotPositive is the error of a matrix that is not positive definite, or not enough for its precision.
var ErrNotPositive = errors.New("linalg: the matrix is not positive definite")

// choleskyBlock is how many columns Cholesky factors at a time.
const choleskyBlock = 64

// Cholesky replaces the lower triangle of the symmetric a (n, n) by l, a = l·lᵀ. It does not read or change the part
// above the diagonal. It works in float32, block by block, and has a few multiples of n³/3 multiply-adds in products;
// blocks on the diagonal are factored in float64.
func Cholesky(a []float32, n int) error {
	check(len(a) == n*n, "Cholesky of a matrix of another size")
	for k0 := 0; k0 < n; k0 += choleskyBlock {
		k1 := min(n, k0+choleskyBlock)
		top, err := choleskyTop(a, n, k0, k1)
		if err != nil {
			return err
		}
		kernels.Parallel(n-k1, func(i int) { substitute(a[(k1+i)*n+k0:][:k1-k0], top) })
		choleskyRest(a, n, k0, k1)
	}
	return nil
}

// choleskyTop factors the block from k0 to k1 on the diagonal, and also returns it in float64.
func choleskyTop(a []float32, n, k0, k1 int) ([]float64, error) {
	size := k1 - k0
	l := make([]float64, size*size)
	for i := range size {
		for j := range i + 1 {
			sum := float64(a[(k0+i)*n+k0+j]) - dot(l[i*size:i*size+j], l[j*size:j*size+j])
			switch {
			case i > j:
				l[i*size+j] = sum / l[j*size+j]
			case !(sum > 0) || math.IsInf(sum, 0):
				return nil, ErrNotPositive
			default:
				l[i*size+i] = math.Sqrt(sum)
			}
			a[(k0+i)*n+k0+j] = float32(l[i*size+j])
		}
	}
	return l, nil
}

// substitute solves x = x'·lᵀ for x' and stores it in the row x.
func substitute(x []float32, l []float64) {
	var y [choleskyBlock]float64
	n := len(x)
	for j := range x {
		y[j] = (float64(x[j]) - dot(l[j*n:j*n+j], y[:j])) / l[j*n+j]
		x[j] = float32(y[j])
	}
}

// choleskyRest subtracts the contribution of the columns from k0 to k1 from those after them, within the lower
// triangle.
func choleskyRest(a []float32, n, k0, k1 int) {
	const strip = 4 * choleskyBlock
	for c0 := k1; c0 < n; c0 += strip {
		c1 := min(n, c0+strip)
		kernels.Gemm(false, true, n-c0, c1-c0, k1-k0, -1, a[c0*n+k0:], n, a[c0*n+k0:], n, 1, a[c0*n+c0:], n)
	}
}
