//go:build !amd64 || purego

package kernels

func hasTiles() bool { return false }

func tilesOfBytes(panels, words int, a []float32, stepA int, b, _, c []float32, ldc int, add bool,
	scaleA, scaleB []float32) {
	tilesOfBytesGeneric(panels, words, a, stepA, b, c, ldc, add, scaleA, scaleB)
}

func tilesOfPairs(panels, words int, a []float32, stepA int, b, c []float32, ldc int, add bool) {
	tilesOfPairsGeneric(panels, words, a, stepA, b, c, ldc, add)
}

func rowsInt8(rows, words int, dst []float32, height int, src []float32, ld int, inverse *[rowLanes]float32) {
	rowsInt8Generic(rows, words, dst, height, src, ld, inverse)
}

func rowsBF16(rows, words int, dst []float32, height int, src []float32, ld int) {
	rowsBF16Generic(rows, words, dst, height, src, ld)
}
