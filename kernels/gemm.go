package kernels

import "github.com/peftconv/peftconv/internal/freelist"

// matrix is a dense operand: element (i, j) is data[i*rs+j*cs], and one of rs and cs is 1.
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

func (x matrix) transposed() matrix { return matrix{x.data, x.cs, x.rs} }

// from is the part of the data that begins with element (i, j).
func (x matrix) from(i, j int) []float32 { return x.data[i*x.rs+j*x.cs:] }

// holds says whether the data has all of rows × cols.
func (x matrix) holds(rows, cols int) bool {
	return rows == 0 || cols == 0 || (rows-1)*x.rs+(cols-1)*x.cs < len(x.data)
}

// GemmWT multiplies t rows by the transpose of the weights, y and x being row-major:
//
//	y (t, rows) = x (t, cols) · wᵀ + beta·y
//
// With beta 0 y is not read.
func GemmWT(y, x []float32, t int, w Weights, beta float32) { GemmWTPrec(F32, y, x, t, w, beta) }

// GemmWTPrec is GemmWT with x and w rounded to precision p, unless t is so small that dequantizing w takes longer than
// the product. Sums are float32.
func GemmWTPrec(p Precision, y, x []float32, t int, w Weights, beta float32) {
	rows, cols := w.Dims()
	if len(x) != t*cols || len(y) != t*rows {
		panic("kernels: GemmWT of slices that do not fit the weights")
	}
	if t <= dotsRows {
		p = F32
	}
	if d, ok := dense(w); ok && p == F32 {
		Gemm(false, true, t, rows, cols, 1, x, cols, d.Data, cols, beta, y, rows)
		return
	}
	g := gemms.Get()
	g.product = product{m: t, n: rows, k: cols, alpha: 1, beta: beta, a: strided(x, cols, false), w: w, wTrans: true,
		precision: p, c: y, ldc: rows}
	g.run()
	gemms.Put(g)
}

// GemmW multiplies t rows by the weights, dx and dy being row-major:
//
//	dx (t, cols) = dy (t, rows) · w + beta·dx
//
// With beta 0 dx is not read.
func GemmW(dx, dy []float32, t int, w Weights, beta float32) { GemmWPrec(F32, dx, dy, t, w, beta) }

// GemmWPrec is GemmW with dy and w rounded to precision p, unless t is so small that dequantizing w takes longer than
// the product. Sums are float32.
func GemmWPrec(p Precision, dx, dy []float32, t int, w Weights, beta float32) {
	rows, cols := w.Dims()
	if len(dy) != t*rows || len(dx) != t*cols {
		panic("kernels: GemmW of slices that do not fit the weights")
	}
	if t <= dotsRows {
		p = F32
	}
	if d, ok := dense(w); ok && p == F32 {
		Gemm(false, false, t, cols, rows, 1, dy, rows, d.Data, cols, beta, dx, cols)
		return
	}
	g := gemms.Get()
	g.product = product{m: t, n: cols, k: rows, alpha: 1, beta: beta, a: strided(dy, rows, false), w: w, precision: p,
		c: dx, ldc: cols}
	g.run()
	gemms.Put(g)
}

// Gemm multiplies row-major matrices, rows of which are lda, ldb and ldc elements apart:
//
//	C (m, n) = alpha · op(A) (m, k) · op(B) (k, n) + beta · C
//
// op transposes where transA or transB says so: A is then stored as (k, m), B as (n, k). With beta 0 C is
// not read.
func Gemm(transA, transB bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32,
	c []float32, ldc int) {
	g := gemms.Get()
	g.product = product{m: m, n: n, k: k, alpha: alpha, beta: beta, a: strided(a, lda, transA), b: strided(b, ldb, transB),
		c: c, ldc: ldc}
	if !g.a.holds(m, k) || !g.b.holds(k, n) || !strided(c, ldc, false).holds(m, n) {
		panic("kernels: Gemm of slices too short for their shapes")
	}
	g.run()
	gemms.Put(g)
}

