package kernels

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/peftconv/peftconv/internal/alloctest"
)

// round sets what the products should be in precision p: y + x·wᵀ and dy·w of rounded numbers, in float64.
func (c *weightsCase) round(p Precision, d Dense) {
	block := formOf(p).block
	rows := func(x []float32, n, cols int) []float32 {
		x = slices.Clone(x)
		for i := range n {
			for k := 0; k < cols; k += block {
				p.round(x[i*cols+k : i*cols+min(cols, k+block)])
			}
		}
		return x
	}
	columns := slices.Clone(d.Data)
	for k := 0; k < d.Rows; k += block {
		p.roundColumns(columns[k*d.Cols:], d.Cols, min(block, d.Rows-k), d.Cols)
	}
	c.wantY = rowsTimes64(c.y, rows(c.x, c.n, d.Cols), strided(rows(d.Data, d.Rows, d.Cols), d.Cols, true), c.n, d.Rows,
		d.Cols)
	c.wantX = rowsTimes64(make([]float32, c.n*d.Cols), rows(c.dy, c.n, d.Rows), strided(columns, d.Cols, false), c.n,
		d.Cols, d.Rows)
}

// TestGemmPrecision: products in every precision are those of rounded numbers, on every tier.
func TestGemmPrecision(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, p := range []Precision{BF16, Int8} {
			for _, s := range [][3]int{{17, 33, 70}, {40, 300, 20}, {70, 5, 513}, {20, 1, 1}, {29, 530, 64}, {30, 40, 600}} {
				d := Dense{s[1], s[2], randoms(s[1]*s[2], 1)}
				c := newWeightsCase(d, s[0])
				c.round(p, d)
				for _, w := range []Weights{d, strictWeights{d}} {
					what := fmt.Sprintf("%v, %T %d×%d, %d rows: ", p, w, s[1], s[2], s[0])
					y := slices.Clone(c.y)
					GemmWTPrec(p, y, c.x, c.n, w, 1)
					checkClose(t, what+"GemmWTPrec", y, c.wantY, 2e-4)
					dx := slices.Repeat([]float32{float32(math.NaN())}, c.n*c.cols)
					GemmWPrec(p, dx, c.dy, c.n, w, 0)
					checkClose(t, what+"GemmWPrec", dx, c.wantX, 2e-4)
				}
			}
		}
	})
}

// words is n random words.
func words(n int, seed uint64) []float32 {
	x := randoms(2*n, seed)
	w := make([]float32, n)
	for i := range w {
		w[i] = pairOf(x[2*i], x[2*i+1])
	}
	return w
}

// sameBits compares the bits of what a kernel wrote with what its definition did.
func sameBits(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: [%d] = %#x, want %#x", what, i, math.Float32bits(got[i]), math.Float32bits(want[i]))
		}
	}
}

func TestTransposeWords(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		inverse := (*[rowLanes]float32)(randoms(rowLanes, 9))
		for i := range inverse {
			inverse[i] = 30 * (1 + inverse[i]*inverse[i]/20)
		}
		for _, rows := range []int{1, 7, 14, 16, 30} {
			for _, n := range []int{16, 32, 64} {
				ld := 4*n + 3
				src := randoms((min(rows, rowLanes)-1)*ld+4*n, 1)
				for i := range src { // a byte
					src[i] = max(-3, min(3, src[i]))
				}
				for _, width := range []int{14, 16, 32} {
					got, check := guarded(t, make([]float32, wordAt(n-1, rowLanes-1, width)+1))
					want := slices.Clone(got)
					transposeBF16(n, got, width, src, ld, rows)
					transposeBF16Generic(n, want, width, src, ld, rows)
					sameBits(t, fmt.Sprint("bfloat16 of ", rows, " rows"), got, want)
					for _, unsigned := range []bool{false, true} {
						transposeBytes(n, got, width, src, ld, rows, inverse, unsigned)
						transposeBytesGeneric(n, want, width, src, ld, rows, inverse, unsigned)
						sameBits(t, fmt.Sprint("bytes of ", rows, " rows"), got, want)
					}
					check()
				}
			}
		}
	})
}

