package kernels

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

func randoms(n int, seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 1))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// gemmNaive is Gemm in float64.
func gemmNaive(transA, transB bool, m, n, k int, alpha float32, a []float32, lda int, b []float32, ldb int, beta float32, c []float32, ldc int) {
	am, bm := strided(a, lda, transA), strided(b, ldb, transB)
	for i := range m {
		for j := range n {
			var s float64
			for p := range k {
				s += float64(am.data[i*am.rs+p*am.cs]) * float64(bm.data[p*bm.rs+j*bm.cs])
			}
			s *= float64(alpha)
			if beta != 0 {
				s += float64(beta) * float64(c[i*ldc+j])
			}
			c[i*ldc+j] = float32(s)
		}
	}
}

func checkClose(t *testing.T, what string, got, want []float32, tol float64) {
	t.Helper()
	for i := range want {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= tol) {
			t.Fatalf("%s: [%d] = %v, want %v", what, i, got[i], want[i])
		}
	}
}

func TestGemm(t *testing.T) {
	for _, m := range []int{1, 2, 5, 13, 33} {
		for _, n := range []int{1, 3, 8, 70} {
			for _, k := range []int{0, 1, 7, 64, 300} {
				for _, trans := range []int{0, 1, 2, 3} {
					for _, beta := range []float32{0, 1, 0.5} {
						ta, tb := trans&1 != 0, trans&2 != 0
						lda, ldb, ldc := k+3, n+1, n+2
						if ta {
							lda = m + 3
						}
						if tb {
							ldb = k + 1
						}
						a, b := randoms((m+k+1)*lda, 1), randoms((n+k+1)*ldb, 2)
						got, want := randoms(m*ldc, 3), randoms(m*ldc, 3)
						Gemm(ta, tb, m, n, k, 0.5, a, lda, b, ldb, beta, got, ldc)
						gemmNaive(ta, tb, m, n, k, 0.5, a, lda, b, ldb, beta, want, ldc)
						checkClose(t, fmt.Sprint(ta, tb, m, n, k, beta), got, want, 1e-4)
					}
				}
			}
		}
	}
}

func TestGemmWeights(t *testing.T) {
	for _, rows := range []int{1, 5, 70, 300} {
		for _, cols := range []int{1, 64, 256, 700} {
			for _, tt := range []int{0, 1, 3, 20} {
				w := Dense{rows, cols, randoms(rows*cols, 1)}
				x, y := randoms(tt*cols, 2), randoms(tt*rows, 3)
				want := append([]float32(nil), y...)
				gemmNaive(false, true, tt, rows, cols, 1, x, cols, w.Data, cols, 1, want, rows)
				GemmWT(y, x, tt, w, 1)
				checkClose(t, fmt.Sprint("GemmWT", rows, cols, tt), y, want, 2e-4)
				gemmNaive(false, false, tt, cols, rows, 1, y, rows, w.Data, cols, 0, x, cols)
				got := make([]float32, len(x))
				GemmW(got, y, tt, w, 0)
				checkClose(t, fmt.Sprint("GemmW", rows, cols, tt), got, x, 2e-2)
			}
		}
	}
}
