package kernels

// Weights is a matrix of which any tile can be had as float32: a dequantizer, or a plain matrix.
type Weights interface {
	// Dims is the shape.
	Dims() (rows, cols int)
	// Tile sets dst[(r-r0)*ld + c-c0] = W[r,c] for r0 <= r < r1 and c0 <= c < c1. c0 is a multiple of 256,
	// and c1 is too, or is the number of columns. It may be called from several goroutines at once.
	Tile(dst []float32, ld, r0, r1, c0, c1 int)
}

// tileCols is what column bounds given to Weights.Tile are multiples of.
const tileCols = 256

// Dense is a row-major float32 matrix as Weights.
type Dense struct {
	Rows, Cols int
	Data       []float32
}

// Dims is the shape.
func (d Dense) Dims() (rows, cols int) { return d.Rows, d.Cols }

// Tile copies a tile; any bounds will do.
func (d Dense) Tile(dst []float32, ld, r0, r1, c0, c1 int) {
	for r := r0; r < r1; r++ {
		copy(dst[(r-r0)*ld:(r-r0)*ld+c1-c0], d.Data[r*d.Cols+c0:r*d.Cols+c1])
	}
}

// dense is w if it is a Dense or points to one.
func dense(w Weights) (Dense, bool) {
	switch d := w.(type) {
	case Dense:
		return d, true
	case *Dense:
		return *d, true
	}
	return Dense{}, false
}

// Widened is a frozen matrix W (rows, D) with more columns beside it: [W | B].
type Widened struct {
	W Weights
	B Dense // (rows, n)
}

// Dims is the shape.
func (w Widened) Dims() (rows, cols int) {
	rows, cols = w.W.Dims()
	return rows, cols + w.B.Cols
}

// Tile implements Weights.
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
