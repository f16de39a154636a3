//go:build !purego

package kernels

import "golang.org/x/sys/cpu"

// How words lie in panels: rows that are transposed at a time, columns of a panel of B, words of a row that lie side by
// side, and whether the bytes of A are signed.
const (
	rowLanes      = 16
	panelLanes    = 32
	wordsTogether = 1
	signedBytes   = false
)

// hasBF16 says whether products of bfloat16 have instructions (VDPBF16PS, VCVTNE2PS2BF16).
func hasBF16() bool { return current >= tierAVX512 && cpu.X86.HasAVX512BF16 }

// hasVNNI says whether products of bytes have an instruction (VPDPBUSD).
func hasVNNI() bool { return current >= tierAVX512 && cpu.X86.HasAVX512VNNI }

// hasInt8 is hasVNNI.
func hasInt8() bool { return hasVNNI() }

//go:noescape
func tileBF16x14AVX512(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func tileBF16x12AVX512(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func tileBF16x10AVX512(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func tileBF16x8AVX512(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func tileBF16x6AVX512(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func tileBF16x4AVX512(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func tileBF16x2AVX512(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func tilesInt8x14AVX512(panels, stepA, stepC, k int, a, b *float32, bs int, c *float32, ldc int, add bool,
	scaleA, scaleB *float32, start *int32)

//go:noescape
func tilesInt8x12AVX512(panels, stepA, stepC, k int, a, b *float32, bs int, c *float32, ldc int, add bool,
	scaleA, scaleB *float32, start *int32)

//go:noescape
func tilesInt8x10AVX512(panels, stepA, stepC, k int, a, b *float32, bs int, c *float32, ldc int, add bool,
	scaleA, scaleB *float32, start *int32)

//go:noescape
func tilesInt8x8AVX512(panels, stepA, stepC, k int, a, b *float32, bs int, c *float32, ldc int, add bool,
	scaleA, scaleB *float32, start *int32)

//go:noescape
func tilesInt8x6AVX512(panels, stepA, stepC, k int, a, b *float32, bs int, c *float32, ldc int, add bool,
	scaleA, scaleB *float32, start *int32)

//go:noescape
func tilesInt8x4AVX512(panels, stepA, stepC, k int, a, b *float32, bs int, c *float32, ldc int, add bool,
	scaleA, scaleB *float32, start *int32)

//go:noescape
func tilesInt8x2AVX512(panels, stepA, stepC, k int, a, b *float32, bs int, c *float32, ldc int, add bool,
	scaleA, scaleB *float32, start *int32)

// tileBF16 is tileBF16Generic.
func tileBF16(rows, words int, a, b, c []float32, ldc int, add bool) {
	_, _, _ = a[rows*words-1], b[words*panelLanes-1], c[(rows-1)*ldc+panelLanes-1]
	if !hasBF16() {
		tileBF16Generic(rows, words, a, b, c, ldc, add)
		return
	}
	switch rows {
	case 2:
		tileBF16x2AVX512(words, &a[0], &b[0], panelLanes, &c[0], ldc, add)
	case 4:
		tileBF16x4AVX512(words, &a[0], &b[0], panelLanes, &c[0], ldc, add)
	case 6:
		tileBF16x6AVX512(words, &a[0], &b[0], panelLanes, &c[0], ldc, add)
	case 8:
		tileBF16x8AVX512(words, &a[0], &b[0], panelLanes, &c[0], ldc, add)
	case 10:
		tileBF16x10AVX512(words, &a[0], &b[0], panelLanes, &c[0], ldc, add)
	case 12:
		tileBF16x12AVX512(words, &a[0], &b[0], panelLanes, &c[0], ldc, add)
	default:
		tileBF16x14AVX512(words, &a[0], &b[0], panelLanes, &c[0], ldc, add)
	}
}

// tileInt8 is tileInt8Generic.
func tileInt8(rows, words int, a, b, c []float32, ldc int, add bool, scaleA []float32, scaleB *[panelLanes]float32,
	start *[panelLanes]int32) {
	tilesInt8(1, rows, words, a, 0, b, c, ldc, add, scaleA, scaleB, start)
}

// tilesInt8 is tilesInt8Generic.
func tilesInt8(panels, rows, words int, a []float32, stepA int, b, c []float32, ldc int, add bool, scaleA []float32,
	scaleB *[panelLanes]float32, start *[panelLanes]int32) {
	last := (panels - 1) * stepA
	_, _, _, _ = a[last+rows*words-1], b[words*panelLanes-1], c[(panels*rows-1)*ldc+panelLanes-1], scaleA[last+rows-1]
	if !hasInt8() {
		tilesInt8Generic(panels, rows, words, a, stepA, b, c, ldc, add, scaleA, scaleB, start)
		return
	}
	stepC := rows * ldc
	switch rows {
	case 2:
		tilesInt8x2AVX512(panels, stepA, stepC, words, &a[0], &b[0], panelLanes, &c[0], ldc, add, &scaleA[0], &scaleB[0],
			&start[0])
	case 4:
		tilesInt8x4AVX512(panels, stepA, stepC, words, &a[0], &b[0], panelLanes, &c[0], ldc, add, &scaleA[0], &scaleB[0],
			&start[0])
	case 6:
		tilesInt8x6AVX512(panels, stepA, stepC, words, &a[0], &b[0], panelLanes, &c[0], ldc, add, &scaleA[0], &scaleB[0],
			&start[0])
	case 8:
		tilesInt8x8AVX512(panels, stepA, stepC, words, &a[0], &b[0], panelLanes, &c[0], ldc, add, &scaleA[0], &scaleB[0],
			&start[0])
	case 10:
		tilesInt8x10AVX512(panels, stepA, stepC, words, &a[0], &b[0], panelLanes, &c[0], ldc, add, &scaleA[0], &scaleB[0],
			&start[0])
	case 12:
		tilesInt8x12AVX512(panels, stepA, stepC, words, &a[0], &b[0], panelLanes, &c[0], ldc, add, &scaleA[0], &scaleB[0],
			&start[0])
	default:
		tilesInt8x14AVX512(panels, stepA, stepC, words, &a[0], &b[0], panelLanes, &c[0], ldc, add, &scaleA[0], &scaleB[0],
			&start[0])
	}
}

//go:noescape
func transposeBF16AVX512(words int, dst *float32, width int, src *float32, ld, rows int)

// transposeBF16 is transposeBF16Generic; words is a multiple of 16.
func transposeBF16(words int, dst []float32, width int, src []float32, ld, rows int) {
	_, _ = dst[(words-1)*width+rowLanes-1], src[(min(rows, rowLanes)-1)*ld+2*words-1]
	if !hasBF16() {
		transposeBF16Generic(words, dst, width, src, ld, rows)
		return
	}
	transposeBF16AVX512(words, &dst[0], width, &src[0], ld, rows)
}

//go:noescape
func transposeInt8AVX512(words int, dst *float32, width int, src *float32, ld, rows int, inverse *float32)

//go:noescape
func transposeUint8AVX512(words int, dst *float32, width int, src *float32, ld, rows int, inverse *float32)

// transposeBytes is transposeBytesGeneric; words is a multiple of 16.
func transposeBytes(words int, dst []float32, width int, src []float32, ld, rows int, inverse *[rowLanes]float32,
	unsigned bool) {
	_, _ = dst[(words-1)*width+rowLanes-1], src[(min(rows, rowLanes)-1)*ld+4*words-1]
	switch {
	case current < tierAVX512:
		transposeBytesGeneric(words, dst, width, src, ld, rows, inverse, unsigned)
	case unsigned:
		transposeUint8AVX512(words, &dst[0], width, &src[0], ld, rows, &inverse[0])
	default:
		transposeInt8AVX512(words, &dst[0], width, &src[0], ld, rows, &inverse[0])
	}
}

//go:noescape
func interleaveBF16AVX512(words int, dst, src *float32, ld int)

// interleaveBF16 is interleaveBF16Generic.
func interleaveBF16(words int, dst, src []float32, ld int) {
	_, _ = dst[words*panelLanes-1], src[(2*words-1)*ld+panelLanes-1]
	if !hasBF16() {
		interleaveBF16Generic(words, dst, src, ld)
		return
	}
	interleaveBF16AVX512(words, &dst[0], &src[0], ld)
}

//go:noescape
func interleaveInt8AVX512(words int, dst, src *float32, ld int, inverse *float32)

// interleaveInt8 is interleaveInt8Generic.
func interleaveInt8(words int, dst, src []float32, ld int, inverse *[panelLanes]float32) {
	_, _ = dst[words*panelLanes-1], src[(4*words-1)*ld+panelLanes-1]
	if current < tierAVX512 {
		interleaveInt8Generic(words, dst, src, ld, inverse)
		return
	}
	interleaveInt8AVX512(words, &dst[0], &src[0], ld, &inverse[0])
}

//go:noescape
func rowMagnitudesAVX512(k int, dst, src *float32, ld, rows int)

// rowMagnitudes is rowMagnitudesGeneric; k is a multiple of 16.
func rowMagnitudes(k int, dst *[rowLanes]float32, src []float32, ld, rows int) {
	_ = src[(min(rows, rowLanes)-1)*ld+k-1]
	if current < tierAVX512 {
		rowMagnitudesGeneric(k, dst, src, ld, rows)
		return
	}
	rowMagnitudesAVX512(k, &dst[0], &src[0], ld, rows)
}

//go:noescape
func columnMagnitudesAVX512(k, n int, dst, src *float32, ld int)

// columnMagnitudes is columnMagnitudesGeneric; k is a multiple of 4, and len(dst) one of rowLanes.
func columnMagnitudes(k int, dst []float32, src []float32, ld int) {
	_ = src[(k-1)*ld+len(dst)-1]
	if current < tierAVX512 {
		columnMagnitudesGeneric(k, dst, src, ld)
		return
	}
	clear(dst)
	columnMagnitudesAVX512(k, len(dst), &dst[0], &src[0], ld)
}

//go:noescape
func interleaveUint8AVX512(words int, dst *float32, width int, src *float32, ld int, inverse *float32)

// hasByteColumns says whether there is assembly for interleaveUint8.
func hasByteColumns() bool { return current >= tierAVX512 }

// interleaveUint8 is interleaveUint8Generic.
func interleaveUint8(words int, dst []float32, width int, src []float32, ld int, inverse []float32) {
	_, _, _ = dst[(words-1)*width+rowLanes-1], src[(4*words-1)*ld+rowLanes-1], inverse[rowLanes-1]
	if !hasByteColumns() {
		interleaveUint8Generic(words, dst, width, src, ld, inverse)
		return
	}
	interleaveUint8AVX512(words, &dst[0], width, &src[0], ld, &inverse[0])
}

//go:noescape
func columnSumsAVX512(words int, dst *int32, src *float32)

// columnSums is columnSumsGeneric.
func columnSums(words int, dst *[panelLanes]int32, src []float32) {
	_ = src[words*panelLanes-1]
	if !hasVNNI() {
		columnSumsGeneric(words, dst, src)
		return
	}
	columnSumsAVX512(words, &dst[0], &src[0])
}
