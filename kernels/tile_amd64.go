//go:build !purego

package kernels

// The tiles are tileGeneric of as many rows as their name says and two vectors of columns.

//go:noescape
func tile14AVX512(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func tile12AVX512(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func tile10AVX512(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func tile8AVX512(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func tile6AVX512(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func tile4AVX512(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func tile2AVX512(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func tile6AVX2(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func tile4AVX2(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func tile2AVX2(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

// tileShape is the register tile of the current tier.
func tileShape() shape {
	switch current {
	case tierAVX512:
		return shape{mr: 14, nr: 32, step: 2}
	case tierAVX2:
		return shape{mr: 6, nr: 16, step: 2}
	}
	return genericShape
}

// tile is tileGeneric for the rows and columns of the tier's shape.
func tile(rows, k int, a, b []float32, bs int, c []float32, ldc int, add bool) {
	cols := tileShape().nr
	_, _, _ = a[rows*k-1], b[(k-1)*bs+cols-1], c[(rows-1)*ldc+cols-1]
	switch current {
	case tierAVX512:
		tileAVX512(rows, k, &a[0], &b[0], bs, &c[0], ldc, add)
	case tierAVX2:
		tileAVX2(rows, k, &a[0], &b[0], bs, &c[0], ldc, add)
	default:
		tileGeneric(rows, cols, k, a, b, bs, c, ldc, add)
	}
}

func tileAVX512(rows, k int, a, b *float32, bs int, c *float32, ldc int, add bool) {
	switch rows {
	case 2:
		tile2AVX512(k, a, b, bs, c, ldc, add)
	case 4:
		tile4AVX512(k, a, b, bs, c, ldc, add)
	case 6:
		tile6AVX512(k, a, b, bs, c, ldc, add)
	case 8:
		tile8AVX512(k, a, b, bs, c, ldc, add)
	case 10:
		tile10AVX512(k, a, b, bs, c, ldc, add)
	case 12:
		tile12AVX512(k, a, b, bs, c, ldc, add)
	default:
		tile14AVX512(k, a, b, bs, c, ldc, add)
	}
}

func tileAVX2(rows, k int, a, b *float32, bs int, c *float32, ldc int, add bool) {
	switch rows {
	case 2:
		tile2AVX2(k, a, b, bs, c, ldc, add)
	case 4:
		tile4AVX2(k, a, b, bs, c, ldc, add)
	default:
		tile6AVX2(k, a, b, bs, c, ldc, add)
	}
}

//go:noescape
func dotsAVX512(k int, a0, a1, a2, a3, b0, b1, b2, b3 *float32, sums *[16]float32)

//go:noescape
func dotsAVX2(k int, a0, a1, a2, a3, b0, b1, b2, b3 *float32, sums *[16]float32)

// dots is dotsGeneric; k is a multiple of 16.
func dots(k int, a, b *[4][]float32, sums *[16]float32) {
	for i := range 4 {
		_, _ = a[i][k-1], b[i][k-1]
	}
	switch current {
	case tierAVX512:
		dotsAVX512(k, &a[0][0], &a[1][0], &a[2][0], &a[3][0], &b[0][0], &b[1][0], &b[2][0], &b[3][0], sums)
	case tierAVX2:
		dotsAVX2(k, &a[0][0], &a[1][0], &a[2][0], &a[3][0], &b[0][0], &b[1][0], &b[2][0], &b[3][0], sums)
	default:
		dotsGeneric(k, a, b, sums)
	}
}

//go:noescape
func transposeAVX512(k int, dst *float32, width int, src *float32, ld, rows int)

//go:noescape
func transposeAVX2(k int, dst *float32, width int, src *float32, ld, rows int)

// transposeLanes is how many rows transpose takes at a time.
func transposeLanes() int {
	if current == tierAVX512 {
		return 16
	}
	return 8
}

// transpose writes rows as columns, k being a multiple of 16 and rows at most transposeLanes:
//
//	for p, r := range k × rows { dst[p*width+r] = src[r*ld+p] }
//
// Up to transposeLanes elements of each row of dst are written, those from rows on with any value.
func transpose(k int, dst []float32, width int, src []float32, ld, rows int) {
	_, _ = dst[(k-1)*width+transposeLanes()-1], src[(rows-1)*ld+k-1]
	switch current {
	case tierAVX512:
		transposeAVX512(k, &dst[0], width, &src[0], ld, rows)
	case tierAVX2:
		transposeAVX2(k, &dst[0], width, &src[0], ld, rows)
	default:
		packGeneric(dst, width, src, 1, ld, k, rows)
	}
}

//go:noescape
func copyPanelAVX512(k int, dst, src *float32, ld int)

//go:noescape
func copyPanelAVX2(k int, dst, src *float32, ld int)

// copyPanel packs rows that are as wide as the tier's shape:
//
//	for p, j := range k × nr { dst[p*nr+j] = src[p*ld+j] }
func copyPanel(k int, dst, src []float32, ld int) {
	nr := tileShape().nr
	_, _ = dst[k*nr-1], src[(k-1)*ld+nr-1]
	switch current {
	case tierAVX512:
		copyPanelAVX512(k, &dst[0], &src[0], ld)
	case tierAVX2:
		copyPanelAVX2(k, &dst[0], &src[0], ld)
	default:
		packGeneric(dst, nr, src, ld, 1, k, nr)
	}
}
