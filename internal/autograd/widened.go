package autograd

import "github.com/peftconv/peftconv/kernels"

// Widened is a frozen matrix W (rows, D) with more columns beside it: [W | B].
type Widened struct {
	W kernels.Weights
	B kernels.Dense // (rows, n)
}

// Dims is the shape.
func (w Widened) Dims() (rows, cols int) {
	rows, cols = w.W.Dims()
	return rows, cols + w.B.Cols
}

// Tile implements kernels.Weights.
func (w Widened) Tile(dst []float32, ld, r0, r1, c0, c1 int) {
	_, cols := w.W.Dims()
	if c0 < cols {
		w.W.Tile(dst, ld, r0, r1, c0, min(c1, cols))
	}
	if c1 > cols {
		from := max(c0, cols)
		w.B.Tile(dst[from-c0:], ld, r0, r1, from-cols, c1-cols)
	}
}