// GemmTPrec multiplies the transpose of a by b, both row-major, with both rounded to precision p:
//
//	c (m, n) = aᵀ · b + beta·c		a (t, m), b (t, n)
//
// Sums are float32. With beta 0 c is not read. Rows of a are lda elements apart.
func GemmTPrec(p Precision, m, n, t int, a []float32, lda int, b []float32, beta float32, c []float32) {
	if p == F32 {
		Gemm(true, false, m, n, t, 1, a, lda, b, n, beta, c, n)
		return
	}
	g := gemms.Get()
	g.product = product{m: m, n: n, k: t, alpha: 1, beta: beta, a: strided(a, lda, true), w: Dense{t, n, b}, precision: p,
		c: c, ldc: n}
	if !g.a.holds(m, t) || len(b) != t*n || len(c) != m*n {
		panic("kernels: GemmTPrec of slices that do not fit their shapes")
	}
	g.run()
	gemms.Put(g)
}

// product is C = alpha·A·B + beta·C with row-major C, which is written transposed if cTrans.
type product struct {
	m, n, k     int
	alpha, beta float32
	a           matrix
	b           matrix  // unless:
	w           Weights // B is w, or its transpose
	wTrans      bool
	precision   Precision // to which A and B are rounded, if w is there
	c           []float32
	ldc         int
	cTrans      bool
}

// cIndex is where element (i, j) of the product lies in c.
func (g *product) cIndex(i, j int) int {
	if g.cTrans {
		return j*g.ldc + i
	}
	return i*g.ldc + j
}

// gemm is one product in progress.
type gemm struct {
	product
	tiling tiling       // of outer products
	wide   int          // columns a task of dot products
	fours  int          // times four rows that are packed for it
	packed []float32    // panels of A, or the few rows of dot products
	right  [2][]float32 // panels of a slice of B, and of the next one
	skip   int          // rows of B before those that are multiplied
	number int          // of the slice that is multiplied
	taken  []counter    // panels of B taken in each area
	low    low          // of a product with weights

	packTask, tileTask, aloneTask func(i int) // the methods, bound once
	dotTask, lowTask, upTask      func(i int)
}

var gemms freelist.List[gemm]

const (
	// inlineWork is the number of multiply-adds below which threads are not worth it.
	inlineWork = 1 << 17
	// dotsRows is the number of rows up to which a product goes by dot products, if it can.
	dotsRows = 16
	// dotsDepth is the least k of that.
	dotsDepth = 32
)

// run computes the product. The method depends on the shapes alone: the number of threads does not change the order of
// any sum.
func (g *gemm) run() {
	if g.tileTask == nil {
		g.packTask, g.tileTask, g.aloneTask, g.dotTask = g.packFirst, g.tileOrPack, g.tileAlone, g.dotRows
	}
	switch {
	case g.m == 0 || g.n == 0:
	case g.k == 0 || g.alpha == 0:
		g.scaleC()
	case g.dotsFit():
		g.runDots()
	default:
		g.swapToWide()
		g.runTiles()
	}
	g.product = product{}
	g.setLow(low{})
}

// swapToWide computes Cᵀ = Bᵀ·Aᵀ instead where C is narrow and Aᵀ can be read as it lies.
func (g *gemm) swapToWide() {
	if g.w == nil && g.n < tileShape().nr && g.n < g.m && g.a.rs == 1 {
		g.m, g.n, g.a, g.b, g.cTrans = g.n, g.m, g.b.transposed(), g.a.transposed(), true
	}
}

func (g *gemm) scaleC() {
	for i := range g.m {
		scaleOrClear(g.beta, g.c[i*g.ldc:i*g.ldc+g.n])
	}
}

// scaleOrClear is Scale that does not read x when beta is 0.
func scaleOrClear(beta float32, x []float32) {
	switch beta {
	case 0:
		clear(x)
	case 1:
	default:
		Scale(beta, x)
	}
}

// share calls f(0) … f(n-1), in parallel if that many multiply-adds are worth it.
func share(work, n int, f func(i int)) {
	if work >= inlineWork {
		Parallel(n, f)
		return
	}
	for i := range n {
		f(i)
	}
}
