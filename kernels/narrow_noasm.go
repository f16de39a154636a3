//go:build (!amd64 && !arm64) || purego

package kernels

// How words lie in panels: rows that are transposed at a time, columns of a panel of B, words of a row that lie side by
// side, and whether the bytes of A are signed.
const (
	rowLanes      = 16
	panelLanes    = 32
	wordsTogether = 1
	signedBytes   = false
)

func hasBF16() bool { return false }

func hasInt8() bool { return false }

func transposeBF16(words int, dst []float32, width int, src []float32, ld, rows int) {
	transposeBF16Generic(words, dst, width, src, ld, rows)
}

func transposeBytes(words int, dst []float32, width int, src []float32, ld, rows int, inverse *[rowLanes]float32,
	unsigned bool) {
	transposeBytesGeneric(words, dst, width, src, ld, rows, inverse, unsigned)
}

func interleaveBF16(words int, dst, src []float32, ld int) {
	interleaveBF16Generic(words, dst, src, ld)
}

func interleaveInt8(words int, dst, src []float32, ld int, inverse *[panelLanes]float32) {
	interleaveInt8Generic(words, dst, src, ld, inverse)
}

func rowMagnitudes(k int, dst *[rowLanes]float32, src []float32, ld, rows int) {
	rowMagnitudesGeneric(k, dst, src, ld, rows)
}

func columnMagnitudes(k int, dst []float32, src []float32, ld int) {
	columnMagnitudesGeneric(k, dst, src, ld)
}

func columnSums(words int, dst *[panelLanes]int32, src []float32) {
	columnSumsGeneric(words, dst, src)
}

func tileBF16(rows, words int, a, b, c []float32, ldc int, add bool) {
	tileBF16Generic(rows, words, a, b, c, ldc, add)
}

func tileInt8(rows, words int, a, b, c []float32, ldc int, add bool, scaleA []float32, scaleB *[panelLanes]float32,
	start *[panelLanes]int32) {
	tileInt8Generic(rows, words, a, b, c, ldc, add, scaleA, scaleB, start)
}

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
