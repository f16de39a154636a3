package kernels

// maxMR and maxNR bound the register tiles of all tiers.
const (
	maxMR = 14
	maxNR = 32
)

// shape is the register tile of a tier.
type shape struct {
	mr, nr int // its most rows, and its columns
	step   int // fewer rows are a multiple of it
}

var genericShape = shape{mr: 4, nr: 4, step: 2}

// tileGeneric multiplies a packed panel of A by a panel of B, rows being even and cols a multiple of 4:
//
//	for i, j := range rows × cols {
//		s := sum over p < k of a[p*rows+i] * b[p*bs+j]
//		c[i*ldc+j] = s, or c[i*ldc+j] + s if add
//	}
func tileGeneric(rows, cols, k int, a, b []float32, bs int, c []float32, ldc int, add bool) {
	for i := 0; i < rows; i += 2 {
		for j := 0; j < cols; j += 4 {
			tile2x4Generic(rows, k, a[i:], b[j:], bs, c[i*ldc+j:], c[(i+1)*ldc+j:], add)
		}
	}
}

// tile2x4Generic is two rows and four columns of tileGeneric.
func tile2x4Generic(as, k int, a, b []float32, bs int, c, d []float32, add bool) {
	var c0, c1, c2, c3, d0, d1, d2, d3 float32
	c, d = c[:4], d[:4]
	for p := range k {
		x, y := a[p*as], a[p*as+1]
		b := b[p*bs : p*bs+4 : p*bs+4]
		c0 += x * b[0]
		c1 += x * b[1]
		c2 += x * b[2]
		c3 += x * b[3]
		d0 += y * b[0]
		d1 += y * b[1]
		d2 += y * b[2]
		d3 += y * b[3]
	}
	if add {
		c0, c1, c2, c3 = c[0]+c0, c[1]+c1, c[2]+c2, c[3]+c3
		d0, d1, d2, d3 = d[0]+d0, d[1]+d1, d[2]+d2, d[3]+d3
	}
	c[0], c[1], c[2], c[3] = c0, c1, c2, c3
	d[0], d[1], d[2], d[3] = d0, d1, d2, d3
}

// dotsGeneric is the products of four rows with four rows, of k elements each:
//
//	sums[4*j+i] = dot(a[i*lda:], b[j*ldb:])
func dotsGeneric(k int, a []float32, lda int, b []float32, ldb int, sums *[16]float32) {
	for j := range 4 {
		for i := range 4 {
			sums[4*j+i] = dotGeneric(a[i*lda:i*lda+k], b[j*ldb:j*ldb+k])
		}
	}
}

// pack writes a panel. width is at least n; elements beyond n get any value.
//
//	for p, j := range k × n { dst[p*width+j] = src[p*ks+j*js] }
//
// One of ks and js is 1. dst has packSlack elements beyond k*width.
func pack(dst []float32, width int, src []float32, ks, js, k, n int) {
	switch {
	case js != 1:
		packTransposed(dst, width, src, js, k, n)
	case n == width && n == tileShape().nr:
		copyPanel(k, dst, src, ks)
	case n <= packSlack:
		packNarrow(dst, width, src, ks, k, n)
	default:
		for p := range k {
			copy(dst[p*width:p*width+n], src[p*ks:p*ks+n])
		}
	}
}

// packNarrow is pack of rows of up to packSlack elements. As long as src and dst have the room, whole vectors are
// copied, and the next row overwrites the excess.
func packNarrow(dst []float32, width int, src []float32, ks, k, n int) {
	p := 0
	for ; p < k && p*ks+packSlack <= len(src) && p*width+packSlack <= len(dst); p++ {
		*(*[packSlack]float32)(dst[p*width:]) = *(*[packSlack]float32)(src[p*ks:])
	}
	for ; p < k; p++ {
		copy(dst[p*width:p*width+n], src[p*ks:p*ks+n])
	}
}

// packSlack is the number of elements beyond a panel that pack may write.
const packSlack = 16

// packTransposed is pack from rows that are contiguous in k.
func packTransposed(dst []float32, width int, src []float32, ld, k, n int) {
	done := transpose(k, dst, width, src, ld, n)
	packGeneric(dst[done*width:], width, src[done:], 1, ld, k-done, n)
}

// packGeneric is
//
//	for p, j := range k × n { dst[p*width+j] = src[p*ks+j*js] }
func packGeneric(dst []float32, width int, src []float32, ks, js, k, n int) {
	for p := range k {
		row := dst[p*width : p*width+n]
		for j := range row {
			row[j] = src[p*ks+j*js]
		}
	}
}
