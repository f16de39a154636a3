//go:build (!amd64 && !arm64) || purego

package kernels

func tileShape() shape { return genericShape }

func tile(rows, k int, a, b []float32, bs int, c []float32, ldc int, add bool) {
	cols := tileShape().nr
	tileGeneric(rows, cols, k, a, b, bs, c, ldc, add)
}

func dots(k int, a, b *[4][]float32, sums *[16]float32) { dotsGeneric(k, a, b, sums) }

func transposeLanes() int { return 8 }

func transpose(k int, dst []float32, width int, src []float32, ld, rows int) {
	packGeneric(dst, width, src, 1, ld, k, rows)
}

func copyPanel(k int, dst, src []float32, ld int) {
	packGeneric(dst, genericShape.nr, src, ld, 1, k, genericShape.nr)
}
