package kernels

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/alloctest"
)

func randoms(n int, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

func checkClose(t *testing.T, what string, got, want []float32, tol float64) {
	t.Helper()
	for i := range want {
		if !near(float64(got[i]), float64(want[i]), tol) {
			t.Fatalf("%s: [%d] = %v, want %v", what, i, got[i], want[i])
		}
	}
}

// gemmCase is a product of random matrices with rows a little apart.
type gemmCase struct {
	transA, transB bool
	m, n, k        int
	lda, ldb, ldc  int
	a, b, c        []float32
}

// newGemmCase has rows gap elements farther apart than they are long, but for the last.
func newGemmCase(m, n, k int, transA, transB bool, gap int) gemmCase {
	rows := func(rows, cols, seed int) ([]float32, int) {
		return randoms(max(0, rows*(cols+gap)-gap), uint64(seed)), cols + gap
	}
	g := gemmCase{transA: transA, transB: transB, m: m, n: n, k: k}
	if transA {
		g.a, g.lda = rows(k, m, 1)
	} else {
		g.a, g.lda = rows(m, k, 1)
	}
	if transB {
		g.b, g.ldb = rows(n, k, 2)
	} else {
		g.b, g.ldb = rows(k, n, 2)
	}
	g.c, g.ldc = rows(m, n, 3)
	return g
}

// check computes the product on C and compares with sums in float64; nothing but C's elements may change.
func (g gemmCase) check(t *testing.T, alpha, beta float32) {
	t.Helper()
	want := append([]float32(nil), g.c...)
	a, b := strided(g.a, g.lda, g.transA), strided(g.b, g.ldb, g.transB)
	size := 0.0
	for i := range g.m {
		for j := range g.n {
			var s float64
			for p := range g.k {
				s += float64(a.data[i*a.rs+p*a.cs]) * float64(b.data[p*b.rs+j*b.cs])
			}
			s *= float64(alpha)
			if beta != 0 {
				s += float64(beta) * float64(g.c[i*g.ldc+j])
			}
			want[i*g.ldc+j] = float32(s)
			size = max(size, math.Abs(s))
		}
	}
	if beta == 0 && g.n > 0 {
		for i := range g.m {
			g.c[i*g.ldc] = float32(math.NaN()) // not read
		}
	}
	Gemm(g.transA, g.transB, g.m, g.n, g.k, alpha, g.a, g.lda, g.b, g.ldb, beta, g.c, g.ldc)
	checkClose(t, fmt.Sprintf("%v %v %d×%d×%d alpha %v beta %v", g.transA, g.transB, g.m, g.n, g.k, alpha, beta), g.c,
		want, 2e-6*max(1, size))
}

// gemmShapes are around the tiles of all tiers, the limits of dot products and the blocks of k.
var gemmShapes = [][3]int{
	{1, 1, 1}, {1, 1, 300}, {1, 33, 64}, {33, 1, 64}, {2, 2, 2}, {3, 5, 7}, {4, 16, 31}, {4, 16, 32}, {4, 16, 33},
	{5, 31, 16}, {6, 32, 17}, {7, 33, 15}, {13, 64, 40}, {14, 32, 256}, {15, 33, 257}, {16, 96, 100}, {17, 20, 70},
	{16, 16, 16}, {17, 17, 33}, {28, 65, 300}, {29, 63, 513}, {70, 8, 90}, {8, 70, 90}, {70, 16, 8}, {64, 64, 8},
	{100, 12, 1100}, {12, 100, 1030}, {40, 300, 20}, {300, 40, 20}, {0, 5, 5}, {5, 0, 5}, {5, 5, 0},
}

func TestGemm(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, s := range gemmShapes {
			for trans := range 4 {
				for i, beta := range []float32{0, 1, 0.5} {
					g := newGemmCase(s[0], s[1], s[2], trans&1 != 0, trans&2 != 0, trans+i)
					g.check(t, []float32{1, 0.25, 1}[i], beta)
				}
			}
		}
	})
}

func TestGemmLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("large products are left out of short tests")
	}
	eachTier(t, func(t *testing.T) {
		setThreads(t, 3)
		for trans := range 4 {
			g := newGemmCase(103, 210, 530, trans&1 != 0, trans&2 != 0, 3)
			g.check(t, 1, 1)
		}
	})
}

// strictWeights is a Dense that insists on the bounds that Weights.Tile promises.
type strictWeights struct{ Dense }

