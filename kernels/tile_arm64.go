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
	if current >= tierNEON {
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
func dotsNEON(k int, a *float32, lda int, b *float32, ldb int, sums *[16]float32)

// dots is dotsGeneric; k is a multiple of 16.
func dots(k int, a []float32, lda int, b []float32, ldb int, sums *[16]float32) {
	_, _ = a[3*lda+k-1], b[3*ldb+k-1]
	if current == tierGeneric {
		dotsGeneric(k, a, lda, b, ldb, sums)
		return
	}
	dotsNEON(k, &a[0], lda, &b[0], ldb, sums)
}

//go:noescape
func transposeNEON(k int, dst *float32, width int, src *float32, ld, rows int)

// transpose writes rows as columns, for as many of the k as make up blocks, and returns how many these are:
//
//	for p, r := range done × rows { dst[p*width+r] = src[r*ld+p] }
//
// Up to packSlack elements beyond a row of dst get any value; these are in the next row where rows follow
// each other closely, which is why the rows of src are taken from the last to the first.
func transpose(k int, dst []float32, width int, src []float32, ld, rows int) (done int) {
	k4 := k &^ 3
	if current == tierGeneric || k4 == 0 {
		return 0
	}
	for r := (rows - 1) / 4 * 4; r >= 0; r -= 4 {
		_, _ = dst[(k4-1)*width+r+3], src[(rows-1)*ld+k4-1]
		transposeNEON(k4, &dst[r], width, &src[r*ld], ld, rows-r)
	}
	return k4
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

func hasHalfTile() bool { return false }

func halfTile(rows, k int, a, b []float32, bs int, c []float32, ldc int, add bool) {
	tileGeneric(rows, tileShape().nr/2, k, a, b, bs, c, ldc, add)
}
