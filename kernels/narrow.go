package kernels

import (
	"math"
	"unsafe"
)

// Panels of products in a lower precision consist of words as wide as a float32. Each holds a few neighbours along k:
// two bfloat16 or four bytes. On amd64 a panel of words has the layout of one of float32, is transposed like one, and
// lies in the same memory. On arm64, where instructions multiply small matrices, two words of a row, or column, that
// follow each other along k lie side by side: wordAt is the place of a word.
//
// Bytes are scaled: the numbers of a row of A, or a column of B, in one panel are multiplied by 127 over their largest
// magnitude, and rounded. On amd64 the bytes of A are stored with 128 added, because the instruction takes them
// unsigned. This adds 128 times the sum of B's column to a sum, so sums begin with the negative of that.

// form is how the numbers of panels are stored.
type form struct {
	numbers int  // in a word
	block   int  // numbers along k in a panel; Weights.Tile wants it to be a multiple of tileCols
	tiles   bool // panels are those of amx.go
}

var (
	floats = form{numbers: 1, block: 256}
	pairs  = form{numbers: 2, block: 512} // of bfloat16
	fours  = form{numbers: 4, block: 256} // of bytes
)

// formOf is the form in which a product of precision p is computed here. If that is floats, they are rounded first.
func formOf(p Precision) form {
	f := floats
	switch {
	case p == BF16 && hasBF16():
		f = pairs
	case p == Int8 && hasInt8():
		f = fours
	}
	f.tiles = f.numbers > 1 && hasTiles()
	return f
}

// tileShape is the register tile.
func (f form) tileShape() shape {
	if f.tiles {
		return shape{mr: tileSide, nr: tileSide, step: tileSide}
	}
	return tileShape()
}

// words is the number of words that k numbers take, with those that lie side by side.
func (f form) words(k int) int {
	switch {
	case f.numbers == 1:
		return k
	case f.tiles:
		return round16(ceilDiv(k, f.numbers))
	}
	return ceilDiv(k, f.numbers*wordsTogether) * wordsTogether
}

// padded is k rounded up to a whole transposition.
func (f form) padded(k int) int { return f.numbers * round16(f.words(k)) }

// factorRoom is the room for the factors of the rows of a panel of A.
const factorRoom = 32

// wordAt is where word number p of row, or column, number i is in a panel of this width.
func wordAt(p, i, width int) int { return (p/wordsTogether*width+i)*wordsTogether + p%wordsTogether }

// byteScale is the scale with which the largest byte is ±127, and its inverse. If the largest magnitude is not finite,
// the scale is NaN.
func byteScale(magnitude float32) (scale, inverse float32) {
	switch {
	case !(magnitude <= math.MaxFloat32):
		return float32(math.NaN()), 0
	case magnitude < 0x1p-100:
		return 0, 0
	}
	return magnitude / 127, 127 / magnitude
}

// byteScales is byteScale of each magnitude.
func byteScales(scale, inverse, magnitudes []float32) {
	for i, m := range magnitudes {
		scale[i], inverse[i] = byteScale(m)
	}
}

// round rounds x, which is a row of A or of a transposed B in one panel, to precision p.
func (p Precision) round(x []float32) {
	switch p {
	case BF16:
		for i, v := range x {
			x[i] = bfloat16(uint32(toBF16(v)))
		}
	case Int8:
		scale, inverse := byteScale(magnitudeGeneric(x, 1))
		for i, v := range x {
			x[i] = scale * float32(toByte(v*inverse))
		}
	}
}

// roundColumns is round of each of n columns of k numbers.
func (p Precision) roundColumns(x []float32, ld, k, n int) {
	switch p {
	case F32:
		return
	case BF16:
		for r := range k {
			p.round(x[r*ld : r*ld+n])
		}
		return
	}
	for j := range n {
		column := x[j : (k-1)*ld+j+1]
		scale, inverse := byteScale(magnitudeGeneric(column, ld))
		for i := 0; i < len(column); i += ld {
			column[i] = scale * float32(toByte(column[i]*inverse))
		}
	}
}