func (w strictWeights) Tile(dst []float32, ld, r0, r1, c0, c1 int) {
	if r0 < 0 || r1 > w.Rows || r0 >= r1 || c0 < 0 || c1 > w.Cols || c0 >= c1 {
		panic("a tile outside of the matrix")
	}
	if c0%256 != 0 || c1%256 != 0 && c1 != w.Cols {
		panic("a tile that begins or ends within a block")
	}
	if (r1-r0-1)*ld+c1-c0 > len(dst) || ld < c1-c0 {
		panic("a tile larger than its buffer")
	}
	w.Dense.Tile(dst, ld, r0, r1, c0, c1)
}

func TestGemmWeights(t *testing.T) {
	for _, rows := range []int{1, 5, 33, 300} {
		for _, cols := range []int{1, 20, 256, 700} {
			for _, n := range []int{0, 1, 3, 16, 17, 40} {
				d := Dense{rows, cols, randoms(rows*cols, 1)}
				newWeightsCase(d, n).check(t, d, &d, strictWeights{d})
			}
		}
	}
	d := Dense{40, 1100, randoms(40*1100, 1)}
	newWeightsCase(d, 5).check(t, strictWeights{d})
}

// weightsCase is the products of n rows with a matrix, both ways, and what they should be.
type weightsCase struct {
	n, rows, cols int
	x, y, wantY   []float32 // y + x·wᵀ
	dy, wantX     []float32 // dy·w
}

func newWeightsCase(d Dense, n int) weightsCase {
	c := weightsCase{n: n, rows: d.Rows, cols: d.Cols, x: randoms(n*d.Cols, 2), y: randoms(n*d.Rows, 3),
		dy: randoms(n*d.Rows, 4)}
	c.wantY = rowsTimes64(c.y, c.x, strided(d.Data, d.Cols, true), n, d.Rows, d.Cols)
	c.wantX = rowsTimes64(make([]float32, n*d.Cols), c.dy, strided(d.Data, d.Cols, false), n, d.Cols, d.Rows)
	return c
}

// rowsTimes64 is c + a·b for row-major a (m, k) and c (m, n), in float64.
func rowsTimes64(c, a []float32, b matrix, m, n, k int) []float32 {
	y := make([]float32, m*n)
	for i := range m {
		for j := range n {
			var s float64
			for p, v := range a[i*k : (i+1)*k] {
				s += float64(v) * float64(b.data[p*b.rs+j*b.cs])
			}
			y[i*n+j] = float32(float64(c[i*n+j]) + s)
		}
	}
	return y
}

// check multiplies by each w, all of which are the same matrix, on every tier.
func (c weightsCase) check(t *testing.T, weights ...Weights) {
	t.Helper()
	eachTier(t, func(t *testing.T) {
		for _, w := range weights {
			what := fmt.Sprintf("%T %d×%d, %d rows: ", w, c.rows, c.cols, c.n)
			var first []float32
			for _, fewPanels = range []int{0, 8} {
				y := append([]float32(nil), c.y...)
				GemmWT(y, c.x, c.n, w, 1)
				checkClose(t, what+"GemmWT", y, c.wantY, 1e-4)
				dx := slices.Repeat([]float32{float32(math.NaN())}, c.n*c.cols)
				GemmW(dx, c.dy, c.n, w, 0)
				checkClose(t, what+"GemmW", dx, c.wantX, 1e-4)
				all := append(y, dx...)
				if first == nil {
					first = all
				}
				if !slices.Equal(first, all) {
					t.Errorf("%sother bits where weights are not packed ahead", what)
				}
			}
		}
	})
}

// inPieces has products done in small pieces for one test: rows of A, slices of B, stretches of k.
func inPieces(t *testing.T) {
	packed, slice, depth := maxPacked, maxSlice, maxDepth
	t.Cleanup(func() { maxPacked, maxSlice, maxDepth = packed, slice, depth })
	maxPacked, maxSlice, maxDepth = 20*floats.block, 70*floats.block, floats.block
}

