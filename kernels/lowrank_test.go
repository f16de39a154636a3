package kernels

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/alloctest"
)

// lowRankCase is the products of a matrix and of a map of low rank beside it, and what they should be.
type lowRankCase struct {
	weightsCase
	LowRank
	wantU, wantDu []float32
}

func newLowRankCase(d Dense, n, rank int) lowRankCase {
	c := lowRankCase{weightsCase: newWeightsCase(d, n), LowRank: LowRank{Rank: rank, Scale: 0.5}}
	c.A, c.B = randoms(rank*d.Cols, 5), randoms(d.Rows*rank, 6)
	c.wantU = rowsTimes64(make([]float32, n*rank), c.x, strided(c.A, d.Cols, true), n, rank, d.Cols)
	c.wantDu = rowsTimes64(make([]float32, n*rank), c.dy, strided(c.B, rank, false), n, rank, d.Rows)
	scaled := slices.Clone(c.wantU)
	Scale(c.Scale, scaled)
	Scale(c.Scale, c.wantDu)
	c.wantY = rowsTimes64(c.wantY, scaled, strided(c.B, rank, true), n, d.Rows, rank)
	c.wantX = rowsTimes64(c.wantX, c.wantDu, strided(c.A, d.Cols, false), n, d.Cols, rank)
	return c
}

func TestGemmLowRank(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, s := range [][4]int{{3, 30, 40, 4}, {17, 33, 70, 1}, {40, 300, 20, 8}, {29, 70, 513, 16}, {70, 65, 260, 17},
			{30, 40, 300, 40}, {20, 30, 40, 300}} {
			d := Dense{s[1], s[2], randoms(s[1]*s[2], 1)}
			c := newLowRankCase(d, s[0], s[3])
			for _, w := range []Weights{d, strictWeights{d}} {
				what := fmt.Sprintf("%T %d×%d, %d rows, rank %d: ", w, s[1], s[2], s[0], s[3])
				u := slices.Repeat([]float32{float32(math.NaN())}, c.n*c.Rank)
				y := slices.Clone(c.y)
				GemmWTLowRank(F32, y, c.x, c.n, w, 1, c.LowRank, u)
				checkClose(t, what+"u", u, c.wantU, 1e-4)
				checkClose(t, what+"y", y, c.wantY, 1e-3)
				y = slices.Clone(c.y)
				GemmWT(y, c.x, c.n, w, 1)
				AddLowRank(y, c.x, c.n, c.LowRank, u)
				checkClose(t, what+"u added", u, c.wantU, 1e-4)
				checkClose(t, what+"y added", y, c.wantY, 1e-3)
				dx := slices.Repeat([]float32{float32(math.NaN())}, c.n*c.cols)
				GemmWLowRank(F32, dx, c.dy, c.n, w, 0, c.LowRank, u)
				checkClose(t, what+"du", u, c.wantDu, 1e-4)
				checkClose(t, what+"dx", dx, c.wantX, 1e-3)
			}
		}
	})
}

// TestGemmLowRankPrecision: the map of low rank stays float32 where the weights' product does not, and no number of
// threads changes a byte.
func TestGemmLowRankPrecision(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		d := Dense{70, 300, make([]float32, 70*300)}
		c := newLowRankCase(d, 40, 16)
		for _, p := range []Precision{F32, BF16, Int8} {
			var first []float32
			for _, threads := range []int{1, 2, 5} {
				setThreads(t, threads)
				u, y, dx := make([]float32, c.n*c.Rank), slices.Clone(c.y), make([]float32, c.n*c.cols)
				GemmWTLowRank(p, y, c.x, c.n, d, 1, c.LowRank, u)
				GemmWLowRank(p, dx, c.dy, c.n, d, 0, c.LowRank, u)
				checkClose(t, p.String()+" y", y, c.wantY, 1e-3)
				checkClose(t, p.String()+" dx", dx, c.wantX, 1e-3)
				AddLowRank(y, c.x, c.n, c.LowRank, u)
				all := slices.Concat(u, y, dx)
				if first == nil {
					first = all
				} else if !slices.Equal(first, all) {
					t.Fatalf("%v: %d threads give another product than 1", p, threads)
				}
			}
		}
	})
}

// TestGemmLowRankInPieces multiplies an A that is too large to be packed whole.
func TestGemmLowRankInPieces(t *testing.T) {
	inPieces(t)
	d := Dense{33, 300, randoms(33*300, 1)}
	c := newLowRankCase(d, 90, 8)
	u, y := make([]float32, c.n*c.Rank), slices.Clone(c.y)
	GemmWTLowRank(F32, y, c.x, c.n, d, 1, c.LowRank, u)
	checkClose(t, "y", y, c.wantY, 1e-3)
}

func TestGemmLowRankAllocates(t *testing.T) {
	var w Weights = strictWeights{Dense{300, 600, randoms(300*600, 1)}}
	c := newLowRankCase(w.(strictWeights).Dense, 40, 16)
	u, dx := make([]float32, c.n*c.Rank), make([]float32, c.n*c.cols)
	allocs := alloctest.Steady(20, func() {
		GemmWTLowRank(F32, c.y, c.x, c.n, w, 0, c.LowRank, u)
		GemmWLowRank(F32, dx, c.dy, c.n, w, 0, c.LowRank, u)
		AddLowRank(c.y, c.x, c.n, c.LowRank, u)
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}
