package kernels

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// halfPlaces are where blocks have half precision numbers.
var halfPlaces = map[BlockKind][]int{
	Q4_0: {0}, Q4_1: {0, 2}, Q5_0: {0}, Q5_1: {0, 2}, Q8_0: {0}, IQ4_NL: {0}, MXFP4: nil,
	Q4_K: {0, 2}, Q5_K: {0, 2}, Q6_K: {208}, IQ4_XS: {0},
}

// randomBlocks are blocks of any codes and scales.
func randomBlocks(rng *rand.Rand, kind BlockKind, n int) []byte {
	size := blockSizes[kind].bytes
	w := make([]byte, n*size)
	for i := range w {
		w[i] = byte(rng.Uint32())
	}
	for b := 0; b < len(w); b += size {
		for _, at := range halfPlaces[kind] {
			w[b+at+1] = w[b+at+1]&0x83 | 0x20 // exponents from -7 to -4
		}
		if kind == MXFP4 {
			w[b] = 120 + w[b]%8
		}
	}
	return w
}

// randomRows are numbers with runs of zeros, blocks of zeros, and large ones among small ones.
func randomRows(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
		switch {
		case i/256%5 == 3:
			x[i] = 0
		case rng.IntN(40) == 0:
			x[i] *= 50
		case i/32%7 == 2:
			x[i] *= 1e-9
		}
	}
	return x
}

// TestProducts compares the products of every kind with their definition, with one to nine rows and blocks of each.
func TestProducts(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	eachTier(t, func(t *testing.T) {
		for kind := range halfPlaces {
			if current != tierGeneric && HasProducts(kind) != (current != tierNEON) {
				t.Errorf("kind %d: assembly %v", kind, HasProducts(kind))
			}
			for _, shape := range [][3]int{{1, 1, 1}, {1, 3, 2}, {4, 5, 3}, {6, 2, 8}, {9, 40, 9}} {
				rows, wide, blocks := shape[0], shape[1], shape[2]
				cols := blocks * blockSizes[kind].weights
				w, x := randomBlocks(rng, kind, wide*blocks), randomRows(rng, rows*cols)
				var r Rounded
				r.Round(x, rows, cols, kind)
				y := make([]float32, rows*wide)
				for i := range y {
					y[i] = guardValue
				}
				r.Multiply(Product{Y: y, W: codedBlocks{kind, wide, cols, w}})
				bytes := len(w) / wide
				for i := range rows {
					for j := range wide {
						row := w[j*bytes : (j+1)*bytes]
						want, scale := productGeneric(kind, row, &r, i), magnitudeOf(kind, row, &r, i)
						if got := y[i*wide+j]; math.Abs(float64(got-want)) > 3e-5*scale {
							t.Fatalf("kind %d, %v: product (%d, %d) is %v, want %v", kind, shape, i, j, got, want)
						}
					}
				}
			}
		}
	})
}

// TestProductsOfRows: four rows of weights at once have the bits that each has alone.
func TestProductsOfRows(t *testing.T) {
	rng := rand.New(rand.NewPCG(13, 14))
	defer func() { withoutRows = false }()
	eachTier(t, func(t *testing.T) {
		if !productsOfRows() {
			t.Skip("no products of four rows of weights")
		}
		for kind := range halfPlaces {
			for _, shape := range [][2]int{{4, 256}, {7, 2048}, {12, 768}, {9, 32 * 9}} {
				rows, cols := shape[0], shape[1]
				if cols%blockSizes[kind].weights != 0 {
					continue
				}
				w := randomBlocks(rng, kind, rows*cols/blockSizes[kind].weights)
				x := randomRows(rng, cols)
				var results [2][]float32
				for i := range results {
					withoutRows = i == 1
					var r Rounded
					r.Round(x, 1, cols, kind)
					results[i] = make([]float32, rows)
					r.Multiply(Product{Y: results[i], W: codedBlocks{kind, rows, cols, w}})
				}
				for j, v := range results[0] {
					if math.Float32bits(v) != math.Float32bits(results[1][j]) {
						t.Fatalf("kind %d, %v: row %d is %v with others, %v alone", kind, shape, j, v, results[1][j])
					}
				}
			}
		}
	})
}

