//go:build !purego

package kernels

//go:noescape
func laneMomentsNEON(n int, old, change, offset *float32, sums *[4][16]float64)

func laneMoments(n int, m *LaneMoments) {
	laneMomentsNEON(n, &m.old[0], &m.change[0], &m.Offset[0], (*[4][16]float64)(&m.Sums))
}
