package kernels

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// onTiles runs f where there are tile registers.
func onTiles(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if bestTier() != tierAMX {
		t.Skip("this machine has no tile registers (AMX), or the system does not let a process use them")
	}
	defer UseTier(UseTier(tierAMX.String()))
	f(t)
}

// integerWords is n words of four bytes from -127 to 127.
func integerWords(n int, seed uint64) []float32 {
	w := make([]float32, n)
	for i, v := range words(n, seed) {
		b := math.Float32bits(v)
		for shift := 0; shift < 32; shift += 8 {
			if b>>shift&0xff == 0x80 {
				b ^= 1 << shift
			}
		}
		w[i] = math.Float32frombits(b)
	}
	return w
}

func TestRowsOfWords(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		inverse := (*[rowLanes]float32)(randoms(rowLanes, 9))
		for i := range inverse {
			inverse[i] = 30 * (1 + inverse[i]*inverse[i]/20)
		}
		for _, rows := range []int{1, rowLanes/2 + 1, rowLanes} {
			for _, n := range []int{16, 32, 64} {
				ld := 4*n + 3
				src := randoms((rows-1)*ld+4*n, 1)
				for i := range src {
					src[i] = max(-3, min(3, src[i]))
				}
				for _, height := range []int{16, tileSide} {
					got, check := guarded(t, make([]float32, rowWordAt(n-1, rows-1, height)+1))
					want := slices.Clone(got)
					rowsBF16(rows, n, got, height, src, ld)
					rowsBF16Generic(rows, n, want, height, src, ld)
					sameBits(t, fmt.Sprint("bfloat16 of ", rows, " rows"), got, want)
					rowsInt8(rows, n, got, height, src, ld, inverse)
					rowsInt8Generic(rows, n, want, height, src, ld, inverse)
					sameBits(t, fmt.Sprint("bytes of ", rows, " rows"), got, want)
					check()
				}
			}
		}
	})
}

// TestTilesOfBytes wants the bits of the definition: sums are exact, and rounded in one order.
func TestTilesOfBytes(t *testing.T) {
	onTiles(t, func(t *testing.T) {
		for _, n := range []int{16, 32, 48, 64, 80, 128} {
			for _, panels := range []int{1, 2, 5} {
				for _, add := range []bool{false, true} {
					step, ldc := tileSide*n+factorRoom, tileSide+n%3
					a, b := integerWords(panels*step, 1), integerWords(tileSide*n, 2)
					scaleA, scaleB := randoms(panels*step, 3), randoms(tileSide, 4)
					got, check := guarded(t, randoms((panels*tileSide-1)*ldc+tileSide, 5))
					want := slices.Clone(got)
					sums, checkSums := guarded(t, make([]float32, tileSide*tileSide))
					tilesOfBytes(panels, n, a, step, b, sums, got, ldc, add, scaleA, scaleB)
					tilesOfBytesGeneric(panels, n, a, step, b, want, ldc, add, scaleA, scaleB)
					sameBits(t, fmt.Sprintf("%d panels of %d words, add %v", panels, n, add), got, want)
					check()
					checkSums()
				}
			}
		}
	})
}

func TestTilesOfPairs(t *testing.T) {
	onTiles(t, func(t *testing.T) {
		for _, n := range []int{16, 32, 80, 256} {
			for _, panels := range []int{1, 3} {
				for _, add := range []bool{false, true} {
					step, ldc := tileSide*n+factorRoom, tileSide+n%3
					a, b := words(panels*step, 1), words(tileSide*n, 2)
					got, check := guarded(t, randoms((panels*tileSide-1)*ldc+tileSide, 5))
					want := slices.Clone(got)
					tilesOfPairs(panels, n, a, step, b, got, ldc, add)
					tilesOfPairsGeneric(panels, n, a, step, b, want, ldc, add)
					checkClose(t, fmt.Sprintf("%d panels of %d words, add %v", panels, n, add), got, want, 1e-4)
					check()
				}
			}
		}
	})
}

// TestTilesNotFinite: infinities and NaN are not lost, and what is not normal counts as 0.
func TestTilesNotFinite(t *testing.T) {
	onTiles(t, func(t *testing.T) {
		for _, c := range []struct{ x, y, want float32 }{
			{float32(math.Inf(1)), 2, float32(math.Inf(1))},
			{float32(math.Inf(1)), 0, float32(math.NaN())},
			{float32(math.NaN()), 1, float32(math.NaN())},
			{0x1p-130, 0x1p100, 0},
			{0x1p-126, 0x1p100, 0x1p-26},
		} {
			a, b := make([]float32, tileSide*tileWords), make([]float32, tileSide*tileWords)
			got := make([]float32, tileSide*tileSide)
			a[rowWordAt(3, 20, tileSide)], b[3*tileSide+30] = pairOf(0, c.x), pairOf(0, c.y)
			tilesOfPairs(1, tileWords, a, 0, b, got, tileSide, false)
			if v := got[20*tileSide+30]; !near(float64(v), float64(c.want), 0) {
				t.Errorf("%v times %v is %v, expected %v", c.x, c.y, v, c.want)
			}
		}
	})
}

// TestInt8SameBytes: products in int8 are the same bytes with tiles and without, with maps of low rank too.
func TestInt8SameBytes(t *testing.T) {
	onTiles(t, func(t *testing.T) {
		for _, s := range [][4]int{{17, 33, 70, 1}, {40, 300, 20, 8}, {29, 70, 513, 16}, {70, 65, 260, 17}, {33, 64, 32, 4},
			{130, 96, 530, 40}, {300, 160, 256, 16}} {
			d := Dense{s[1], s[2], randoms(s[1]*s[2], 1)}
			c := newLowRankCase(d, s[0], s[3])
			var without []float32
			for _, tr := range []tier{tierAVX512, tierAMX} {
				UseTier(tr.String())
				for _, beta := range []float32{0, 0.5, 1} {
					u, y, dx := make([]float32, c.n*c.Rank), slices.Clone(c.y), slices.Clone(c.x)
					GemmWTLowRank(Int8, y, c.x, c.n, strictWeights{d}, beta, c.LowRank, u)
					GemmWLowRank(Int8, dx, c.dy, c.n, strictWeights{d}, beta, c.LowRank, u)
					y2, dx2 := slices.Clone(c.y), slices.Clone(c.x)
					GemmWTPrec(Int8, y2, c.x, c.n, strictWeights{d}, beta)
					GemmWPrec(Int8, dx2, c.dy, c.n, strictWeights{d}, beta)
					all := slices.Concat(u, y, dx, y2, dx2)
					if tr == tierAVX512 {
						without = append(without, all...)
						continue
					}
					sameBits(t, fmt.Sprintf("%d rows, %d×%d, rank %d, beta %v", s[0], s[1], s[2], s[3], beta), all,
						without[:len(all)])
					without = without[len(all):]
				}
			}
		}
	})
}
