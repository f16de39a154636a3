package lowrank

import (
	"math"

	"github.com/peftconv/peftconv/kernels"
)

// The functions here give the same bytes on every processor and with any number of
// threads: sums are made in a fixed order, with one rounding for each product and sum together. Blocks that are rounded
// from such changes are then the same everywhere, although training itself gives other numbers on another kind of
// processor.

// fixedPiece is the number of values that stay in the cache while all rows are added to them.
const fixedPiece = 2048

// AddCombination is dst += factor·Σ left[k]·row k of a, in the order of the rows. a has stride values from one row to
// the next, at least as many as dst.
func AddCombination(dst []float32, factor float32, left, a []float32, stride int) {
	if len(dst)%16 == 0 && combineAll(dst, factor, left, a, stride) {
		return
	}
	for from := 0; from < len(dst); from += fixedPiece {
		to := min(from+fixedPiece, len(dst))
		for k, v := range left {
			if v = float32(factor * v); v != 0 {
				FusedAxpy(v, a[k*stride+from:][:to-from], dst[from:to])
			}
		}
	}
}

// mostRows is the most rows that combineAll takes at a time.
const mostRows = 64

// combineAll is AddCombination where no factor is 0 and there is assembly for it, and done says so.
func combineAll(dst []float32, factor float32, left, a []float32, stride int) (done bool) {
	var factors [mostRows]float32
	for _, v := range left {
		if float32(factor*v) == 0 {
			return false
		}
	}
	for at := 0; at < len(left); at += mostRows {
		part := left[at:min(at+mostRows, len(left))]
		for i, v := range part {
			factors[i] = float32(factor * v)
		}
		if !kernels.Combine(dst, factors[:len(part)], a[at*stride:], stride) {
			return false // of the first rows, so that nothing is added
		}
	}
	return true
}

// FusedAxpy is y += a·x, rounded once, as the assembly of kernels.Axpy computes it of whole vectors.
func FusedAxpy(a float32, x, y []float32) {
	const vector = 16
	done := 0
	if kernels.Tier() != "generic" {
		done = len(x) &^ (vector - 1)
		kernels.Axpy(a, x[:done], y[:done])
	}
	for i := done; i < len(x); i++ {
		y[i] = Fused(a, x[i], y[i])
	}
}

// Fused is a·x + y rounded once. In float64 the product is exact; the sum is rounded to odd, so that rounding it again
// to float32 is exact (Boldo and Melquiond 2008, "Emulation of a FMA and Correctly Rounded Sums").
func Fused(a, x, y float32) float32 {
	product, addend := float64(a)*float64(x), float64(y)
	sum := product + addend
	part := sum - product
	missing := (product - (sum - part)) + (addend - part)
	bits := math.Float64bits(sum)
	if missing != 0 && bits&1 == 0 { // also where it is NaN
		if (missing > 0) == (sum > 0) {
			bits++
		} else {
			bits--
		}
		sum = math.Float64frombits(bits)
	}
	return float32(sum)
}

// FixedNorm is the Euclidean norm of x. Squares of float32 are exact in float64, so that only the order of the sums
// matters.
func FixedNorm(x []float32) float32 {
	var sums [4]float64
	whole := len(x) &^ 3
	for i := 0; i < whole; i += 4 {
		for k := range sums {
			v := float64(x[i+k])
			sums[k] += float64(v * v)
		}
	}
	for _, v := range x[whole:] {
		sums[0] += float64(float64(v) * float64(v))
	}
	return float32(math.Sqrt((sums[0] + sums[1]) + (sums[2] + sums[3])))
}
