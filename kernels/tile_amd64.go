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
	case tierAVX512, tierAMX:
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
	case tierAVX512, tierAMX:
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
func halfTile14AVX512(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func halfTile12AVX512(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func halfTile10AVX512(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func halfTile8AVX512(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func halfTile6AVX512(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func halfTile4AVX512(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

//go:noescape
func halfTile2AVX512(k int, a, b *float32, bs int, c *float32, ldc int, add bool)

// halfTile is tileGeneric for half as many columns as the tier's shape has, where hasHalfTile says that it is there.
func halfTile(rows, k int, a, b []float32, bs int, c []float32, ldc int, add bool) {
	cols := tileShape().nr / 2
	_, _, _ = a[rows*k-1], b[(k-1)*bs+cols-1], c[(rows-1)*ldc+cols-1]
	if current < tierAVX512 {
		tileGeneric(rows, cols, k, a, b, bs, c, ldc, add)
		return
	}
	switch rows {
	case 2:
		halfTile2AVX512(k, &a[0], &b[0], bs, &c[0], ldc, add)
	case 4:
		halfTile4AVX512(k, &a[0], &b[0], bs, &c[0], ldc, add)
	case 6:
		halfTile6AVX512(k, &a[0], &b[0], bs, &c[0], ldc, add)
	case 8:
		halfTile8AVX512(k, &a[0], &b[0], bs, &c[0], ldc, add)
	case 10:
		halfTile10AVX512(k, &a[0], &b[0], bs, &c[0], ldc, add)
	case 12:
		halfTile12AVX512(k, &a[0], &b[0], bs, &c[0], ldc, add)
	default:
		halfTile14AVX512(k, &a[0], &b[0], bs, &c[0], ldc, add)
	}
}

// hasHalfTile says whether halfTile is fast.
func hasHalfTile() bool { return current >= tierAVX512 }

//go:noescape
func dotsAVX512(k int, a *float32, lda int, b *float32, ldb int, sums *[16]float32)

//go:noescape
func dotsAVX2(k int, a *float32, lda int, b *float32, ldb int, sums *[16]float32)

// dots is dotsGeneric; k is a multiple of 16.
func dots(k int, a []float32, lda int, b []float32, ldb int, sums *[16]float32) {
	_, _ = a[3*lda+k-1], b[3*ldb+k-1]
	switch current {
	case tierAVX512, tierAMX:
		dotsAVX512(k, &a[0], lda, &b[0], ldb, sums)
	case tierAVX2:
		dotsAVX2(k, &a[0], lda, &b[0], ldb, sums)
	default:
		dotsGeneric(k, a, lda, b, ldb, sums)
	}
}

//go:noescape
func transposeAVX512(k int, dst *float32, width int, src *float32, ld, rows int)

//go:noescape
func transposeAVX2(k int, dst *float32, width int, src *float32, ld, rows int)

// transpose writes rows as columns, for as many of the k as make up blocks, and returns how many these are:
//
//	for p, r := range done × rows { dst[p*width+r] = src[r*ld+p] }
//
// Up to packSlack elements beyond a row of dst get any value; these are in the next row where rows follow
// each other closely, which is why the rows of src are taken from the last to the first.
func transpose(k int, dst []float32, width int, src []float32, ld, rows int) (done int) {
	if current == tierGeneric {
		return 0
	}
	if k16 := k &^ 15; k16 > 0 && current >= tierAVX512 {
		for r := (rows - 1) / 16 * 16; r >= 0; r -= 16 {
			_, _ = dst[(k16-1)*width+r+15], src[(rows-1)*ld+k16-1]
			transposeAVX512(k16, &dst[r], width, &src[r*ld], ld, rows-r)
		}
		done = k16
	}
	if k8 := k&^7 - done; k8 > 0 {
		dst, src = dst[done*width:], src[done:]
		for r := (rows - 1) / 8 * 8; r >= 0; r -= 8 {
			_, _ = dst[(k8-1)*width+r+7], src[(rows-1)*ld+k8-1]
			transposeAVX2(k8, &dst[r], width, &src[r*ld], ld, rows-r)
		}
		done += k8
	}
	return done
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
	case tierAVX512, tierAMX:
		copyPanelAVX512(k, &dst[0], &src[0], ld)
	case tierAVX2:
		copyPanelAVX2(k, &dst[0], &src[0], ld)
	default:
		packGeneric(dst, nr, src, ld, 1, k, nr)
	}
}
