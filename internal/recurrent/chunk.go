package recurrent

import (
	"math"

	"github.com/peftconv/peftconv/kernels"
)

// chunkLen is the number of tokens of a chunk, and how far apart the rows of matrices between its tokens are.
const chunkLen = 64

// chunks is the number of chunks of n tokens.
func chunks(n int) int { return (n + chunkLen - 1) / chunkLen }

// span is the part of the batch that is sequence number seq, and the number of chunks before it.
func span(bounds []int32, seq int) (from, to, before int) {
	for i := range seq {
		before += chunks(int(bounds[i+1] - bounds[i]))
	}
	return int(bounds[seq]), int(bounds[seq+1]), before
}

// allChunks is the number of chunks of a batch.
func allChunks(bounds []int32) (n int) {
	for i := 1; i < len(bounds); i++ {
		n += chunks(int(bounds[i] - bounds[i-1]))
	}
	return n
}

// chunkAt is the sequence of chunk number i of a batch, and its own tokens from to to-1.
func chunkAt(bounds []int32, i int) (start, end, from, to int) {
	seq := 0
	for n := chunks(int(bounds[1] - bounds[0])); i >= n; n = chunks(int(bounds[seq+1] - bounds[seq])) {
		i -= n
		seq++
	}
	start, end = int(bounds[seq]), int(bounds[seq+1])
	from = start + i*chunkLen
	return start, end, from, min(from+chunkLen, end)
}

// decay is how the state decays within a chunk of n tokens. gamma(i) is the sum of the logarithms of the decays of
// tokens 0 to i; all of these are at most 0, so that no exponential overflows.
type decay struct {
	n     int
	gamma [chunkLen]float64
	start [chunkLen]float32 // exp(gamma(i)): from the chunk's start to token i
	end   [chunkLen]float32 // exp(gamma(n-1)-gamma(i)): from token i to the chunk's end
	total float32           // exp(gamma(n-1))
	pairs [chunkLen * chunkLen]float32
}

// set computes the decays from gamma: pairs (n, n) is exp(gamma(i)-gamma(j)) where i >= j and 0 above.
func (d *decay) set(n int) {
	d.n = n
	last := d.gamma[n-1]
	for i := range n {
		d.start[i], d.end[i] = float32(d.gamma[i]), float32(last-d.gamma[i])
	}
	kernels.ExpSum(d.start[:n], 0)
	kernels.ExpSum(d.end[:n], 0)
	d.total = d.start[n-1]
	for i := range n {
		row := d.row(i)
		for j, g := range d.gamma[:i+1] {
			row[j] = float32(d.gamma[i] - g)
		}
		whole := min((i+16)&^15, chunkLen)
		for j := i + 1; j < whole; j++ {
			row[j] = float32(math.Inf(-1))
		}
		kernels.ExpSum(row[:whole], 0)
		clear(row[whole:])
	}
}

// row is row i of pairs.
func (d *decay) row(i int) []float32 { return d.pairs[i*chunkLen : (i+1)*chunkLen] }

// solveBlock is the number of rows that are solved one by one, before a product takes them off those that follow.
const solveBlock = 16

// solve replaces x (n, w) by the solution of (I + A)·y = x. A (n, n) is strictly lower triangular with rows chunkLen
// apart; what is stored above its diagonal is not read.
func solve(a, x []float32, n, w int) {
	for b := 0; b < n; b += solveBlock {
		m := min(solveBlock, n-b)
		if b > 0 {
			kernels.Gemm(false, false, m, w, b, -1, a[b*chunkLen:], chunkLen, x, w, 1, x[b*w:], w)
		}
		for i := b + 1; i < b+m; i++ {
			for j := b; j < i; j++ {
				kernels.Axpy(-a[i*chunkLen+j], x[j*w:(j+1)*w], x[i*w:(i+1)*w])
			}
		}
	}
}

// solveTransposed replaces x (n, w) by the solution of (I + A)ᵀ·y = x.
func solveTransposed(a, x []float32, n, w int) {
	for b := (n - 1) / solveBlock * solveBlock; b >= 0; b -= solveBlock {
		m := min(solveBlock, n-b)
		if rest := n - b - m; rest > 0 {
			kernels.Gemm(true, false, m, w, rest, -1, a[(b+m)*chunkLen+b:], chunkLen, x[(b+m)*w:], w, 1, x[b*w:], w)
		}
		for i := b + m - 2; i >= b; i-- {
			for j := i + 1; j < b+m; j++ {
				kernels.Axpy(-a[j*chunkLen+i], x[j*w:(j+1)*w], x[i*w:(i+1)*w])
			}
		}
	}
}

// scaleRows is x[i] *= by[i]·s for the n rows of w values of x, which are ld apart.
func scaleRows(x []float32, ld, w int, by []float32, s float32) {
	for i, b := range by {
		kernels.Scale(b*s, x[i*ld:i*ld+w])
	}
}

// copyScaled is dst[i] = by[i]·s·src[i] for rows of w values, those of src being ld apart.
func copyScaled(dst []float32, w int, src []float32, ld int, by []float32, s float32) {
	for i, b := range by {
		row := dst[i*w : (i+1)*w]
		copy(row, src[i*ld:i*ld+w])
		kernels.Scale(b*s, row)
	}
}
