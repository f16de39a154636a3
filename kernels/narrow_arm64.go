//go:build !purego

package kernels

// How words lie in panels: rows that are transposed at a time, columns of a panel of B, words of a row that lie side by
// side, and whether the bytes of A are signed.
const (
	rowLanes      = 4
	panelLanes    = 8
	wordsTogether = 2
	signedBytes   = true
)

//go:noescape
func tileBF16x12NEON(k int, a, b *float32, c *float32, ldc int, add bool)

//go:noescape
func tileBF16x8NEON(k int, a, b *float32, c *float32, ldc int, add bool)

//go:noescape
func tileBF16x4NEON(k int, a, b *float32, c *float32, ldc int, add bool)

// tileBF16 is tileBF16Generic for the rows of the tier's shape.
func tileBF16(rows, words int, a, b, c []float32, ldc int, add bool) {
	_, _, _ = a[rows*words-1], b[words*panelLanes-1], c[(rows-1)*ldc+panelLanes-1]
	if !hasBF16() {
		tileBF16Generic(rows, words, a, b, c, ldc, add)
		return
	}
	switch rows {
	case 4:
		tileBF16x4NEON(words, &a[0], &b[0], &c[0], ldc, add)
	case 8:
		tileBF16x8NEON(words, &a[0], &b[0], &c[0], ldc, add)
	default:
		tileBF16x12NEON(words, &a[0], &b[0], &c[0], ldc, add)
	}
}

//go:noescape
func tileDotsx12NEON(k int, a, b *float32, c *float32, ldc int, add bool, scaleA, scaleB *float32, start *int32)

//go:noescape
func tileDotsx8NEON(k int, a, b *float32, c *float32, ldc int, add bool, scaleA, scaleB *float32, start *int32)

//go:noescape
func tileDotsx4NEON(k int, a, b *float32, c *float32, ldc int, add bool, scaleA, scaleB *float32, start *int32)

//go:noescape
func tileMatricesx12NEON(k int, a, b *float32, c *float32, ldc int, add bool, scaleA, scaleB *float32, start *int32)

//go:noescape
func tileMatricesx8NEON(k int, a, b *float32, c *float32, ldc int, add bool, scaleA, scaleB *float32, start *int32)

//go:noescape
func tileMatricesx4NEON(k int, a, b *float32, c *float32, ldc int, add bool, scaleA, scaleB *float32, start *int32)

// tileInt8 is tileInt8Generic for the rows of the tier's shape.
func tileInt8(rows, words int, a, b, c []float32, ldc int, add bool, scaleA []float32, scaleB *[panelLanes]float32,
	start *[panelLanes]int32) {
	_, _, _, _ = a[rows*words-1], b[words*panelLanes-1], c[(rows-1)*ldc+panelLanes-1], scaleA[rows-1]
	switch {
	case hasI8MM() && rows == 4:
		tileMatricesx4NEON(words, &a[0], &b[0], &c[0], ldc, add, &scaleA[0], &scaleB[0], &start[0])
	case hasI8MM() && rows == 8:
		tileMatricesx8NEON(words, &a[0], &b[0], &c[0], ldc, add, &scaleA[0], &scaleB[0], &start[0])
	case hasI8MM():
		tileMatricesx12NEON(words, &a[0], &b[0], &c[0], ldc, add, &scaleA[0], &scaleB[0], &start[0])
	case !hasInt8():
		tileInt8Generic(rows, words, a, b, c, ldc, add, scaleA, scaleB, start)
	case rows == 4:
		tileDotsx4NEON(words, &a[0], &b[0], &c[0], ldc, add, &scaleA[0], &scaleB[0], &start[0])
	case rows == 8:
		tileDotsx8NEON(words, &a[0], &b[0], &c[0], ldc, add, &scaleA[0], &scaleB[0], &start[0])
	default:
		tileDotsx12NEON(words, &a[0], &b[0], &c[0], ldc, add, &scaleA[0], &scaleB[0], &start[0])
	}
}

//go:noescape
func transposeBF16NEON(words int, dst *float32, width int, src *float32, ld, rows int)

