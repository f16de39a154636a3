//go:build !purego

package kernels

// hasTiles says whether products in lower precisions are those of tiles.
func hasTiles() bool { return current == tierAMX }

// enabledStates is the lower half of XCR0: which registers the system saves.
func enabledStates() uint32

//go:noescape
func tilesInt8AMX(panels, stepA, stepC, steps int, a, b *float32, sums *float32, c *float32, ldc int, add bool,
	scaleA, scaleB *float32)

//go:noescape
func tilesBF16AMX(panels, stepA, stepC, steps int, a, b, c *float32, ldc int, add bool)

// tilesOfBytes is tilesOfBytesGeneric; words is a multiple of tileWords, and sums has room for tileSide*tileSide.
func tilesOfBytes(panels, words int, a []float32, stepA int, b, sums, c []float32, ldc int, add bool,
	scaleA, scaleB []float32) {
	last := (panels - 1) * stepA
	_, _, _ = a[last+tileSide*words-1], b[words*tileSide-1], c[(panels*tileSide-1)*ldc+tileSide-1]
	_, _, _ = sums[tileSide*tileSide-1], scaleA[last+tileSide-1], scaleB[tileSide-1]
	if !hasTiles() {
		tilesOfBytesGeneric(panels, words, a, stepA, b, c, ldc, add, scaleA, scaleB)
		return
	}
	tilesInt8AMX(panels, stepA, tileSide*ldc, words/tileWords, &a[0], &b[0], &sums[0], &c[0], ldc, add, &scaleA[0],
		&scaleB[0])
}

// tilesOfPairs is tilesOfPairsGeneric; words is a multiple of tileWords.
func tilesOfPairs(panels, words int, a []float32, stepA int, b, c []float32, ldc int, add bool) {
	_, _ = a[(panels-1)*stepA+tileSide*words-1], b[words*tileSide-1]
	_ = c[(panels*tileSide-1)*ldc+tileSide-1]
	if !hasTiles() {
		tilesOfPairsGeneric(panels, words, a, stepA, b, c, ldc, add)
		return
	}
	tilesBF16AMX(panels, stepA, tileSide*ldc, words/tileWords, &a[0], &b[0], &c[0], ldc, add)
}

//go:noescape
func rowsInt8AVX512(rows, words int, dst *float32, width int, src *float32, ld int, inverse *float32)

// rowsInt8 is rowsInt8Generic; words is a multiple of tileWords.
func rowsInt8(rows, words int, dst []float32, height int, src []float32, ld int, inverse *[rowLanes]float32) {
	_, _ = dst[rowWordAt(words-1, rows-1, height)], src[(rows-1)*ld+4*words-1]
	if current < tierAVX512 {
		rowsInt8Generic(rows, words, dst, height, src, ld, inverse)
		return
	}
	rowsInt8AVX512(rows, words, &dst[0], height, &src[0], ld, &inverse[0])
}

//go:noescape
func rowsBF16AVX512(rows, words int, dst *float32, width int, src *float32, ld int)

// rowsBF16 is rowsBF16Generic; words is a multiple of tileWords.
func rowsBF16(rows, words int, dst []float32, height int, src []float32, ld int) {
	_, _ = dst[rowWordAt(words-1, rows-1, height)], src[(rows-1)*ld+2*words-1]
	if !hasBF16() {
		rowsBF16Generic(rows, words, dst, height, src, ld)
		return
	}
	rowsBF16AVX512(rows, words, &dst[0], height, &src[0], ld)
}
