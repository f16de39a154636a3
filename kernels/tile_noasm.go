//go:build (!amd64 && !arm64) || purego

package kernels

func tileShape() shape { return genericShape }

func tile(rows, k int, a, b []float32, bs int, c []float32, ldc int, add bool) {
	cols := tileShape().nr
	tileGeneric(rows, cols, k, a, b, bs, c, ldc, add)
}

func dots(k int, a []float32, lda int, b []float32, ldb int, sums *[16]float32) {
	dotsGeneric(k, a, lda, b, ldb, sums)
}

func transpose(k int, dst []float32, width int, src []float32, ld, rows int) (done int) { return 0 }

func copyPanel(k int, dst, src []float32, ld int) {
	packGeneric(dst, genericShape.nr, src, ld, 1, k, genericShape.nr)
}

func hasHalfTile() bool { return false }

func halfTile(rows, k int, a, b []float32, bs int, c []float32, ldc int, add bool) {
	tileGeneric(rows, tileShape().nr/2, k, a, b, bs, c, ldc, add)
}
