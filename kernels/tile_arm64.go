//go:build !purego

package kernels

// The tiles are tileGeneric of as many rows as their name says and two vectors of columns.

//go:noescape
func tile12NEON(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func tile8NEON(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func tile4NEON(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

// tileShape is the register tile of the current tier.
func tileShape() shape {
	if current == tierNEON {
		return shape{mr: 12, nr: 8, step: 4}
	}
	return genericShape
}

// tile is tileGeneric for the rows and columns of the tier's shape.
func tile(rows, k int, a, b []float32, bs int, c []float32, ldc int, add bool) {
	cols := tileShape().nr
	_, _, _ = a[rows*k-1], b[(k-1)*bs+cols-1], c[(rows-1)*ldc+cols-1]
	if current == tierGeneric {
		tileGeneric(rows, cols, k, a, b, bs, c, ldc, add)
		return
	}
	switch rows {
	case 4:
		tile4NEON(k, &a[0], &b[0], bs, &c[0], ldc, add)
	case 8:
		tile8NEON(k, &a[0], &b[0], bs, &c[0], ldc, add)
	default:
		tile12NEON(k, &a[0], &b[0], bs, &c[0], ldc, add)
	}
}

//go:noescape
func dotsNEON(k int, a0, a1, a2, a3, b0, b1, b2, b3 *float32, sums *[16]float32)

// dots is dotsGeneric; k is a multiple of 16.
func dots(k int, a, b *[4][]float32, sums *[16]float32) {
	for i := range 4 {
		_, _ = a[i][k-1], b[i][k-1]
	}
	if current == tierGeneric {
		dotsGeneric(k, a, b, sums)
		return
	}
	dotsNEON(k, &a[0][0], &a[1][0], &a[2][0], &a[3][0], &b[0][0], &b[1][0], &b[2][0], &b[3][0], sums)
}

//go:noescape
func transposeNEON(k int, dst *float32, width int, src *float32, ld, rows int)

// transposeLanes is how many rows transpose takes at a time.
func transposeLanes() int { return 4 }

// transpose writes rows as columns, k being a multiple of 16 and rows at most transposeLanes:
//
//	for p, r := range k × rows { dst[p*width+r] = src[r*ld+p] }
//
// Up to transposeLanes elements of each row of dst are written, those from rows on with any value.
func transpose(k int, dst []float32, width int, src []float32, ld, rows int) {
	_, _ = dst[(k-1)*width+transposeLanes()-1], src[(rows-1)*ld+k-1]
	if current == tierGeneric {
		packGeneric(dst, width, src, 1, ld, k, rows)
		return
	}
	transposeNEON(k, &dst[0], width, &src[0], ld, rows)
}

//go:noescape
func copyPanelNEON(k int, dst, src *float32, ld int)

// copyPanel packs rows that are as wide as the tier's shape:
//
//	for p, j := range k × nr { dst[p*nr+j] = src[p*ld+j] }
func copyPanel(k int, dst, src []float32, ld int) {
	nr := tileShape().nr
	_, _ = dst[k*nr-1], src[(k-1)*ld+nr-1]
	if current == tierGeneric {
		packGeneric(dst, nr, src, ld, 1, k, nr)
		return
	}
	copyPanelNEON(k, &dst[0], &src[0], ld)
}
