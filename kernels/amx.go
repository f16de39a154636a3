package kernels

import "math"

// Products of tiles, where the processor has registers for them (AMX). Panels of B are those of narrow.go. A panel of
// A has tileSide rows, and 16 words of a row, which follow each other along k, lie side by side: rowWordAt is the place
// of a word. Words along k are padded with zeros to a multiple of 16. Bytes are signed on both sides, so nothing is
// added to them.

const (
	tileSide  = 32 // rows and columns of a product of tiles
	tileWords = 16 // words of a row that lie side by side
)

// rowWordAt is where word number p of row number i is in a panel of A of this many rows.
func rowWordAt(p, i, height int) int { return (p/tileWords*height+i)*tileWords + p%tileWords }

// rowsBF16Generic is
//
//	for p, i := range words × rows { dst[rowWordAt(p, i, height)] = pair of src[i*ld+2*p] and src[i*ld+2*p+1] }
func rowsBF16Generic(rows, words int, dst []float32, height int, src []float32, ld int) {
	for i := range rows {
		for p := range words {
			at := i*ld + 2*p
			dst[rowWordAt(p, i, height)] = pairOf(src[at], src[at+1])
		}
	}
}

// rowsInt8Generic is
//
//	for p, i := range words × rows {
//		dst[rowWordAt(p, i, height)] = bytes nearest to src[i*ld+4*p+j]*inverse[i] for j < 4
//	}
func rowsInt8Generic(rows, words int, dst []float32, height int, src []float32, ld int, inverse *[rowLanes]float32) {
	for i := range rows {
		for p := range words {
			at := i*ld + 4*p
			word := fourOf(src[at], src[at+1], src[at+2], src[at+3], inverse[i])
			dst[rowWordAt(p, i, height)] = math.Float32frombits(word)
		}
	}
}

// tilesOfBytesGeneric multiplies panels of A of tileSide rows, stepA elements apart, by a panel of B. Those of C follow
// each other.
//
//	s := sum over p < words of the products of the four signed bytes of words p of row i of a and column j of b
//	c[i*ldc+j] = s*scaleB[j]*scaleA[i], or that and c[i*ldc+j] if add
func tilesOfBytesGeneric(panels, words int, a []float32, stepA int, b, c []float32, ldc int, add bool,
	scaleA, scaleB []float32) {
	eachTileSum(panels, func(n, i, j int) {
		var s int32
		for p := range words {
			x, y := math.Float32bits(a[n*stepA+rowWordAt(p, i, tileSide)]), math.Float32bits(b[p*tileSide+j])
			for shift := 0; shift < 32; shift += 8 {
				s += int32(int8(x>>shift)) * int32(int8(y>>shift))
			}
		}
		setOrAdd(&c[(n*tileSide+i)*ldc+j], float32(s)*scaleB[j]*scaleA[n*stepA+i], add)
	})
}

// tilesOfPairsGeneric is the same of bfloat16. Of each 16 words the products of the lower halves are added up, those of
// the upper halves, and both are added to the sum, which begins with c if add. Numbers below 2⁻¹²⁶ are taken as 0.
func tilesOfPairsGeneric(panels, words int, a []float32, stepA int, b, c []float32, ldc int, add bool) {
	eachTileSum(panels, func(n, i, j int) {
		var s float32
		if add {
			s = c[(n*tileSide+i)*ldc+j]
		}
		for p := 0; p < words; p += tileWords {
			var low, high float32
			for q := p; q < p+tileWords; q++ {
				x, y := math.Float32bits(a[n*stepA+rowWordAt(q, i, tileSide)]), math.Float32bits(b[q*tileSide+j])
				low += bfloat16(x) * bfloat16(y)
				high += bfloat16(x>>16) * bfloat16(y>>16)
			}
			s += low + high
		}
		c[(n*tileSide+i)*ldc+j] = s
	})
}

func eachTileSum(panels int, f func(n, i, j int)) {
	for n := range panels {
		for i := range tileSide {
			for j := range tileSide {
				f(n, i, j)
			}
		}
	}
}

// packTileRows packs n rows of A, which are contiguous in k and padded, and stores their factors as scale.
func (t *tiling) packTileRows(dst, src []float32, ld, words, n int, scale []float32) {
	var magnitude, inverse [rowLanes]float32
	for r := 0; r < n; r += rowLanes {
		rows := min(n-r, rowLanes)
		if t.numbers == pairs.numbers {
			rowsBF16(rows, words, dst[r*tileWords:], tileSide, src[r*ld:], ld)
			continue
		}
		rowMagnitudes(4*words, &magnitude, src[r*ld:], ld, rows)
		byteScales(scale[r:], inverse[:], magnitude[:])
		rowsInt8(rows, words, dst[r*tileWords:], tileSide, src[r*ld:], ld, &inverse)
	}
}

// multiplyTiles multiplies panels of A, which follow each other from a on, by a panel of B, into as many rows of C.
func (t *tiling) multiplyTiles(s *scratch, panels, words int, a, b, c []float32, ldc int, add bool) {
	if t.numbers == pairs.numbers {
		tilesOfPairs(panels, words, a, t.panelLen, b, c, ldc, add)
		return
	}
	scale, _ := t.scalesB(b)
	sums := grow(&s.sums, tileSide*tileSide)
	tilesOfBytes(panels, words, a, t.panelLen, b, sums, c, ldc, add, a[t.panelLen-factorRoom:], scale)
}
