package kernels

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// depths are around the blocks and the unrolled loops of the tiles.
var depths = []int{1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 70}

func TestTile(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		s := tileShape()
		for rows := s.step; rows <= s.mr; rows += s.step {
			for _, k := range depths {
				for _, gap := range []int{0, 5} {
					for _, add := range []bool{false, true} {
						checkTile(t, tile, rows, s.nr, k, s.nr+gap, s.nr+2*gap, add)
						if hasHalfTile() {
							checkTile(t, halfTile, rows, s.nr/2, k, s.nr+gap, s.nr+2*gap, add)
						}
					}
				}
			}
		}
	})
}

// checkTile compares a tile with tileGeneric; each slice is no longer than it must be.
func checkTile(t *testing.T, tile func(rows, k int, a, b []float32, bs int, c []float32, ldc int, add bool), rows, cols,
	k, bs, ldc int, add bool) {
	t.Helper()
	a, checkA := guarded(t, randoms(rows*k, 1))
	b, checkB := guarded(t, randoms((k-1)*bs+cols, 2))
	c := randoms((rows-1)*ldc+cols, 3)
	if !add {
		for i := range rows {
			c[i*ldc] = float32(math.NaN()) // not read
		}
	}
	want := append([]float32(nil), c...)
	got, checkC := guarded(t, c)
	tile(rows, k, a, b, bs, got, ldc, add)
	tileGeneric(rows, cols, k, a, b, bs, want, ldc, add)
	checkClose(t, fmt.Sprintf("%d×%d×%d, add %v", rows, cols, k, add), got, want, 1e-5)
	checkA()
	checkB()
	checkC()
}

func TestDots(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for k := 16; k <= 96; k += 16 {
			for _, gap := range []int{0, 7} {
				lda, ldb := k+gap, k+2*gap
				a, b := randoms(3*lda+k, 1), randoms(3*ldb+k, 2)
				var got, want [16]float32
				dots(k, a, lda, b, ldb, &got)
				dotsGeneric(k, a, lda, b, ldb, &want)
				checkClose(t, fmt.Sprint("k = ", k), got[:], want[:], 1e-4)
			}
		}
	})
}

// TestPack packs from rows and from columns, into panels of all widths that the tiles use.
func TestPack(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, width := range []int{2, 4, 6, 8, 12, 14, 16, 32} {
			for n := max(1, width-3); n <= width; n++ {
				for _, k := range depths {
					checkPack(t, width, k, n, n+3, 1) // rows of n
					checkPack(t, width, k, n, 1, k+3) // columns of k
				}
			}
		}
	})
}

func checkPack(t *testing.T, width, k, n, ks, js int) {
	t.Helper()
	src, checkSrc := guarded(t, randoms((k-1)*ks+(n-1)*js+1, 1))
	dst, checkDst := guarded(t, make([]float32, k*width+packSlack))
	pack(dst, width, src, ks, js, k, n)
	want := make([]float32, k*width)
	packGeneric(want, width, src, ks, js, k, n)
	for p := range k {
		if !slices.Equal(dst[p*width:p*width+n], want[p*width:p*width+n]) {
			t.Fatalf("width %d, %d×%d, strides %d and %d: row %d is %v, want %v", width, k, n, ks, js, p, dst[p*width:p*width+n],
				want[p*width:p*width+n])
		}
	}
	checkSrc()
	checkDst()
}
