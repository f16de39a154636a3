package autograd

import (
	"github.com/peftconv/peftconv/internal/linalg"
	"github.com/peftconv/peftconv/kernels"
)

// cayleyOp turns skew-symmetric matrices into rotations.
type cayleyOp struct {
	w, y   *Tensor
	n      int
	series []float32 // coefficients of the powers; nil: exact
}

// Cayley computes rotations (k, n·n) from k skew-symmetric matrices of n rows, whose elements above the diagonal, row
// by row, are the rows of w (k, n·(n-1)/2).
//
// Without coefficients it is Cayley's transform (I-Q)·(I+Q)⁻¹; with them it is the sum of series[i]·Qⁱ, an
// approximation of the inverse of that, (I+Q)·(I-Q)⁻¹ = I + 2Q + 2Q² + …, which needs no inverse.
func (t *Tape) Cayley(w *Tensor, n int, series []float32) *Tensor {
	if w.Cols != n*(n-1)/2 {
		panic("autograd: Cayley: elements and size differ")
	}
	y := t.Tensor(w.Rows, n*n)
	op := &cayleyOp{w, y, n, series}
	kernels.Parallel(w.Rows, func(i int) { op.rotation(y.Row(i), i) })
	t.lap(PartLoRA)
	if w.needs {
		y.needs = true
		t.push(op)
	}
	return y
}

// skew is the skew-symmetric matrix with the given elements above the diagonal.
func skew(q, w []float32, n int) {
	clear(q)
	k := 0
	for i := range n {
		for j := i + 1; j < n; j++ {
			q[i*n+j], q[j*n+i] = w[k], -w[k]
			k++
		}
	}
}

// rotation makes matrix number i.
func (op *cayleyOp) rotation(r []float32, i int) {
	size := op.n * op.n
	s := takeScratch(size * (1 + max(2, len(op.series))))
	defer s.give()
	q := s.floats[:size]
	skew(q, op.w.Row(i), op.n)
	if op.series == nil {
		op.exact(r, s.floats[size:2*size], q)
		return
	}
	op.horner(s.floats[size:], q)
	copy(r, s.floats[size:2*size])
}

// exact is r = (I-Q)·inv, inv = (I+Q)⁻¹, which exists for every skew-symmetric Q.
func (op *cayleyOp) exact(r, inv, q []float32) {
	n := op.n
	sum, difference := make([]float64, n*n), make([]float32, n*n)
	for i, v := range q {
		sum[i], difference[i] = float64(v), -v
	}
	for i := range n {
		sum[i*n+i]++
		difference[i*n+i]++
	}
	exact, err := linalg.Inverse(sum, n)
	if err != nil {
		panic("autograd: Cayley: the matrix is not finite")
	}
	for i, v := range exact {
		inv[i] = float32(v)
	}
	kernels.Gemm(false, false, n, n, n, 1, difference, n, inv, n, 0, r, n)
}

// horner makes h[i] = series[i]·I + Q·h[i+1] for all i; the sum is h[0].
func (op *cayleyOp) horner(h, q []float32) {
	n, size := op.n, op.n*op.n
	for i := len(op.series) - 1; i >= 0; i-- {
		hi := h[i*size : (i+1)*size]
		clear(hi)
		if i+1 < len(op.series) {
			kernels.Gemm(false, false, n, n, n, 1, q, n, h[(i+1)*size:], n, 0, hi, n)
		}
		for j := range n {
			hi[j*n+j] += op.series[i]
		}
	}
}

func (op *cayleyOp) backward(t *Tape) {
	if op.y.Grad == nil {
		return
	}
	t.grad(op.w)
	kernels.Parallel(op.w.Rows, func(i int) {
		size := op.n * op.n
		s := takeScratch(size * (4 + max(2, len(op.series))))
		defer s.give()
		clear(s.floats)
		q, dq := s.floats[:size], s.floats[size:2*size]
		skew(q, op.w.Row(i), op.n)
		if op.series == nil {
			op.exactGrad(dq, q, op.y.gradRow(i), s.floats[2*size:])
		} else {
			op.hornerGrad(dq, q, op.y.gradRow(i), s.floats[2*size:])
		}
		dw, k := op.w.gradRow(i), 0
		for r := range op.n {
			for c := r + 1; c < op.n; c++ {
				dw[k] += dq[r*op.n+c] - dq[c*op.n+r]
				k++
			}
		}
	})
	t.lap(PartLoRA)
}

