package lowrank

import (
	"math"
	"testing"

	"github.com/peftconv/peftconv/internal/linalg"
	"github.com/peftconv/peftconv/internal/prng"
	"github.com/peftconv/peftconv/kernels"
)

// TestInBothIsNearest: the pair in float32 is that of Nearest but for rounding, with the same norm in both matrices,
// and of the full rank it is the change.
func TestInBothIsNearest(t *testing.T) {
	const out, in = 24, 16
	change := make([]float32, out*in)
	prng.NewRandom(1, "change").Normal(change, 1)
	for _, rank := range []int{3, in} {
		u, s, vt := linalg.TruncatedSVD(linalg.Matrix(change, out, in), linalg.Projection{Rank: rank})
		pair, near := InBoth(u, s, vt, out, in), Nearest("", change, out, in, Approximation{Rank: rank})
		miss, norm := pair.Dense(), kernels.SumSquares(near.Dense())
		kernels.Axpy(-1, near.Dense(), miss)
		if e := math.Sqrt(kernels.SumSquares(miss) / norm); e > 1e-5 {
			t.Errorf("rank %d: %.2g away from the nearest", rank, e)
		}
		if a, b := kernels.SumSquares(pair.A), kernels.SumSquares(pair.B); math.Abs(a/b-1) > 1e-4 {
			t.Errorf("rank %d: squares of %.4g in A, %.4g in B", rank, a, b)
		}
		if rank == in && math.Abs(norm/kernels.SumSquares(change)-1) > 1e-4 {
			t.Errorf("the full rank has %.4g of the change", norm)
		}
	}
}