// transposeBF16 is transposeBF16Generic; words is a multiple of 16.
func transposeBF16(words int, dst []float32, width int, src []float32, ld, rows int) {
	_, _ = dst[wordAt(words-1, rowLanes-1, width)], src[(min(rows, rowLanes)-1)*ld+2*words-1]
	if !hasBF16() {
		transposeBF16Generic(words, dst, width, src, ld, rows)
		return
	}
	transposeBF16NEON(words, &dst[0], width, &src[0], ld, rows)
}

//go:noescape
func transposeBytesNEON(words int, dst *float32, width int, src *float32, ld, rows int, inverse *float32)

// transposeBytes is transposeBytesGeneric; words is a multiple of 16. Bytes are always signed.
func transposeBytes(words int, dst []float32, width int, src []float32, ld, rows int, inverse *[rowLanes]float32,
	unsigned bool) {
	_, _ = dst[wordAt(words-1, rowLanes-1, width)], src[(min(rows, rowLanes)-1)*ld+4*words-1]
	if current == tierGeneric {
		transposeBytesGeneric(words, dst, width, src, ld, rows, inverse, unsigned)
		return
	}
	transposeBytesNEON(words, &dst[0], width, &src[0], ld, rows, &inverse[0])
}

//go:noescape
func interleaveBF16NEON(words int, dst, src *float32, ld int)

// interleaveBF16 is interleaveBF16Generic; words is even.
func interleaveBF16(words int, dst, src []float32, ld int) {
	_, _ = dst[words*panelLanes-1], src[(2*words-1)*ld+panelLanes-1]
	if !hasBF16() {
		interleaveBF16Generic(words, dst, src, ld)
		return
	}
	interleaveBF16NEON(words, &dst[0], &src[0], ld)
}

//go:noescape
func interleaveInt8NEON(words int, dst, src *float32, ld int, inverse *float32)

// interleaveInt8 is interleaveInt8Generic; words is even.
func interleaveInt8(words int, dst, src []float32, ld int, inverse *[panelLanes]float32) {
	_, _ = dst[words*panelLanes-1], src[(4*words-1)*ld+panelLanes-1]
	if current == tierGeneric {
		interleaveInt8Generic(words, dst, src, ld, inverse)
		return
	}
	interleaveInt8NEON(words, &dst[0], &src[0], ld, &inverse[0])
}

//go:noescape
func rowMagnitudesNEON(k int, dst, src *float32, ld, rows int)

// rowMagnitudes is rowMagnitudesGeneric; k is a multiple of 16.
func rowMagnitudes(k int, dst *[rowLanes]float32, src []float32, ld, rows int) {
	_ = src[(min(rows, rowLanes)-1)*ld+k-1]
	if current == tierGeneric {
		rowMagnitudesGeneric(k, dst, src, ld, rows)
		return
	}
	rowMagnitudesNEON(k, &dst[0], &src[0], ld, rows)
}

//go:noescape
func columnMagnitudesNEON(k int, dst, src *float32, ld int)

// columnMagnitudes is columnMagnitudesGeneric; len(dst) is a multiple of panelLanes.
func columnMagnitudes(k int, dst []float32, src []float32, ld int) {
	_ = src[(k-1)*ld+len(dst)-1]
	if current == tierGeneric {
		columnMagnitudesGeneric(k, dst, src, ld)
		return
	}
	for j := 0; j < len(dst); j += panelLanes {
		columnMagnitudesNEON(k, &dst[j], &src[j], ld)
	}
}

// columnSums is columnSumsGeneric: the bytes of A are signed.
func columnSums(words int, dst *[panelLanes]int32, src []float32) { *dst = [panelLanes]int32{} }

// tilesInt8 is tilesInt8Generic, panel by panel.
func tilesInt8(panels, rows, words int, a []float32, stepA int, b, c []float32, ldc int, add bool, scaleA []float32,
	scaleB *[panelLanes]float32, start *[panelLanes]int32) {
	for p := range panels {
		tileInt8(rows, words, a[p*stepA:], b, c[p*rows*ldc:], ldc, add, scaleA[p*stepA:], scaleB, start)
	}
}

func hasByteColumns() bool { return false }

// interleaveUint8 is interleaveUint8Generic.
func interleaveUint8(words int, dst []float32, width int, src []float32, ld int, inverse []float32) {
	interleaveUint8Generic(words, dst, width, src, ld, inverse)
}