// toBF16 is the bits of the bfloat16 nearest to x, ties to even.
func toBF16(x float32) uint16 {
	b := math.Float32bits(x)
	if x != x {
		return uint16(b>>16 | 0x40)
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// bfloat16 is the number that the lower 16 bits are.
func bfloat16(bits uint32) float32 { return math.Float32frombits(bits << 16) }

// toByte is the integer nearest to x, ties to even, as signed 8 bits.
func toByte(x float32) int8 { return int8(math.RoundToEven(float64(x))) }

// magnitudeGeneric is the largest |x[i]| of every step-th i; NaN counts as the largest.
func magnitudeGeneric(x []float32, step int) float32 {
	var m uint32
	for i := 0; i < len(x); i += step {
		m = max(m, math.Float32bits(x[i])&^(1<<31))
	}
	return math.Float32frombits(m)
}

// rowMagnitudesGeneric is
//
//	for r := range rowLanes { dst[r] = magnitude of the k numbers from src[min(r, rows-1)*ld] on }
func rowMagnitudesGeneric(k int, dst *[rowLanes]float32, src []float32, ld, rows int) {
	for r := range dst {
		at := min(r, rows-1) * ld
		dst[r] = magnitudeGeneric(src[at:at+k], 1)
	}
}

// columnMagnitudesGeneric is
//
//	for j := range dst { dst[j] = magnitude of src[p*ld+j] for p < k }
func columnMagnitudesGeneric(k int, dst []float32, src []float32, ld int) {
	for j := range dst {
		dst[j] = magnitudeGeneric(src[j:(k-1)*ld+j+1], ld)
	}
}

// transposeBF16Generic is
//
//	for p, r := range words × rowLanes {
//		row := src[min(r, rows-1)*ld:]
//		dst[wordAt(p, r, width)] = pair of row[2*p] and row[2*p+1]
//	}
func transposeBF16Generic(words int, dst []float32, width int, src []float32, ld, rows int) {
	for p := range words {
		for r := range rowLanes {
			at := min(r, rows-1)*ld + 2*p
			dst[wordAt(p, r, width)] = pairOf(src[at], src[at+1])
		}
	}
}

// pairOf is the word of two numbers rounded to bfloat16.
func pairOf(low, high float32) float32 {
	return math.Float32frombits(uint32(toBF16(high))<<16 | uint32(toBF16(low)))
}

// transposeBytesGeneric is
//
//	for p, r := range words × rowLanes {
//		row := src[min(r, rows-1)*ld:]
//		dst[wordAt(p, r, width)] = bytes nearest to row[4*p+i]*inverse[r] for i < 4, each plus 128 if unsigned
//		(but not where A has signed bytes)
//	}
func transposeBytesGeneric(words int, dst []float32, width int, src []float32, ld, rows int, inverse *[rowLanes]float32,
	unsigned bool) {
	for p := range words {
		for r := range rowLanes {
			at := min(r, rows-1)*ld + 4*p
			word := fourOf(src[at], src[at+1], src[at+2], src[at+3], inverse[r])
			if unsigned && !signedBytes {
				word ^= 0x80808080
			}
			dst[wordAt(p, r, width)] = math.Float32frombits(word)
		}
	}
}

// fourOf is the bytes nearest to four numbers times a factor.
func fourOf(a, b, c, d, factor float32) uint32 {
	at := func(x float32, shift int) uint32 { return uint32(uint8(toByte(x*factor))) << shift }
	return at(a, 0) | at(b, 8) | at(c, 16) | at(d, 24)
}

// interleaveBF16Generic is
//
//	for p, j := range words × panelLanes { dst[wordAt(p, j, panelLanes)] = pair of src[2*p*ld+j] and src[(2*p+1)*ld+j] }
func interleaveBF16Generic(words int, dst, src []float32, ld int) {
	for p := range words {
		low, high := src[2*p*ld:], src[(2*p+1)*ld:]
		for j := range panelLanes {
			dst[wordAt(p, j, panelLanes)] = pairOf(low[j], high[j])
		}
	}
}

// interleaveInt8Generic is
//
//	for p, j := range words × panelLanes {
//		dst[wordAt(p, j, panelLanes)] = bytes nearest to src[(4*p+i)*ld+j]*inverse[j] for i < 4
//	}
func interleaveInt8Generic(words int, dst, src []float32, ld int, inverse *[panelLanes]float32) {
	for p := range words {
		for j := range panelLanes {
			at := 4*p*ld + j
			word := fourOf(src[at], src[at+ld], src[at+2*ld], src[at+3*ld], inverse[j])
			dst[wordAt(p, j, panelLanes)] = math.Float32frombits(word)
		}
	}
}

// interleaveUint8Generic is
//
//	for p, r := range words × rowLanes {
//		dst[p*width+r] = bytes nearest to src[(4*p+i)*ld+r]*inverse[r] for i < 4, each plus 128
//	}
//
// in the order of p, so that what is beyond a row of dst, if that is shorter, is in the next one.
func interleaveUint8Generic(words int, dst []float32, width int, src []float32, ld int, inverse []float32) {
	for p := range words {
		for r := range rowLanes {
			at := 4*p*ld + r
			word := fourOf(src[at], src[at+ld], src[at+2*ld], src[at+3*ld], inverse[r]) ^ 0x80808080
			dst[p*width+r] = math.Float32frombits(word)
		}
	}
}

// columnSumsGeneric is
//
//	for j := range panelLanes {
//		dst[j] = -128 * sum of the four bytes of word p of column j of src over p < words
//	}
//
// and zeros where A has signed bytes.
func columnSumsGeneric(words int, dst *[panelLanes]int32, src []float32) {
	*dst = [panelLanes]int32{}
	if signedBytes {
		return
	}
	for p := range words {
		for j := range dst {
			for i := range 4 {
				word := math.Float32bits(src[wordAt(p, j, panelLanes)])
				dst[j] -= 128 * int32(int8(word>>(8*i)))
			}
		}
	}
}

// tileBF16Generic is tileGeneric of panelLanes columns of pairs.
func tileBF16Generic(rows, words int, a, b, c []float32, ldc int, add bool) {
	eachSum(rows, func(i, j int) {
		var s float32
		for p := range words {
			x, y := math.Float32bits(a[wordAt(p, i, rows)]), math.Float32bits(b[wordAt(p, j, panelLanes)])
			s += bfloat16(x>>16) * bfloat16(y>>16)
			s += bfloat16(x) * bfloat16(y)
		}
		setOrAdd(&c[i*ldc+j], s, add)
	})
}

// tileInt8Generic is tileGeneric of panelLanes columns of fours, signed in b and, but where signedBytes is set,
// unsigned in a:
//
//	s := start[j] + sum over p < words of the products of the four bytes of words p of row i of a and column j of b
//	c[i*ldc+j] = s*scaleA[i]*scaleB[j], or that and c[i*ldc+j] if add
func tileInt8Generic(rows, words int, a, b, c []float32, ldc int, add bool, scaleA []float32,
	scaleB *[panelLanes]float32, start *[panelLanes]int32) {
	eachSum(rows, func(i, j int) {
		s := start[j]
		for p := range words {
			x, y := math.Float32bits(a[wordAt(p, i, rows)]), math.Float32bits(b[wordAt(p, j, panelLanes)])
			for shift := 0; shift < 32; shift += 8 {
				s += factorOfA(x>>shift) * int32(int8(y>>shift))
			}
		}
		setOrAdd(&c[i*ldc+j], float32(s)*scaleB[j]*scaleA[i], add)
	})
}

// factorOfA is the number that the lowest byte of A is.
func factorOfA(x uint32) int32 {
	if signedBytes {
		return int32(int8(x))
	}
	return int32(uint8(x))
}

// tilesInt8Generic is tileInt8Generic of several panels of A of this many rows, stepA elements apart, under each other:
//
//	for p := range panels { tileInt8Generic(rows, words, a[p*stepA:], b, c[p*rows*ldc:], …, scaleA[p*stepA:], …) }
func tilesInt8Generic(panels, rows, words int, a []float32, stepA int, b, c []float32, ldc int, add bool,
	scaleA []float32, scaleB *[panelLanes]float32, start *[panelLanes]int32) {
	for p := range panels {
		tileInt8Generic(rows, words, a[p*stepA:], b, c[p*rows*ldc:], ldc, add, scaleA[p*stepA:], scaleB, start)
	}
}

func eachSum(rows int, f func(i, j int)) {
	for i := range rows {
		for j := range panelLanes {
			f(i, j)
		}
	}
}

func setOrAdd(c *float32, s float32, add bool) {
	if add {
		s += *c
	}
	*c = s
}

// integers is panelLanes words as integers.
func integers(x []float32) *[panelLanes]int32 {
	return (*[panelLanes]int32)(unsafe.Pointer((*[panelLanes]float32)(x)))
}
