package requant

import (
	"github.com/peftconv/peftconv/kernels"
)

// Cross is what is known of the inputs X of a matrix, and of the inputs Y that it would have in another model.
type Cross struct {
	Hessian *Hessian  // XᵀX
	sum     []float32 // (N, N): YᵀX
}

// NewCross is that of no inputs of n columns.
func NewCross(n int) *Cross { return &Cross{Hessian: NewHessian(n), sum: make([]float32, n*n)} }

// Add adds inputs x and y (tokens, N).
func (c *Cross) Add(x, y []float32) {
	c.Hessian.Add(x)
	n := c.Hessian.N
	kernels.GemmTPrec(c.Hessian.Precision, n, n, len(x)/n, y, n, x, 1, c.sum)
}

// aim moves weights w (rows, N) towards those with which the inputs X give what w gives with the inputs Y, so that
// |X·w'ᵀ - Y·wᵀ|² + near·|w' - w|² gets small: some steps of conjugate gradients for each row. near is a share of the
// mean of the Hessian's diagonal, and damped is what has been added to it.
func (c *Cross) aim(w []float32, rows int, near, damped float64, steps int) {
	h, n := c.Hessian, c.Hessian.N
	damping := float32(near * (h.mean() - damped))
	rest := make([]float32, rows*n) // half of the gradient, negated
	kernels.Gemm(false, false, rows, n, n, 1, w, n, c.sum, n, 0, rest, n)
	kernels.Gemm(false, false, rows, n, n, -1, w, n, h.sum, n, 1, rest, n)
	kernels.Axpy(float32(damped), w, rest)
	direction, product := append([]float32(nil), rest...), make([]float32, rows*n)
	squares := make([]float64, rows)
	kernels.Parallel(rows, func(r int) { squares[r] = kernels.SumSquares(rest[r*n : (r+1)*n]) })
	for range steps {
		kernels.Gemm(false, false, rows, n, n, 1, direction, n, h.sum, n, 0, product, n)
		kernels.Parallel(rows, func(r int) {
			row := func(x []float32) []float32 { return x[r*n : (r+1)*n] }
			d, p := row(direction), row(product)
			kernels.Axpy(damping, d, p)
			curve := float64(kernels.Dot(d, p))
			if !(curve > 0) || squares[r] == 0 {
				return
			}
			step := float32(squares[r] / curve)
			kernels.Axpy(step, d, row(w))
			kernels.Axpy(-step, p, row(rest))
			next := kernels.SumSquares(row(rest))
			kernels.Scale(float32(next/squares[r]), d)
			kernels.Add(d, row(rest))
			squares[r] = next
		})
	}
}