// magnitudeOf is the sum of the magnitudes of the products of blocks.
func magnitudeOf(kind BlockKind, w []byte, x *Rounded, row int) (sum float64) {
	size := blockSizes[kind]
	for b := range x.cols / size.weights {
		var one Rounded
		one.cols, one.supers = size.weights, x.supers
		if x.supers {
			one.super = x.super[row*x.cols/256+b:][:1]
		} else {
			one.small = x.small[row*x.cols/32+b:][:1]
		}
		block := w[b*size.bytes:][:size.bytes]
		var step float64
		if x.supers {
			step = float64(one.super[0].step)
		} else {
			step = float64(one.small[0].step)
		}
		top := 1.0
		for _, at := range halfPlaces[kind] {
			top = max(top, math.Abs(float64(halfAt(block[at:]))))
		}
		sum += math.Abs(float64(productGeneric(kind, block, &one, 0))) + math.Abs(step)*top*127
	}
	return sum
}

// codedBlocks are Coded of random blocks.
type codedBlocks struct {
	kind       BlockKind
	rows, cols int
	data       []byte
}

func (c codedBlocks) Dims() (rows, cols int)            { return c.rows, c.cols }
func (c codedBlocks) Blocks() (BlockKind, []byte, bool) { return c.kind, c.data, true }
func (c codedBlocks) Tile([]float32, int, int, int, int, int) {
	panic("a tile of blocks that are multiplied as they are")
}

// TestProductsTogether: the bits of a product depend neither on the other rows nor on the other products, nor on the
// number of threads.
func TestProductsTogether(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	defer SetThreads(0)
	eachTier(t, func(t *testing.T) {
		for _, kinds := range [][]BlockKind{{Q4_K, Q6_K, IQ4_XS}, {Q8_0, Q4_1, MXFP4}} {
			const rows, cols = 7, 1024
			x := randomRows(rng, rows*cols)
			var together Rounded
			together.Round(x, rows, cols, kinds[0])
			var all []Product
			for i, kind := range kinds {
				wide := 60 + 9*i
				w := randomBlocks(rng, kind, wide*cols/blockSizes[kind].weights)
				p := Product{Y: make([]float32, rows*wide), W: codedBlocks{kind, wide, cols, w}, X: x}
				if rank := []int{5, 0, 16}[i]; rank > 0 {
					p.Low = LowRank{rank, randomRows(rng, rank*cols), randomRows(rng, wide*rank), 0.5}
				}
				all = append(all, p)
			}
			SetThreads(3)
			together.Multiply(all...)
			SetThreads(1)
			for _, p := range all {
				wide, _ := p.W.Dims()
				for i := range rows {
					var alone Rounded
					kind, _, _ := p.W.Blocks()
					alone.Round(x[i*cols:(i+1)*cols], 1, cols, kind)
					y := make([]float32, wide)
					alone.Multiply(Product{Y: y, W: p.W, Low: p.Low, X: x[i*cols : (i+1)*cols]})
					for j, v := range y {
						if v != p.Y[i*wide+j] {
							t.Fatalf("kind %d: row %d alone gives %v, with others %v", kind, i, v, p.Y[i*wide+j])
						}
					}
				}
			}
		}
	})
}

// TestProductsLow: a map of low rank beside a product is added to it, and AddLowRank adds the same.
func TestProductsLow(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	eachTier(t, func(t *testing.T) {
		for _, rank := range []int{1, 7, 16, 40} {
			const rows, cols, wide = 3, 512, 53
			x, w := randomRows(rng, rows*cols), randomBlocks(rng, Q4_K, wide*cols/256)
			low := LowRank{rank, randomRows(rng, rank*cols), randomRows(rng, wide*rank), -0.25}
			var r Rounded
			r.Round(x, rows, cols, Q4_K)
			y, plain := make([]float32, rows*wide), make([]float32, rows*wide)
			blocks := codedBlocks{Q4_K, wide, cols, w}
			r.Multiply(Product{Y: plain, W: blocks}, Product{Y: y, W: blocks, Low: low, X: x})
			u := make([]float32, rows*rank)
			added := append([]float32{}, plain...)
			AddLowRank(added, x, rows, low, u)
			for i := range rows {
				for j := range wide {
					var want, magnitude float64
					for k := range rank {
						var sum float64
						for c := range cols {
							sum += float64(x[i*cols+c]) * float64(low.A[k*cols+c])
						}
						if math.Abs(sum-float64(u[i*rank+k])) > 1e-6*(math.Abs(sum)+1e4) {
							t.Fatalf("rank %d: u (%d, %d) is %v, want %v", rank, i, k, u[i*rank+k], sum)
						}
						want += sum * float64(low.B[j*rank+k]) * -0.25
						magnitude += math.Abs(sum * float64(low.B[j*rank+k]))
					}
					at, limit := i*wide+j, 1e-5*(magnitude+math.Abs(float64(plain[i*wide+j])))
					if got := float64(y[at] - plain[at]); math.Abs(got-want) > limit {
						t.Fatalf("rank %d: (%d, %d) adds %v, want %v", rank, i, j, got, want)
					}
					if got := float64(added[at] - plain[at]); math.Abs(got-want) > limit {
						t.Fatalf("rank %d: AddLowRank adds %v at (%d, %d), want %v", rank, got, i, j, want)
					}
				}
			}
		}
	})
}