func TestInterleave(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		inverse := (*[panelLanes]float32)(slices.Repeat([]float32{20, 40}, panelLanes/2))
		for _, n := range []int{1, 2, 3, 16, 64} {
			n = ceilDiv(n, wordsTogether) * wordsTogether
			for _, ld := range []int{32, 45} {
				src := randoms((4*n-1)*ld+panelLanes, uint64(n))
				for i := range src {
					src[i] = max(-3, min(3, src[i]))
				}
				got, check := guarded(t, make([]float32, n*panelLanes))
				want := slices.Clone(got)
				interleaveBF16(n, got, src, ld)
				interleaveBF16Generic(n, want, src, ld)
				sameBits(t, "bfloat16", got, want)
				interleaveInt8(n, got, src, ld, inverse)
				interleaveInt8Generic(n, want, src, ld, inverse)
				sameBits(t, "bytes", got, want)
				check()
				var sums, wantSums [panelLanes]int32
				columnSums(n, &sums, got)
				columnSumsGeneric(n, &wantSums, got)
				if sums != wantSums {
					t.Fatalf("the sums of %d words are %v, want %v", n, sums, wantSums)
				}
			}
		}
	})
}

func TestInterleaveUint8(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		inverse := slices.Repeat([]float32{20, 40}, rowLanes/2)
		for _, words := range []int{1, 3, 15, 64} {
			for _, width := range []int{2, 6, 14, 16} {
				const ld = 37
				src := randoms((4*words-1)*ld+rowLanes, uint64(words))
				for i := range src {
					src[i] = max(-3, min(3, src[i]))
				}
				got, check := guarded(t, make([]float32, (words-1)*width+rowLanes))
				want := slices.Clone(got)
				interleaveUint8(words, got, width, src, ld, inverse)
				interleaveUint8Generic(words, want, width, src, ld, inverse)
				sameBits(t, "bytes", got, want)
				check()
			}
		}
	})
}

func TestMagnitudes(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		for _, k := range []int{16, 48, 256} {
			src := randoms(40*k, 3)
			src[5], src[k+3], src[2*k+7] = -100, float32(math.Inf(-1)), float32(math.NaN())
			for _, rows := range []int{1, 3, 16, 40} {
				var got, want [rowLanes]float32
				rowMagnitudes(k, &got, src, k, rows)
				rowMagnitudesGeneric(k, &want, src, k, rows)
				sameBits(t, fmt.Sprint(rows, " rows"), got[:], want[:])
			}
			for _, n := range []int{panelLanes, 2 * panelLanes} {
				got, want := make([]float32, n), make([]float32, n)
				columnMagnitudes(k, got, src[:(k-1)*37+n], 37)
				columnMagnitudesGeneric(k, want, src, 37)
				sameBits(t, fmt.Sprint(n, " columns"), got, want)
			}
		}
	})
}

func TestNarrowTiles(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		s := tileShape()
		for rows := s.step; rows <= s.mr; rows += s.step {
			for _, n := range depths {
				n = ceilDiv(n, wordsTogether) * wordsTogether
				for _, add := range []bool{false, true} {
					checkNarrowTiles(t, rows, n, panelLanes+n%2*3, add)
				}
			}
		}
	})
}

func checkNarrowTiles(t *testing.T, rows, n, ldc int, add bool) {
	t.Helper()
	a, b, c := words(rows*n, 1), words(panelLanes*n, 2), randoms((rows-1)*ldc+panelLanes, 3)
	got, check := guarded(t, c)
	want := slices.Clone(c)
	tileBF16(rows, n, a, b, got, ldc, add)
	tileBF16Generic(rows, n, a, b, want, ldc, add)
	checkClose(t, fmt.Sprintf("bfloat16, %d rows, %d words", rows, n), got, want, 1e-4)
	scaleA, scaleB := randoms(rows, 4), (*[panelLanes]float32)(randoms(panelLanes, 5))
	start := integers(slices.Clone(b[:panelLanes]))
	for i := range start {
		start[i] >>= 12
	}
	copy(got, c)
	copy(want, c)
	tileInt8(rows, n, a, b, got, ldc, add, scaleA, scaleB, start)
	tileInt8Generic(rows, n, a, b, want, ldc, add, scaleA, scaleB, start)
	checkClose(t, fmt.Sprintf("bytes, %d rows, %d words", rows, n), got, want, 1e-5)
	check()
}