// TestGemmInPieces multiplies matrices that are too large to be packed whole.
func TestGemmInPieces(t *testing.T) {
	inPieces(t)
	eachTier(t, func(t *testing.T) {
		for _, s := range [][3]int{{70, 40, 50}, {70, 40, 300}, {90, 3, 20}, {40, 300, 600}} {
			for trans := range 4 {
				newGemmCase(s[0], s[1], s[2], trans&1 != 0, trans&2 != 0, 1).check(t, 0.5, 0.5)
			}
		}
		d := Dense{600, 530, randoms(600*530, 1)}
		for _, p := range []Precision{F32, BF16, Int8} {
			c := newWeightsCase(d, 70)
			c.round(p, d)
			for _, fewPanels = range []int{0, 8} {
				y, dx := slices.Clone(c.y), make([]float32, c.n*c.cols)
				GemmWTPrec(p, y, c.x, c.n, strictWeights{d}, 1)
				checkClose(t, fmt.Sprint(p, " GemmWTPrec"), y, c.wantY, 3e-4)
				GemmWPrec(p, dx, c.dy, c.n, strictWeights{d}, 0)
				checkClose(t, fmt.Sprint(p, " GemmWPrec"), dx, c.wantX, 3e-4)
			}
		}
	})
}

// TestGemmThreads: the same bytes for any number of threads, on every way a product can go.
func TestGemmThreads(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, s := range [][3]int{{60, 200, 300}, {3, 300, 1100}, {300, 8, 300}, {17, 700, 40}, {200, 40, 100}} {
			for trans := range 4 {
				var first []float32
				for _, threads := range []int{1, 2, 5} {
					setThreads(t, threads)
					g := newGemmCase(s[0], s[1], s[2], trans&1 != 0, trans&2 != 0, 0)
					Gemm(g.transA, g.transB, g.m, g.n, g.k, 0.3, g.a, g.lda, g.b, g.ldb, 0.7, g.c, g.ldc)
					if first == nil {
						first = g.c
					} else if !slices.Equal(first, g.c) {
						t.Fatalf("%v: %d threads give another product than 1", s, threads)
					}
				}
			}
		}
	})
}

func TestGemmWeightsThreads(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		w := strictWeights{Dense{600, 700, randoms(600*700, 1)}}
		for _, n := range []int{1, 5, 60} {
			var first []float32
			for _, threads := range []int{1, 2, 5} {
				setThreads(t, threads)
				y, dx := randoms(n*600, 2), randoms(n*700, 3)
				GemmWT(y, dx, n, w, 1)
				GemmW(dx, y, n, w, 1)
				all := append(y, dx...)
				if first == nil {
					first = all
				} else if !slices.Equal(first, all) {
					t.Fatalf("%d rows: %d threads give another product than 1", n, threads)
				}
			}
		}
	})
}

// TestGemmRowsAlone: a row's product is the same, to rounding, with and without other rows.
func TestGemmRowsAlone(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		const rows, cols = 130, 600
		w := strictWeights{Dense{rows, cols, randoms(rows*cols, 1)}}
		x := randoms(40*cols, 2)
		all := make([]float32, 40*rows)
		GemmWT(all, x, 40, w, 0)
		for _, i := range []int{0, 13, 39} {
			y := make([]float32, rows)
			GemmWT(y, x[i*cols:(i+1)*cols], 1, w, 0)
			checkClose(t, "one row", y, all[i*rows:(i+1)*rows], 1e-4)
		}
	})
}

func TestGemmInsideParallel(t *testing.T) {
	setThreads(t, 3)
	g := newGemmCase(60, 70, 80, false, true, 0)
	c := make([][]float32, 20)
	Parallel(len(c), func(i int) {
		c[i] = make([]float32, 60*70)
		Gemm(false, true, 60, 70, 80, 1, g.a, 80, g.b, 80, 0, c[i], 70)
	})
	for i := range c {
		if !slices.Equal(c[0], c[i]) {
			t.Fatalf("product %d differs from product 0", i)
		}
	}
}

func TestGemmAllocates(t *testing.T) {
	var w Weights = strictWeights{Dense{300, 600, randoms(300*600, 1)}}
	for _, n := range []int{2, 100} {
		x, y := randoms(n*600, 2), randoms(n*300, 3)
		allocs := alloctest.Steady(20, func() {
			GemmWT(y, x, n, w, 0)
			GemmW(x, y, n, w, 0)
			Gemm(true, false, 300, 600, n, 1, y, 300, x, 600, 0, w.(strictWeights).Data, 600)
		})
		if allocs > 0 {
			t.Errorf("%d rows: %v allocations", n, allocs)
		}
	}
}