// TestRound looks at what rounding makes of numbers whose codes are obvious.
func TestRound(t *testing.T) {
	eachTier(t, func(t *testing.T) {
		x := make([]float32, 256)
		x[0], x[1], x[2], x[40], x[255] = 127, -64, 0.5, 1.5, 2.5
		var r Rounded
		r.Round(x, 1, 256, Q8_0)
		if b := r.small[0]; b.step != 1 || b.codes[0] != 127 || b.codes[1] != -64 || b.codes[2] != 0 || b.fours[0] != -63 ||
			b.sum != 63 {
			t.Errorf("%+v", b)
		}
		if b := r.small[1]; b.step != halfOf(1.5/127) || b.codes[8] != 127 || b.fours[2] != -127 || b.sum != 1.5 {
			t.Errorf("%+v", b)
		}
		if b := r.small[2]; b != (roundedBlock{}) {
			t.Errorf("zeros are %+v", b)
		}
		r.Round(x, 1, 256, Q4_K)
		b := r.super[0]
		if b.step != -1 || b.codes[0] != -127 || b.codes[1] != 64 || b.codes[2] != 0 || b.codes[40] != -2 ||
			b.codes[255] != -2 || b.sums16[0] != -63 || b.sums16[2] != -2 || b.sums32[0] != -63 || b.sums32[1] != -2 ||
			b.sums32[7] != -2 {
			t.Errorf("%+v", b)
		}
		for _, odd := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
			x[100] = odd
			r.Round(x, 1, 256, Q4_K)
			if s := r.super[0].step; s == s && !math.IsInf(float64(s), 0) && s != 0 {
				t.Errorf("with %v the step is %v", odd, s)
			}
			r.Round(x, 1, 256, Q8_0)
			if s := r.small[3].step; s == s && !math.IsInf(float64(s), 0) {
				t.Errorf("with %v the step is %v", odd, s)
			}
		}
	})
}

// TestRoundTiers compares the records of every tier with the definition, bit by bit.
func TestRoundTiers(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	eachTier(t, func(t *testing.T) {
		for range 50 {
			x := randomRows(rng, 2048)
			if rng.IntN(2) == 0 { // both signs of the largest magnitude
				x[rng.IntN(256)], x[rng.IntN(256)] = 1000, -1000
			}
			small, super := make([]roundedBlock, 64), make([]roundedSuper, 8)
			roundBlocksGeneric(small, x)
			roundSupersGeneric(super, x)
			var r Rounded
			r.Round(x, 1, len(x), Q8_0)
			for i := range small {
				if r.small[i] != small[i] {
					t.Fatalf("block %d is %+v, want %+v", i, r.small[i], small[i])
				}
			}
			r.Round(x, 1, len(x), Q6_K)
			for i := range super {
				if r.super[i] != super[i] {
					t.Fatalf("block %d is %+v, want %+v", i, r.super[i], super[i])
				}
			}
		}
	})
}

// BenchmarkProducts multiplies a matrix that is in no cache with some rows.
func BenchmarkProducts(b *testing.B) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, c := range []struct {
		name string
		kind BlockKind
	}{
		{"Q4_K", Q4_K}, {"Q5_K", Q5_K}, {"Q6_K", Q6_K}, {"IQ4_XS", IQ4_XS}, {"Q8_0", Q8_0}, {"Q4_0", Q4_0}, {"Q4_1", Q4_1},
		{"Q5_0", Q5_0}, {"Q5_1", Q5_1}, {"IQ4_NL", IQ4_NL}, {"MXFP4", MXFP4},
	} {
		const wide, cols = 65536, 2048
		w := randomBlocks(rng, c.kind, wide*cols/blockSizes[c.kind].weights)
		for _, rows := range []int{1, 4, 16} {
			b.Run(fmt.Sprint(c.name, "/", rows), func(b *testing.B) {
				x := randomRows(rng, rows*cols)
				var r Rounded
				y := make([]float32, rows*wide)
				b.SetBytes(int64(len(w)))
				for b.Loop() {
					r.Round(x, rows, cols, c.kind)
					r.Multiply(Product{Y: y, W: codedBlocks{c.kind, wide, cols, w}})
				}
				b.ReportMetric(2*float64(rows*wide*cols)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GOP/s")
			})
		}
	}
}
