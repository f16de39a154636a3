//go:build !purego

package kernels

//go:noescape
func addRowDotsAVX512(n, k int, y, u, b *float32, ld int)

//go:noescape
func addRowDotsAVX2(n, k int, y, u, b *float32, ld int)

// addRowDots is addRowDotsGeneric of multiples of 16, where it is true: there is assembly for it.
func addRowDots(n, k int, y, u, b []float32, ld int) bool {
	_, _, _ = y[n-1], u[k-1], b[(n-1)*ld+k-1]
	switch current {
	case tierAVX512, tierAMX:
		addRowDotsAVX512(n, k, &y[0], &u[0], &b[0], ld)
	case tierAVX2:
		addRowDotsAVX2(n, k, &y[0], &u[0], &b[0], ld)
	default:
		return false
	}
	return true
}