// TestNarrowTilesOfPanels multiplies several panels of A at once.
func TestNarrowTilesOfPanels(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		const n, panels, gap = 20, 3, 48
		shape := tileShape()
		for rows := shape.step; rows <= shape.mr; rows += shape.step {
			stepA, ldc := rows*n+gap, panelLanes+5
			a, b, c := words(panels*stepA, 1), words(panelLanes*n, 2), randoms((panels*rows-1)*ldc+panelLanes, 3)
			scaleA, scaleB := randoms(panels*stepA, 4), (*[panelLanes]float32)(randoms(panelLanes, 5))
			start := integers(slices.Clone(b[:panelLanes]))
			for i := range start {
				start[i] >>= 12
			}
			got, check := guarded(t, c)
			want := slices.Clone(c)
			tilesInt8(panels, rows, n, a, stepA, b, got, ldc, true, scaleA, scaleB, start)
			tilesInt8Generic(panels, rows, n, a, stepA, b, want, ldc, true, scaleA, scaleB, start)
			checkClose(t, fmt.Sprintf("bytes, panels of %d rows", rows), got, want, 1e-5)
			check()
		}
	})
}

func TestToBF16(t *testing.T) {
	for _, c := range []struct {
		x    uint32
		want uint16
	}{
		{0x3f800000, 0x3f80}, {0x3f808000, 0x3f80}, {0x3f808001, 0x3f81}, {0x3f818000, 0x3f82}, {0xbf818000, 0xbf82},
		{0x7f7fffff, 0x7f80}, {0x7f800000, 0x7f80}, {0x7f800001, 0x7fc0}, {0xffc00000, 0xffc0},
	} {
		if got := toBF16(math.Float32frombits(c.x)); got != c.want {
			t.Errorf("%#x is %#x as bfloat16, want %#x", c.x, got, c.want)
		}
	}
}

// TestInt8Extremes: rows of zeros and of tiny numbers give zero, and what is not finite is not lost.
func TestInt8Extremes(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		const n, rows, cols = 20, 40, 300
		d := Dense{rows, cols, randoms(rows*cols, 1)}
		x, y := make([]float32, n*cols), make([]float32, n*rows)
		x[3], x[cols] = float32(math.Inf(1)), 1e-40
		GemmWTPrec(Int8, y, x, n, d, 0)
		for i, v := range y {
			if want := i < rows; math.IsNaN(float64(v)) != want || !want && v != 0 {
				t.Fatalf("y[%d] = %v", i, v)
			}
		}
	})
}

// TestPrecisionThreads: the same bytes for any number of threads.
func TestPrecisionThreads(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		const n, rows, cols = 40, 300, 520
		w := strictWeights{Dense{rows, cols, randoms(rows*cols, 1)}}
		for _, p := range []Precision{BF16, Int8} {
			var first []float32
			for _, threads := range []int{1, 2, 5} {
				setThreads(t, threads)
				x, y := randoms(n*cols, 2), randoms(n*rows, 3)
				GemmWTPrec(p, y, x, n, w, 1)
				GemmWPrec(p, x, y, n, w, 1)
				all := append(y, x...)
				if first == nil {
					first = all
				} else if !slices.Equal(first, all) {
					t.Fatalf("%v: %d threads give another product than 1", p, threads)
				}
			}
		}
	})
}

func TestPrecisionAllocates(t *testing.T) {
	const n, rows, cols = 40, 300, 520
	var w Weights = strictWeights{Dense{rows, cols, randoms(rows*cols, 1)}}
	x, y := randoms(n*cols, 2), randoms(n*rows, 3)
	for _, p := range []Precision{BF16, Int8} {
		allocs := alloctest.Steady(20, func() {
			GemmWTPrec(p, y, x, n, w, 0)
			GemmWPrec(p, x, y, n, w, 0)
		})
		if allocs > 0 {
			t.Errorf("%v: %v allocations", p, allocs)
		}
	}
}