// exactGrad is dq = -(I+R)ᵀ·dR·invᵀ.
func (op *cayleyOp) exactGrad(dq, q, dr, scratch []float32) {
	n, size := op.n, op.n*op.n
	r, inv, tmp := scratch[:size], scratch[size:2*size], scratch[2*size:3*size]
	op.exact(r, inv, q)
	for i := range n {
		r[i*n+i]++
	}
	kernels.Gemm(true, false, n, n, n, -1, r, n, dr, n, 0, tmp, n)
	kernels.Gemm(false, true, n, n, n, 1, tmp, n, inv, n, 0, dq, n)
}

// hornerGrad goes through horner's steps: dq += dh[i]·h[i+1]ᵀ, dh[i+1] = Qᵀ·dh[i].
func (op *cayleyOp) hornerGrad(dq, q, dr, scratch []float32) {
	n, size := op.n, op.n*op.n
	dh, next, h := scratch[:size], scratch[size:2*size], scratch[2*size:]
	op.horner(h, q)
	copy(dh, dr)
	for i := 0; i+1 < len(op.series); i++ {
		kernels.Gemm(false, true, n, n, n, 1, dh, n, h[(i+1)*size:], n, 1, dq, n)
		kernels.Gemm(true, false, n, n, n, 1, q, n, dh, n, 0, next, n)
		dh, next = next, dh
	}
}

// rotateOp is y = x + strength·(x·R - x), block by block.
type rotateOp struct {
	x, r, y  *Tensor
	n        int
	strength float32
}

// Rotate multiplies blocks of n columns of x (T, k·n) by matrices R (k, n·n), one each, or one for all (1, n·n), with
// a strength: y = x + strength·(x·R - x).
func (t *Tape) Rotate(x, r *Tensor, n int, strength float32) *Tensor {
	if r.Cols != n*n || x.Cols%n != 0 || r.Rows != 1 && r.Rows*n != x.Cols {
		panic("autograd: Rotate: matrices and columns do not fit")
	}
	y := t.Tensor(x.Rows, x.Cols)
	op := &rotateOp{x, r, y, n, strength}
	op.each(func(at int, block []float32) { // y = strength·x·R
		kernels.Gemm(false, false, x.Rows, n, n, strength, x.Data[at:], x.Cols, block, n, 0, y.Data[at:], y.Cols)
	})
	if strength != 1 {
		forRows(x.Rows, func(i int) { kernels.Axpy(1-strength, x.Row(i), y.Row(i)) })
	}
	t.lap(PartLoRA)
	if x.needs || r.needs {
		y.needs = true
		t.push(op)
	}
	return y
}

// each calls f for every block: with its first column and its matrix.
func (op *rotateOp) each(f func(at int, block []float32)) {
	kernels.Parallel(op.x.Cols/op.n, func(i int) { f(i*op.n, op.r.Row(i%op.r.Rows)) })
}

func (op *rotateOp) backward(t *Tape) {
	x, r, y, n := op.x, op.r, op.y, op.n
	if y.Grad == nil {
		return
	}
	if r.needs {
		t.grad(r)
		kernels.Parallel(r.Rows, func(k int) { // dR += strength·xᵀ·dy; of a shared matrix over all blocks in turn
			for at := k * n; at < x.Cols; at += r.Rows * n {
				kernels.Gemm(true, false, n, n, x.Rows, op.strength, x.Data[at:], x.Cols, y.Grad[at:], y.Cols, 1, r.gradRow(k), n)
			}
		})
	}
	if x.needs {
		t.grad(x)
		op.each(func(at int, block []float32) { // dx += strength·dy·Rᵀ
			kernels.Gemm(false, true, x.Rows, n, n, op.strength, y.Grad[at:], y.Cols, block, n, 1, x.Grad[at:], x.Cols)
		})
		if op.strength != 1 {
			forRows(x.Rows, func(i int) { kernels.Axpy(1-op.strength, y.gradRow(i), x.gradRow(i)) })
		}
	}
	t.lap(PartLoRA)
}
