package kernels

// The generic register tile.
const (
	genericMR = 4
	genericNR = 4
	kBlock    = 256 // depth of a packed panel
	nBlock    = 64  // columns of the output that one task computes
)

// matrix is a dense operand: element (i, j) is data[i*rs+j*cs].
type matrix struct {
	data   []float32
	rs, cs int
}

// strided is the row-major matrix x with rows ld apart, or its transpose.
func strided(x []float32, ld int, trans bool) matrix {
	if trans {
		return matrix{x, 1, ld}
	}
	return matrix{x, ld, 1}
}

// GemmWT multiplies t rows by the transpose of the weights, y and x being row-major:
//
//	y (t, rows) = x (t, cols) · wᵀ + beta·y
//
// With beta 0 y is not read.
func GemmWT(y, x []float32, t int, w Weights, beta float32) {
	rows, cols := w.Dims()
	if len(x) != t*cols || len(y) != t*rows {
		panic("kernels: GemmWT of slices that do not fit the weights")
	}
	g := gemm{m: t, n: rows, k: cols, alpha: 1, beta: beta, a: matrix{x, cols, 1}, w: w, wTrans: true, c: y, ldc: rows}
	g.run()
}

// GemmW multiplies t rows by the weights, dx and dy being row-major:
//
//	dx (t, cols) = dy (t, rows) · w + beta·dx
//
// With beta 0 dx is not read.
func GemmW(dx, dy []float32, t int, w Weights, beta float32) {
	rows, cols := w.Dims()
	if len(dy) != t*rows || len(dx) != t*cols {
		panic("kernels: GemmW of slices that do not fit the weights")
	}
	g := gemm{m: t, n: cols, k: rows, alpha: 1, beta: beta, a: matrix{dy, rows, 1}, w: w, c: dx, ldc: cols}
	g.run()
}

// Gemm multiplies row-major matrices, rows of which are lda, ldb and ldc elements apart:
//
//	C (m, n) = alpha · op(A) (m, k) · op(B) (k, n) + beta · C
//
// op transposes where transA or transB says so: A is then stored as (k, m), B as (n, k). With beta 0 C is
// not read.
func Gemm(transA, transB bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	g := gemm{m: m, n: n, k: k, alpha: alpha, beta: beta, a: strided(a, lda, transA), b: strided(b, ldb, transB), c: c, ldc: ldc}
	g.run()
}

// gemm is one product C = alpha·A·B + beta·C.
type gemm struct {
	m, n, k     int
	alpha, beta float32
	a           matrix
	b           matrix  // unless:
	w           Weights // B is w, or its transpose
	wTrans      bool
	c           []float32
	ldc         int
}

func (g *gemm) run() {
	g.scaleC()
	if g.m == 0 || g.n == 0 || g.k == 0 {
		return
	}
	tasks := (g.n + nBlock - 1) / nBlock
	if g.w != nil && !g.wTrans {
		tasks = (g.n + tileCols - 1) / tileCols
	}
	if g.m*g.n*g.k < 1<<16 {
		for i := range tasks {
			g.task(i, tasks)
		}
		return
	}
	Parallel(tasks, func(i int) { g.task(i, tasks) })
}

// scaleC makes C beta·C.
func (g *gemm) scaleC() {
	for i := range g.m {
		row := g.c[i*g.ldc : i*g.ldc+g.n]
		switch g.beta {
		case 1:
		case 0:
			clear(row)
		default:
			Scale(g.beta, row)
		}
	}
}

// task adds its columns of alpha·A·B to C.
func (g *gemm) task(i, tasks int) {
	width := nBlock
	if g.w != nil && !g.wTrans {
		width = tileCols
	}
	n0, n1 := i*width, min(g.n, (i+1)*width)
	panels := (n1 - n0 + genericNR - 1) / genericNR
	b := make([]float32, panels*genericNR*kBlock)
	a := make([]float32, genericMR*kBlock)
	tile := make([]float32, width*kBlock)
	for k0 := 0; k0 < g.k; k0 += kBlock {
		k1 := min(g.k, k0+kBlock)
		src := g.b
		off := 0
		if g.w != nil {
			if g.wTrans {
				g.w.Tile(tile, kBlock, n0, n1, k0, k1)
				src = matrix{tile, 1, kBlock}
			} else {
				g.w.Tile(tile, width, k0, k1, n0, n1)
				src = matrix{tile, width, 1}
			}
		} else {
			off = k0*src.rs + n0*src.cs
		}
		for p := range panels {
			packGeneric(b[p*genericNR*kBlock:], src.data[off+p*genericNR*src.cs:], src.rs, src.cs, k1-k0, min(genericNR, n1-n0-p*genericNR), genericNR, 1)
		}
		for m0 := 0; m0 < g.m; m0 += genericMR {
			packGeneric(a, g.a.data[m0*g.a.rs+k0*g.a.cs:], g.a.cs, g.a.rs, k1-k0, min(genericMR, g.m-m0), genericMR, g.alpha)
			for p := range panels {
				g.tile(k1-k0, a, b[p*genericNR*kBlock:], m0, n0+p*genericNR)
			}
		}
	}
}

func (g *gemm) tile(k int, a, b []float32, m0, n0 int) {
	var acc [genericMR * genericNR]float32
	tileGeneric(k, a, b, &acc)
	for i := range min(genericMR, g.m-m0) {
		for j := range min(genericNR, g.n-n0) {
			g.c[(m0+i)*g.ldc+n0+j] += acc[i*genericNR+j]
		}
	}
}

// packGeneric sets dst[p*width+j] = alpha·src[p*ks+j*ws] for p < k and j < n, and zero for n <= j < width.
func packGeneric(dst, src []float32, ks, ws, k, n, width int, alpha float32) {
	for p := range k {
		for j := range n {
			dst[p*width+j] = alpha * src[p*ks+j*ws]
		}
		clear(dst[p*width+n : (p+1)*width])
	}
}

func tileGeneric(k int, a, b []float32, c *[genericMR * genericNR]float32) {
	a, b = a[:k*genericMR], b[:k*genericNR]
	for i := 0; i < genericMR; i += 2 {
		var c0, c1, c2, c3, d0, d1, d2, d3 float32
		for p := 0; p < len(a) && p < len(b); p += 4 {
			x, y := a[p+i], a[p+i+1]
			b := b[p : p+4 : p+4]
			c0 += x * b[0]
			c1 += x * b[1]
			c2 += x * b[2]
			c3 += x * b[3]
			d0 += y * b[0]
			d1 += y * b[1]
			d2 += y * b[2]
			d3 += y * b[3]
		}
		c[i*4], c[i*4+1], c[i*4+2], c[i*4+3] = c0, c1, c2, c3
		c[i*4+4], c[i*4+5], c[i*4+6], c[i*4+7] = d0, d1, d2, d3
	}
}
